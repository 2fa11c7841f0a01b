"""`mesh queue declare|delete|purge`."""

from __future__ import annotations

import click
from mesh.cli import declaring, output
from mesh.cli.attach import mesh_option

from mesh.core.routing import declared
from mesh.core.routing.declared import OVERFLOWS

SECONDS = click.FloatRange(min=0)
COUNT = click.IntRange(min=0)


@click.command(
    epilog=output.example(
        "mesh queue declare feeds",
        "mesh queue declare feeds --max-length 1000 --overflow drop-head --message-ttl 60",
        "mesh queue declare feeds --argument x-max-priority=10 --argument x-dead-letter-exchange=dead",
    )
)
@click.argument("name", metavar="QUEUE")
@declaring.temporary_option
@click.option("--auto-delete", is_flag=True, help="It goes with the last of its consumers.")
@click.option("--expires", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="It goes when it was not used for so long.")
@click.option("--max-length", type=COUNT, metavar="N", help="Most messages that wait.")
@click.option("--max-bytes", type=COUNT, metavar="N", help="Most bytes of their bodies.")
@click.option("--overflow", type=click.Choice(OVERFLOWS), help="What happens beyond.")
@click.option("--message-ttl", type=SECONDS, metavar="SECONDS", help="Messages expire so long after they came.")
@click.option("--dead-letter-exchange", metavar="EXCHANGE", help="Where rejected, expired and dropped messages go.")
@click.option("--dead-letter-routing-key", metavar="KEY", help="With this key.  [default: the message's own]")
@click.option("--max-priority", type=click.IntRange(0, 255), metavar="N", help="Higher priorities count as this one.")
@click.option("--single-active-consumer", is_flag=True, help="One consumer has all, the others wait to replace it.")
@click.option("--max-deliveries", type=click.IntRange(1, 1000), metavar="N", help="Deliveries after which a message is given up.")
@click.option("--argument", "arguments", metavar="NAME=VALUE", multiple=True, help="By RabbitMQ's x- name; may be repeated.")
@mesh_option
@output.json_option
def declare(
    name: str,
    temporary: bool,
    expires: float | None,
    message_ttl: float | None,
    arguments: tuple[str, ...],
    mesh: str | None,
    as_json: bool,
    **options: object,
) -> None:
    """Make the queue QUEUE, with limits and rules of its own.

    Queues need not be declared to be used by their names. Nothing happens when it is there with the same arguments. Exit code 2, and
    both arguments, when it is there with others.
    """
    times = {"expires_ms": declaring.milliseconds(expires), "message_ttl_ms": declaring.milliseconds(message_ttl)}
    given = {"name": name, "durable": not temporary, **declaring.named({**times, **options})}
    fields, notes = declared.queue({**given, "arguments": declaring.pairs("--argument", arguments)})
    for note in notes:
        click.echo(note, err=True)
    declaring.change(mesh, as_json, {"do": "declare-queue", **fields}, f"declared the queue {name}", f"the queue {name} is there")


@click.command(epilog=output.example("mesh queue delete feeds", "mesh queue delete feeds --if-unused --if-empty"))
@click.argument("name", metavar="QUEUE")
@click.option("--if-unused", is_flag=True, help="Not while it has consumers.")
@click.option("--if-empty", is_flag=True, help="Not while it holds messages.")
@mesh_option
@output.json_option
def delete(name: str, if_unused: bool, if_empty: bool, mesh: str | None, as_json: bool) -> None:
    """Delete the queue QUEUE with its bindings and what waits in it.

    Tasks that waited fail with TaskDropped. Exit code 2 when a condition does not hold; nothing is changed then.
    """
    change = {"do": "delete-queue", "name": name, "if_unused": if_unused, "if_empty": if_empty}
    declaring.change(mesh, as_json, change, f"deleted the queue {name} with {{counted}}", f"there is no queue {name}")


@click.command(epilog=output.example("mesh queue purge feeds"))
@click.argument("name", metavar="QUEUE")
@mesh_option
@output.json_option
def purge(name: str, mesh: str | None, as_json: bool) -> None:
    """Drop what waits in QUEUE.

    Tasks that waited fail with TaskDropped. What consumers hold is not touched.
    """
    change = {"do": "purge", "name": name}
    declaring.change(mesh, as_json, change, f"dropped {{counted}} of the queue {name}", f"nothing waits in the queue {name}")
