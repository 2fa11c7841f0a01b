"""What the commands `mesh exchange`, `mesh queue`, `mesh binding` and `mesh topology` have in common: changes, and how they are told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click
from mesh.cli import output
from mesh.cli.attach import Questions, attached

from mesh.client.options import Options
from mesh.client.purging import follow
from mesh.errors import UsageError

PROGRESS_S = 2.0
F = TypeVar("F", bound=Callable[..., Any])
Row = dict[str, Any]


def topology(mesh: str | None) -> dict[str, list[Row]]:
    """All exchanges, queues and bindings of the mesh."""
    with attached(Options({"mesh": mesh})) as questions:
        return questions.query("topology")


def make(questions: Questions, changes: Sequence[Mapping[str, Any]], *, dry: bool = False) -> list[Row]:
    """Have the mesh make changes, all or none; returns what became of each.

    Raises InvalidTopology, DeclaredOtherwise, InUse, NotFound, NoCoordinator.
    """
    answer = questions.query("topology-change", json.dumps({"changes": list(changes), "dry": dry}))
    if not dry:
        follow(changes, answer, lambda: questions.query("purges"), _Progress())
    rows: list[Row] = answer["changes"]
    return rows


class _Progress:
    """Says on stderr what is left, from time to time."""

    def __init__(self) -> None:
        self._not_before_s = time.monotonic() + PROGRESS_S

    def __call__(self, queue: str, left: int) -> None:
        if time.monotonic() >= self._not_before_s:
            self._not_before_s = time.monotonic() + PROGRESS_S
            click.echo(f"{left} messages of the queue {queue} are left", err=True)


def change(mesh: str | None, as_json: bool, change: Mapping[str, Any], done: str, nothing: str) -> None:
    """Make one change and tell: ``done`` when something changed, else ``nothing``."""
    with attached(Options({"mesh": mesh})) as questions:
        (row,) = make(questions, [change])
    if as_json:
        output.print_json(row)
    else:
        counted = output.counted(row.get("messages", 0), "message")
        click.echo(done.format(**row, counted=counted) if row["changed"] else nothing)


def named(options: Mapping[str, Any]) -> Row:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def pairs(option: str, texts: Sequence[str]) -> Row:
    """``NAME=VALUE`` several times; a value is read as JSON and is text when it is none. Raises UsageError."""
    found: Row = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"{option} needs NAME=VALUE, not {text!r}")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def milliseconds(seconds: float | None) -> int | None:
    """Seconds as the mesh keeps them."""
    return None if seconds is None else round(seconds * 1000)


def said(arguments: Mapping[str, Any]) -> Row:
    """The arguments of a declaration that say something."""
    return {name: value for name, value in arguments.items() if value not in (None, "", 0, False)}


def shown(arguments: Mapping[str, Any]) -> str:
    """Arguments or headers for people."""
    return ", ".join(name if value is True else f"{name}={value}" for name, value in arguments.items())


def temporary_option(command: F) -> F:
    """Adds ``--temporary``."""
    return click.option("--temporary", is_flag=True, help="In memory only: gone when all nodes stop.")(command)
