"""`mesh control`: orders to live workers."""

from __future__ import annotations

import json
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options

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
    """Have workers consume other queues."""


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
