"""`mesh publish`, `mesh get` and `mesh consume`: plain messages from a shell."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import mesh_option

from mesh.client.options import Options
from mesh.errors import NotFound, UsageError
from mesh.messaging.connection import PREFETCH, PREFETCH_MAX, Connection, connect
from mesh.messaging.message import OBJECT, Message
from mesh.messaging.publishing import PRIORITY_MAX, PublishOptions

NAME = "mesh"


@click.command(
    epilog=output.example(
        "mesh publish mail 'hello'",
        "mesh publish -x feed feed.tech 'hello' --header lang=en --mandatory",
        "mesh publish numbers --value 1 '[2, 3]' true",
        "ls | mesh publish files",
        "mesh publish images --whole --content-type image/png < cat.png",
    )
)
@click.argument("key", metavar="QUEUE|ROUTING_KEY")
@click.argument("bodies", metavar="[BODY]...", nargs=-1)
@click.option("-x", "--exchange", default="", metavar="NAME", help="Publish there; without it the first argument is a queue's name.")
@click.option("--value", "as_values", is_flag=True, help="Bodies are JSON, and arrive as values rather than as bytes.")
@click.option("--whole", is_flag=True, help="All of stdin is one message, not each of its lines.")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="For routing and consumers; may be repeated.")
@click.option("--priority", type=click.IntRange(0, PRIORITY_MAX), default=0, show_default=True, help="Higher ones are delivered first.")
@click.option("--expiration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Do not deliver it later than that.")
@click.option("--mandatory", is_flag=True, help="Fail when no queue takes it.")
@click.option("--transient", is_flag=True, help="Keep it in memory only: it is gone when all nodes stop.")
@click.option("--content-type", default="", metavar="TYPE", help="What the bytes are.")
@click.option("--correlation-id", default="", metavar="ID", help="Which request this answers, or what an answer shall have.")
@click.option("--reply-to", default="", metavar="QUEUE", help="Where an answer is wanted.")
@mesh_option
@output.json_option
def publish(
    key: str,
    bodies: tuple[str, ...],
    as_values: bool,
    whole: bool,
    headers: tuple[str, ...],
    transient: bool,
    mesh: str | None,
    as_json: bool,
    **said: Any,
) -> None:
    """Publish messages, and wait until they are confirmed.

    Each BODY is a message; without any, each line of stdin is one. Prints the ids.
    """
    if whole and bodies:
        raise UsageError("--whole is for stdin: leave the bodies out")
    options: PublishOptions = {"routing_key": key, "persistent": not transient, "headers": dict(_header(text) for text in headers)}
    options |= said  # type: ignore[typeddict-item]
    with _connection(mesh) as connection:
        published = connection.publish_many(_bodies(bodies, as_values, whole), **options)
    if as_json:
        output.print_json({"ids": published.ids, "copies": published.copies, "unroutable": published.unroutable})
    else:
        for id in published.ids:
            click.echo(id)
        if not transient and not published.copies and published.unroutable < len(published.ids):
            click.echo("they are in memory only, as their queue is temporary", err=True)
        if published.unroutable:
            click.echo(f"{published.unroutable} of them were in no queue's way and were dropped; --mandatory makes that an error", err=True)


@click.command(epilog=output.example("mesh get mail", "mesh get mail --count 10 --json", "mesh get mail --no-ack"))
@click.argument("queue")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="At most so many messages.")
@click.option("--ack/--no-ack", default=True, show_default=True, help="Take them out of the queue, or put them back afterwards.")
@click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for the first one.")
@mesh_option
@output.json_option
def get(queue: str, count: int, ack: bool, wait: float | None, mesh: str | None, as_json: bool) -> None:
    """Print messages that wait in QUEUE, each on a line.

    What is put back counts as tried. Exit code 3 when the queue is empty.
    """
    with _connection(mesh) as connection:
        kept: list[Message] = []
        while len(kept) < count:
            message = connection.get(queue, block=wait is not None and not kept, timeout=wait)
            if message is None:
                break
            kept.append(message)
            _show(message, as_json)
            if ack:
                message.ack()
        if not kept:
            raise NotFound(f"the queue {queue!r} has no message ready; mesh queue list shows what is where")


@click.command(
    epilog=output.example("mesh consume mail", "mesh consume mail news --count 100 --json", "mesh consume mail --timeout 5 > mails.txt")
)
@click.argument("queues", metavar="QUEUE...", nargs=-1, required=True)
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many messages.  [default: never]")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Stop when none has come for so long.  [default: never]")
@click.option("--ack/--no-ack", default=True, show_default=True, help="Acknowledge what was printed, or put it back at the end.")
@click.option("--prefetch", type=click.IntRange(1, PREFETCH_MAX), default=PREFETCH, show_default=True, help="Messages taken ahead.")
@mesh_option
@output.json_option
def consume(
    queues: tuple[str, ...], count: int | None, timeout: float | None, ack: bool, prefetch: int, mesh: str | None, as_json: bool
) -> None:
    """Print the messages of queues as they come, each on a line, until it is interrupted.

    A message has ended when it was printed. With --no-ack at most `--prefetch` messages are shown, and come back as tried.
    """
    with _connection(mesh) as connection, connection.consume(queues, prefetch=prefetch) as consumer:
        shown = 0
        while shown != count and (message := consumer.next(timeout)) is not None:
            _show(message, as_json)
            shown += 1
            if ack:
                message.ack()


def _connection(mesh: str | None) -> Connection:
    options = Options({"mesh": mesh})
    return connect(options.mesh, home=options.home.root, seeds=options["join"], name=NAME)


def _bodies(given: tuple[str, ...], as_values: bool, whole: bool) -> Iterator[Any]:
    if whole:
        data = sys.stdin.buffer.read()
        yield _value(data.decode()) if as_values else data
    elif given:
        for text in given:
            yield _value(text) if as_values else text.encode()
    else:
        for line in sys.stdin.buffer:
            line = line.rstrip(b"\r\n")
            yield _value(line.decode()) if as_values else line


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"--value needs JSON, not {text!r:.80}: {error}") from None


def _header(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f"--header needs NAME=VALUE, not {text!r}")
    try:
        read = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(read, (dict, list)) else read


def _show(message: Message, as_json: bool) -> None:
    """One line, and not later than the acknowledgement: what was printed into a broken pipe is not acknowledged."""
    if as_json:
        sys.stdout.write(json.dumps(_row(message), ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()
        return
    if message.content_type == OBJECT:
        body = message.body
        raw = (body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)).encode()
    else:
        raw = message.raw
    sys.stdout.buffer.write(raw + b"\n")
    sys.stdout.buffer.flush()


def _row(message: Message) -> dict[str, Any]:
    row: dict[str, Any] = {"id": message.id, "queue": message.queue, "exchange": message.exchange, "routing_key": message.routing_key}
    if message.content_type == OBJECT:
        row["body"] = message.body
    else:
        try:
            row["body"] = message.raw.decode()
        except UnicodeDecodeError:
            row["base64"] = base64.b64encode(message.raw).decode()
    return row | {
        "content_type": message.content_type,
        "headers": dict(message.headers),
        "priority": message.priority,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "attempt": message.attempt,
    }
