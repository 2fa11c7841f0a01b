"""`mesh binding`: from exchanges to queues and other exchanges."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from mesh.cli import declaring, output
from mesh.cli.attach import mesh_option

from mesh.core.routing import declared

F = TypeVar("F", bound=Callable[..., Any])
COLUMNS = ("exchange", "to", "kind", "routing key", "arguments")


@click.group(epilog=output.example("mesh binding list", "mesh binding declare tasks feeds --routing-key 'feed.#'"))
def binding() -> None:
    """Show, declare and delete bindings."""


def binding_options(command: F) -> F:
    """Adds what names a binding."""
    for option in (
        click.option("--argument", "arguments", metavar="NAME=VALUE", multiple=True, help="For a headers exchange, x-match too."),
        click.option("--to-exchange", is_flag=True, help="DESTINATION is an exchange."),
        click.option("-k", "--routing-key", default="", metavar="KEY", help="The key, or the pattern for a topic exchange."),
        click.argument("destination"),
        click.argument("exchange"),
    ):
        command = option(command)
    return command


@binding.command("list", epilog=output.example("mesh binding list", "mesh binding list --json"))
@mesh_option
@output.json_option
def list_(mesh: str | None, as_json: bool) -> None:
    """Show the bindings.

    Each queue can also be reached by its name, through the default exchange.
    """
    rows = declaring.topology(mesh)["bindings"]
    if as_json:
        output.print_json(rows)
    elif rows:
        cells = [(row["source"], row["destination"], row["kind"], row["routing_key"], declaring.shown(row["arguments"])) for row in rows]
        output.console().print(output.table("Bindings", COLUMNS, cells))
    else:
        click.echo("no bindings: queues are reached by their names")


@binding.command(
    epilog=output.example(
        "mesh binding declare tasks feeds --routing-key 'feed.#'",
        "mesh binding declare reports pdfs --argument format=pdf --argument x-match=all",
        "mesh binding declare all audit --to-exchange",
    )
)
@binding_options
@mesh_option
@output.json_option
def declare(
    exchange: str, destination: str, routing_key: str, to_exchange: bool, arguments: tuple[str, ...], mesh: str | None, as_json: bool
) -> None:
    """Let the queue DESTINATION have what EXCHANGE has for it.

    Exit code 3 when one of both is not declared.
    """
    change = {"do": "bind", **_fields(exchange, destination, routing_key, to_exchange, arguments)}
    declaring.change(mesh, as_json, change, f"bound {destination} to {exchange}", f"{destination} is bound to {exchange} so")


@binding.command(epilog=output.example("mesh binding delete tasks feeds --routing-key 'feed.#'"))
@binding_options
@mesh_option
@output.json_option
def delete(
    exchange: str, destination: str, routing_key: str, to_exchange: bool, arguments: tuple[str, ...], mesh: str | None, as_json: bool
) -> None:
    """Take a binding back; its key and arguments name it."""
    change = {"do": "unbind", **_fields(exchange, destination, routing_key, to_exchange, arguments)}
    declaring.change(mesh, as_json, change, f"unbound {destination} from {exchange}", f"{destination} is not bound to {exchange} so")


def _fields(exchange: str, destination: str, routing_key: str, to_exchange: bool, arguments: tuple[str, ...]) -> dict[str, Any]:
    given = {
        "source": exchange,
        "destination": destination,
        "kind": "exchange" if to_exchange else "queue",
        "routing_key": routing_key,
        "arguments": declaring.pairs("--argument", arguments),
    }
    return declared.binding(given).fields
