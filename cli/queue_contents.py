"""`mesh queue peek|move|export|import`: what waits in a queue, shown, moved, and kept in files."""

from __future__ import annotations

import base64
import json
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import click
from mesh.cli import output
from mesh.cli.attach import Questions, attached, mesh_option

from mesh.client.options import Options
from mesh.errors import MeshError, NotFound, UsageError
from mesh.ids import task_id
from mesh.wire.bodies import decode_call
from mesh.wire.entries import Message
from mesh.wire.topology import Death, Properties

COLUMNS = ("id", "task", "priority", "routing key", "bytes", "body")
SHOWN_CHARS = 60
PAGE = 1000
MOVED_AT_ONCE = 500
IMPORTED_AT_ONCE = 500
IMPORTED_BYTES_AT_ONCE = 1 << 20
FILE = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command(epilog=output.example("mesh queue peek feeds", "mesh queue peek feeds -n 100 --json"))
@click.argument("name", metavar="QUEUE")
@click.option("-n", "--count", type=click.IntRange(1, PAGE), default=10, show_default=True, help="At most so many.")
@mesh_option
@output.json_option
def peek(name: str, count: int, mesh: str | None, as_json: bool) -> None:
    """Show the messages that are next in QUEUE and leave them there.

    With --json the bodies are base64, and null where they are too large to travel in one piece.
    """
    with attached(Options({"mesh": mesh})) as questions:
        rows: list[dict[str, Any]] = questions.query("messages", json.dumps({"queue": name, "count": count}))["messages"]
    if as_json:
        output.print_json(rows)
    elif rows:
        cells = [
            (row["id"], row["task"], properties.get("priority", 0), properties.get("routing_key", ""), row["size"], _shown(row))
            for row in rows
            for properties in [row["properties"] or {}]
        ]
        output.console().print(output.table(f"Next in {name}", COLUMNS, cells))
    else:
        click.echo(f"nothing waits in the queue {name}")


