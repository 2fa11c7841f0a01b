"""`mesh control`: orders to live workers."""

from __future__ import annotations

import json
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options
from mesh.control import signal_name
from mesh.errors import UsageError

destination_option = click.option(
    "-d",
    "--destination",
    "workers",
    metavar="WORKER",
    multiple=True,
    help="Name or id of a worker; may be given more than once.  [default: all]",
)


@click.group(epilog=output.example("mesh control add_consumer mail", "mesh control cancel_consumer mail -d desk-4711"))
def control() -> None:
    """Have workers consume other queues, and end tasks."""


@control.command(
    "add_consumer", epilog=output.example("mesh control add_consumer mail -d desk-4711", "mesh control add_consumer mail --json")
)
@click.argument("queue")
@destination_option
@mesh_option
@output.json_option
def add_consumer(queue: str, workers: tuple[str, ...], mesh: str | None, as_json: bool) -> None:
    """Have workers consume QUEUE, too.

    It holds until a worker is started again. Exit code 3 for a WORKER that the mesh does not know.
    """
    _change(workers, {"add": [queue]}, mesh, as_json)


@control.command(
    "cancel_consumer", epilog=output.example("mesh control cancel_consumer mail", "mesh control cancel_consumer mail -d desk-4711")
)
@click.argument("queue")
@destination_option
@mesh_option
@output.json_option
def cancel_consumer(queue: str, workers: tuple[str, ...], mesh: str | None, as_json: bool) -> None:
    """Have workers no longer consume QUEUE.

    What they run of it ends there; what they hold and have not begun goes back to the queue. It holds until a worker is started again.
    Exit code 3 for a WORKER that the mesh does not know.
    """
    _change(workers, {"cancel": [queue]}, mesh, as_json)


@control.command(
    "revoke", epilog=output.example("mesh control revoke 0190c1d2-...", "mesh control revoke --group G --terminate --signal KILL")
)
@click.argument("ids", nargs=-1)
@click.option("-g", "--group", "groups", metavar="GROUP", multiple=True, help="All live members of this group.")
@click.option("--stamp", "stamps", metavar="NAME=VALUE", multiple=True, help="All live tasks with this stamp.")
@click.option("--terminate", is_flag=True, help="End what runs.")
@click.option("--signal", default="SIGTERM", show_default=True, help="By which a process that runs a task is ended.")
@mesh_option
@output.json_option
def revoke(
    ids: tuple[str, ...], groups: tuple[str, ...], stamps: tuple[str, ...], terminate: bool, signal: str, mesh: str | None, as_json: bool
) -> None:
    """End tasks for good: those with these IDS, and others.

    What has not begun never runs, also when it is submitted later; what runs goes on, unless it is to be ended, and its value is not wanted
    any more. Exit code 2 when nothing is named.
    """
    if not (ids or groups or stamps):
        raise UsageError("name tasks to revoke: their ids, a --group or a --stamp NAME=VALUE")
    values: dict[str, list[str]] = {}
    for stamp in stamps:
        name, equals, value = stamp.partition("=")
        if not equals:
            raise UsageError(f"--stamp {stamp!r} has no value: write NAME=VALUE")
        values.setdefault(name, []).append(value)
    wanted = {"ids": ids, "groups": groups, "stamps": values, "terminate": terminate, "signal": signal_name(signal)}
    with attached(Options({"mesh": mesh})) as questions:
        rows = questions.rows("revoke", json.dumps(wanted))
    if as_json:
        output.print_json(rows)
        return
    for row in rows:
        ran = " while it ran" if row["ran"] else ""
        click.echo(f"{row['id']} {'was over' if row['became'] == 'ended' else f'is revoked{ran}'}")
    if not rows:
        click.echo("no live task is one of these: nothing has changed")


def _change(workers: tuple[str, ...], change: dict[str, list[str]], mesh: str | None, as_json: bool) -> None:
    with attached(Options({"mesh": mesh})) as questions:
        told: list[dict[str, Any]] = []
        for worker in workers or ("",):
            told += questions.rows("consumers", json.dumps({"worker": worker, **change}))
    if as_json:
        output.print_json(told)
        return
    for one in told:
        click.echo(f"the worker {one['name']} on {one['node']} consumes {', '.join(one['queues']) or 'nothing'}")
    if not told:
        click.echo("no worker is attached: nothing has changed")
