"""`mesh exchange`: where messages are published."""

from __future__ import annotations

import click
from mesh.cli import declaring, output
from mesh.cli.attach import mesh_option

from mesh.core.routing import declared
from mesh.wire.topology import EXCHANGE_TYPES

COLUMNS = ("exchange", "type", "bindings from it", "arguments")
PLAIN = ("name", "type", "durable")


@click.group(epilog=output.example("mesh exchange list", "mesh exchange declare tasks --type topic", "mesh exchange delete tasks"))
def exchange() -> None:
    """Show, declare and delete exchanges."""


@exchange.command("list", epilog=output.example("mesh exchange list", "mesh exchange list --json"))
@mesh_option
@output.json_option
def list_(mesh: str | None, as_json: bool) -> None:
    """Show the exchanges, those that are always there too."""
    found = declaring.topology(mesh)
    if as_json:
        output.print_json(found["exchanges"])
        return
    sources = [binding["source"] for binding in found["bindings"]]
    rows = [
        (
            row["name"] or "(default)",
            row["type"],
            sources.count(row["name"]),
            declaring.shown(declaring.said({name: row[name] for name in row if name not in PLAIN} | {"temporary": not row["durable"]})),
        )
        for row in found["exchanges"]
    ]
    output.console().print(output.table("Exchanges", COLUMNS, rows))


@exchange.command(
    epilog=output.example("mesh exchange declare tasks --type topic", "mesh exchange declare orders --alternate unrouted --auto-delete")
)
@click.argument("name")
@click.option("--type", "type_", type=click.Choice(EXCHANGE_TYPES), default="direct", show_default=True, help="How it matches.")
@click.option("--alternate", metavar="EXCHANGE", help="Gets what this one can't route.")
@click.option("--auto-delete", is_flag=True, help="It goes with the last of its bindings.")
@click.option("--internal", is_flag=True, help="Only other exchanges may send to it.")
@declaring.temporary_option
@mesh_option
@output.json_option
def declare(
    name: str, type_: str, alternate: str | None, auto_delete: bool, internal: bool, temporary: bool, mesh: str | None, as_json: bool
) -> None:
    """Make the exchange NAME.

    Nothing happens when it is there with the same arguments. Exit code 2, and both arguments, when it is there with others.
    """
    given = declaring.named({"name": name, "type": type_, "alternate": alternate, "auto_delete": auto_delete, "internal": internal})
    fields = declared.exchange({**given, "durable": not temporary}).fields
    declaring.change(
        mesh, as_json, {"do": "declare-exchange", **fields}, f"declared the {type_} exchange {name}", f"the exchange {name} is there"
    )


@exchange.command(epilog=output.example("mesh exchange delete tasks", "mesh exchange delete tasks --if-unused"))
@click.argument("name")
@click.option("--if-unused", is_flag=True, help="Not while something is bound to it.")
@mesh_option
@output.json_option
def delete(name: str, if_unused: bool, mesh: str | None, as_json: bool) -> None:
    """Delete the exchange NAME with its bindings."""
    change = {"do": "delete-exchange", "name": name, "if_unused": if_unused}
    declaring.change(mesh, as_json, change, f"deleted the exchange {name}", f"there is no exchange {name}")
