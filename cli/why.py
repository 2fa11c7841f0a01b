"""`mesh why`: where a task is, and why it does not run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options
from mesh.errors import NotFound

UNKNOWN = "UNKNOWN"


@click.command(
    epilog=output.example("mesh why 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10", "mesh why 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10 --json")
)
@click.argument("task_id", metavar="ID")
@mesh_option
@output.json_option
def why(task_id: str, mesh: str | None, as_json: bool) -> int:
    """Say where a task is, why it does not run, and what has happened so far.

    Exit code 3 when the mesh does not know the id.
    """
    with attached(Options({"mesh": mesh})) as questions:
        found = questions.query("why", task_id)
    unknown = found["state"] == UNKNOWN
    if as_json:
        output.print_json(found)
    else:
        _tell(found)
    return NotFound.exit_code if unknown else 0


def _tell(found: dict[str, Any]) -> None:
    name = f"{found['task']}[{found['id']}]" if found["task"] else found["id"]
    where = f" in the queue {found['queue']}" if found["queue"] else ""
    click.echo(f"{name}{where}: {found['state']}")
    for reason in found["reasons"]:
        click.echo(f"  {reason['text']}")
    if found["retries"]:
        click.echo(f"  it has asked to be run again {output.counted(found['retries'], 'time')}")
    for attempt in found["attempts"]:
        began, ended = _clock(attempt["started_ms"]), _clock(attempt["ended_ms"])
        click.echo(f"  lost by {attempt['worker']} on {attempt['node']}, which had it from {began} to {ended}: {attempt['how']}")
    ended_by = found["result"]
    if ended_by is not None:
        who = f" by {ended_by['worker']} on {ended_by['node']}" if ended_by["worker"] else ""
        click.echo(f"  ended at {_clock(ended_by['at_ms'])}{who}")


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
