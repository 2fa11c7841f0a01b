"""`mesh queue`: queues, their settings and their dead letters."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option
from mesh.cli.config import SettingsCommand, change
from mesh.cli.declaring import shown
from mesh.cli.queue_contents import export, import_, move, peek
from mesh.cli.queue_declaring import declare, delete, purge
from mesh.cli.status import QUEUES

from mesh.client.options import Options
from mesh.config import queue_settings
from mesh.errors import UsageError

LETTERS = ("id", "task", "when", "reason")
DEATHS = ("id", "queue", "reason", "times", "first", "exchange", "routing key")
ATTEMPTS = ("id", "attempt", "node", "worker", "started", "lasted", "how it ended")


class QueueSettings(SettingsCommand):
    """Its help lists what a queue can have for itself."""

    def settings(self) -> dict[str, dataclasses.Field[Any]]:
        """Those that it lists."""
        return queue_settings()


@click.group(epilog=output.example("mesh queue list", "mesh queue declare mail --max-length 1000", "mesh queue requeue mail --all"))
def queue() -> None:
    """Show, declare and change queues, and decide about tasks that kept losing their worker."""


for command in (declare, delete, purge, peek, move, export, import_):
    queue.add_command(command)


@queue.command("list", epilog=output.example("mesh queue list", "mesh queue list --json"))
@mesh_option
@output.json_option
def list_(mesh: str | None, as_json: bool) -> None:
    """Show the queues.

    Those that are declared, hold something or are consumed; `waiting_for` has the names of waiting tasks that no worker on the queue
    can run.
    """
    with attached(Options({"mesh": mesh})) as questions:
        rows: list[dict[str, Any]] = questions.query("status")["queues"]
    if as_json:
        output.print_json(rows)
    elif rows:
        title, _, columns = QUEUES
        cells = [[*(row.get(column) for column in columns), shown(row.get("declared") or {}), shown(row.get("set") or {})] for row in rows]
        output.console().print(output.table(title, [*columns, "declared with", "set"], cells))
    else:
        click.echo("no queues: nothing is declared, nothing waits, and no worker is attached")


@queue.command(
    "dead-letters",
    epilog=output.example("mesh queue dead-letters mail", "mesh queue dead-letters mail -v", "mesh queue dead-letters mail --json"),
)
@click.argument("name", metavar="QUEUE")
@click.option("-v", "--verbose", is_flag=True, help="Show the history too: each attempt's node, worker, time and end.")
@mesh_option
@output.json_option
def dead_letters(name: str, verbose: bool, mesh: str | None, as_json: bool) -> None:
    """Show the tasks and messages of QUEUE that were given up, oldest first.

    Each lost its worker max_deliveries times and failed with DeliveriesExhausted, or the queue's dead letter exchange led nowhere. It is
    kept until `mesh queue requeue`.
    """
    with attached(Options({"mesh": mesh})) as questions:
        letters: list[dict[str, Any]] = questions.rows("dead-letters", name)
    if as_json:
        output.print_json(letters)
        return
    if not letters:
        click.echo(f"no dead letters in the queue {name}")
        return
    console = output.console()
    rows = [(letter["id"], letter["task"], moment(letter["at_ms"]), letter["reason"]) for letter in letters]
    console.print(output.table(f"Dead letters of {name}", LETTERS, rows))
    if verbose:
        console.print(output.table("Attempts", ATTEMPTS, [row for letter in letters for row in history(letter)]))
        died = [row for letter in letters for row in deaths(letter)]
        if died:
            console.print(output.table("Given up before by", DEATHS, died))


def history(letter: dict[str, Any]) -> list[tuple[Any, ...]]:
    """A dead letter's attempts as rows of a table."""
    return [
        (
            letter["id"],
            number,
            attempt["node"],
            attempt["worker"],
            moment(attempt["started_ms"]),
            f"{max(0, attempt['ended_ms'] - attempt['started_ms']) / 1000:.1f} s",
            attempt["how"],
        )
        for number, attempt in enumerate(letter["attempts"], 1)
    ]


def deaths(letter: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The queues that a message had left as a dead letter before, the latest first, as rows of a table."""
    names = ("queue", "reason", "count", "at_ms", "exchange", "routing_key")
    rows = [[death[name] for name in names] for death in letter.get("deaths", ())]
    return [(letter["id"], queue, reason, count, moment(at_ms), exchange, key) for queue, reason, count, at_ms, exchange, key in rows]


def moment(wall_ms: int) -> str:
    """An instant in this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ms / 1000))


@queue.command(
    epilog=output.example("mesh queue requeue mail --task 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10", "mesh queue requeue mail --all")
)
@click.argument("name", metavar="QUEUE")
@click.option("--task", metavar="ID", help="Only this one.")
@click.option("--all", "everything", is_flag=True, help="All dead letters of the queue.")
@mesh_option
def requeue(name: str, task: str | None, everything: bool, mesh: str | None) -> None:
    """Put dead letters back into QUEUE, as if they were new.

    Their attempts count from none again, and the failure that was their result is taken back. Prints the ids. Exit code 3 when there
    is no such dead letter.
    """
    if everything == (task is not None):
        raise UsageError("say which: --task ID or --all")
    with attached(Options({"mesh": mesh})) as questions:
        ids: list[str] = questions.rows("requeue", name if task is None else f"{name}={task}")
    for id in ids:
        click.echo(id)
    if not ids:
        click.echo(f"no dead letters in the queue {name}", err=True)


@queue.command(
    "set",
    cls=QueueSettings,
    epilog=output.example("mesh queue set mail max_deliveries 20", "mesh queue set mail dead_letter_exchange failed"),
)
@click.argument("name", metavar="QUEUE")
@click.argument("key")
@click.argument("value", required=False)
@click.option("--default", "to_default", is_flag=True, help="As mesh queue unset.")
@mesh_option
def set_(name: str, key: str, value: str | None, to_default: bool, mesh: str | None) -> None:
    """Give a queue a setting of its own.

    It wins over what the queue was declared with and over the mesh's value, and a task's own over all. `mesh queue list` shows it, and
    `mesh config show` as queue:QUEUE:KEY. Exit code 2 for an unknown KEY or a VALUE out of range; nothing is changed then.
    """
    item = queue_settings().get(key)
    if value is not None and item is not None and item.metadata["text"]:
        value = json.dumps(value, ensure_ascii=False)
    change(mesh, f"queue:{name}:{key}", value, to_default)


@queue.command(cls=QueueSettings, epilog=output.example("mesh queue unset mail message_ttl_s"))
@click.argument("name", metavar="QUEUE")
@click.argument("key")
@mesh_option
def unset(name: str, key: str, mesh: str | None) -> None:
    """Take back a setting that a queue has of its own.

    What it was declared with counts again, or the mesh's value. Exit code 2 for an unknown KEY.
    """
    change(mesh, f"queue:{name}:{key}", None, to_default=True)