def _shown(row: dict[str, Any]) -> str:
    if row["body"] is None:
        return "(large)"
    body = base64.b64decode(row["body"])
    if row["task"]:
        try:
            args, kwargs = decode_call(body)
        except MeshError:
            return "(not readable)"
        text = ", ".join([*(repr(value) for value in args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    else:
        text = body.decode("utf-8", "backslashreplace")
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 3]}..."


@click.command(epilog=output.example("mesh queue move feeds slow-feeds -n 100", "mesh queue move lost+found feeds --all"))
@click.argument("name", metavar="QUEUE")
@click.argument("to")
@click.option("-n", "--count", type=click.IntRange(min=1), metavar="N", help="The first so many.")
@click.option("--all", "everything", is_flag=True, help="All that waits there now.")
@mesh_option
@output.json_option
def move(name: str, to: str, count: int | None, everything: bool, mesh: str | None, as_json: bool) -> None:
    """Put messages that wait in QUEUE at the end of another queue.

    QUEUE may also be lost+found, or quarantine. What consumers hold stays; limits of TO are not looked at.
    """
    if everything == (count is not None):
        raise UsageError("say how many: -n N or --all")
    moved = 0
    with attached(Options({"mesh": mesh})) as questions:
        while count is None or moved < count:
            most = MOVED_AT_ONCE if count is None else min(MOVED_AT_ONCE, count - moved)
            answer = questions.query("move", json.dumps({"queue": name, "to": to, "count": most}))
            moved += answer["moved"]
            if not answer["more"] or not answer["moved"]:
                break
    if as_json:
        output.print_json({"moved": moved})
    else:
        click.echo(f"moved {output.counted(moved, 'message')} from {name} to {to}")


@click.command(epilog=output.example("mesh queue export feeds feeds.jsonl", "mesh queue export feeds - | gzip > feeds.jsonl.gz"))
@click.argument("name", metavar="QUEUE")
@click.argument("file", type=FILE)
@mesh_option
@output.json_option
def export(name: str, file: Path, mesh: str | None, as_json: bool) -> int:
    """Write the messages that wait in QUEUE to FILE.

    One JSON object in a line; they stay in the queue. FILE - is standard output. What is handed out meanwhile may be missing. Exit code 1
    when messages had to be left out because their large body is lost, or ended while it was read.
    """
    written = left_out = 0
    with attached(Options({"mesh": mesh})) as questions, click.open_file(str(file), "w", encoding="utf-8") as stream:
        for row in pages(questions, name):
            chunks = row.pop("chunks")
            if chunks is not None:
                row["body"] = large_body(questions, chunks)
            if row["body"] is None:
                left_out += 1
            else:
                stream.write(json.dumps(row, ensure_ascii=False) + "\n")
                written += 1
    if as_json and str(file) != "-":
        output.print_json({"written": written, "left_out": left_out})
    else:
        gone = f"; left out {left_out} whose large body was not there any more" if left_out else ""
        click.echo(f"wrote {output.counted(written, 'message')} of {name}{gone}", err=True)
    return int(left_out > 0)


def large_body(questions: Questions, chunks: dict[str, Any]) -> str | None:
    """The body of a message that is kept in pieces, as base64; None when it is not there any more."""
    body = bytearray()
    try:
        for index in range(chunks["count"]):
            body += base64.b64decode(questions.query("chunk", json.dumps({"body": chunks["body"], "index": index}))["data"])
    except NotFound:
        return None
    whole = (len(body), zlib.crc32(body)) == (chunks["size"], chunks["digest"])
    return base64.b64encode(body).decode("ascii") if whole else None


def pages(questions: Questions, queue: str) -> Iterator[dict[str, Any]]:
    """All that waits in a queue."""
    after: Any = ["", 0]
    while after is not None:
        page = questions.query("messages", json.dumps({"queue": queue, "count": PAGE, "after": after}))
        yield from page["messages"]
        after = page["next"]


@click.command("import", epilog=output.example("mesh queue import feeds.jsonl", "mesh queue import feeds.jsonl --queue feeds-again"))
@click.argument("file", type=FILE)
@click.option("-Q", "--queue", metavar="QUEUE", help="Into this queue.  [default: the one that they came from]")
@click.option("--new-ids", is_flag=True, help="As new messages: also what has ended comes again.")
@click.option("--timeout", type=click.FloatRange(min=0), default=30.0, show_default=True, metavar="SECONDS", help="For each batch.")
@mesh_option
@output.json_option
def import_(file: Path, queue: str | None, new_ids: bool, timeout: float, mesh: str | None, as_json: bool) -> None:
    """Publish the messages of a file that `mesh queue export` wrote, with their ids.

    So what is in the mesh already, or ended there lately (tasks that were purged ended too), does not come a second time, and an
    import that broke off can be repeated.
    """
    count = 0
    with attached(Options({"mesh": mesh})) as questions, _opened(file) as stream:
        for batch in _batches(messages(stream, str(file), queue)):
            if new_ids:
                for message in batch:
                    message.id = task_id()
            questions.publish(batch, time.monotonic() + timeout)
            count += len(batch)
    if as_json:
        output.print_json({"published": count})
    else:
        click.echo(f"published {output.counted(count, 'message')}")


def _opened(file: Path) -> IO[str]:
    if str(file) == "-":
        return sys.stdin
    try:
        return file.open(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}") from None


def messages(lines: Iterable[str], name: str, queue: str | None) -> Iterator[Message]:
    """The messages of an exported file. Raises UsageError that names the line."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            properties = row["properties"]
            yield Message(
                row["id"],
                queue or row["queue"],
                row["task"],
                base64.b64decode(row["body"], validate=True),
                eta_ms=row.get("eta_ms", 0),
                max_deliveries=row.get("max_deliveries", 0),
                properties=None if properties is None else _properties(properties),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(f"{name}, line {number} is not what `mesh queue export` writes: {type(error).__name__}: {error}") from None


def _properties(row: dict[str, Any]) -> Properties:
    deaths = tuple(Death(**death) for death in row.pop("deaths", ()))
    return Properties(**row, deaths=deaths)


def _batches(found: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in found:
        if batch and (len(batch) == IMPORTED_AT_ONCE or size + len(message.body) > IMPORTED_BYTES_AT_ONCE):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.body)
    if batch:
        yield batch
