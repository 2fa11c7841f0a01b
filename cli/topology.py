"""`mesh topology`: exchanges, queues and bindings as a file."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from mesh.cli import declaring, output
from mesh.cli.attach import attached, mesh_option
from mesh.cli.topology_file import Difference, difference, read, written

from mesh.client.options import Options
from mesh.errors import DeclaredOtherwise, UsageError


@click.group(epilog=output.example("mesh topology export topology.toml", "mesh topology apply topology.toml --dry-run"))
def topology() -> None:
    """Keep exchanges, queues and bindings in a file."""


@topology.command(
    epilog=output.example("mesh topology apply topology.toml --dry-run", "mesh topology apply topology.toml --yes")
    + "\n\n\b\nThe file, TOML or JSON:\n"
    "  [[exchanges]]\n  name = 'tasks'\n  type = 'topic'\n"
    "  [[queues]]\n  name = 'feeds'\n  arguments = {x-max-priority = 10}\n"
    "  [[bindings]]\n  source = 'tasks'\n  destination = 'feeds'\n  routing_key = 'feed.#'"
)
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would change; the mesh checks it.")
@mesh_option
@output.json_option
def apply(file: Path, yes: bool, dry_run: bool, mesh: str | None, as_json: bool) -> None:
    """Declare what FILE has and the mesh has not, all of it or nothing; what the mesh has beyond stays.

    Shows first what will change. A definitions file of RabbitMQ can be read too. Exit code 2, and nothing is changed, when something
    is declared with other arguments.
    """
    wanted, notes = read(file)
    for note in notes:
        click.echo(note, err=True)
    with attached(Options({"mesh": mesh})) as questions:
        found = difference(wanted, questions.query("topology"))
        if not as_json:
            _show(found)
        if found.otherwise:
            raise DeclaredOtherwise(f"{'; '.join(found.otherwise)}: change the file, or delete what the mesh has; nothing was changed")
        if found.changes:
            if not dry_run and not yes:
                _confirm(len(found.changes))
            declaring.make(questions, found.changes, dry=dry_run)
    if as_json:
        output.print_json({"changes": found.changes, "unchanged": found.unchanged, "applied": bool(found.changes) and not dry_run})
    elif found.changes and not dry_run:
        click.echo(f"applied {len(found.changes)} changes")


def _show(found: Difference) -> None:
    for line in found.lines:
        click.secho(line, fg="green" if line.startswith("+") else "red")
    click.echo(f"{found.unchanged} as the mesh has them" if found.lines else "nothing to do: the mesh has all of it")


def _confirm(count: int) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{count} changes to make, and nobody to ask: say --yes, or --dry-run to only look")
    click.confirm(f"make these {count} changes?", abort=True)


@topology.command(epilog=output.example("mesh topology export topology.toml", "mesh topology export - --json"))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@mesh_option
@output.json_option
def export(file: Path, mesh: str | None, as_json: bool) -> None:
    """Write what is declared in the mesh to FILE, as TOML, or as JSON when its name ends in .json or --json is given.

    FILE - is standard output. `mesh topology apply` reads it again.
    """
    text = written(declaring.topology(mesh), as_json=as_json or file.suffix == ".json")
    if str(file) == "-":
        click.echo(text, nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} can't be written: {error.strerror}") from None
