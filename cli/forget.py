"""`mesh forget`: no longer count a machine that will not come back."""

from __future__ import annotations

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options


@click.command(epilog=output.example("mesh forget laptop", "mesh forget laptop --json"))
@click.argument("node")
@mesh_option
@output.json_option
def forget(node: str, mesh: str | None, as_json: bool) -> None:
    """No longer count a node that is gone.

    NODE is its name, or its id. It stops counting for majorities and for copies, as if it had left with `mesh down`; when it comes back
    it is a member again, with all that it holds. Exit code 3 for a NODE that the mesh does not know, 2 for one that is alive.
    """
    with attached(Options({"mesh": mesh})) as questions:
        forgotten = questions.query("forget", node)
    if as_json:
        output.print_json(forgotten)
    else:
        click.echo(f"{forgotten['name']} no longer counts; when it comes back it is a member again")
