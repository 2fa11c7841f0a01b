"""What commands print: a table for people or JSON for programs. Rich is imported only when a table is drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_COLUMNS = 200
"""Width of tables that go to a file or pipe: there, a cut cell would be worse than a long line."""


def json_option(command: Any) -> Any:
    """Adds ``--json``; the command gets the parameter ``as_json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def example(*lines: str) -> str:
    """The epilog of a command: examples that are shown as they are."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


def print_json(value: Any) -> None:
    """One JSON document on stdout, readable by people too when that is a terminal."""
    indent = 2 if sys.stdout.isatty() else None
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False, default=str))


def counted(count: int, noun: str) -> str:
    """So many of something."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def console() -> Console:
    """Rich's console for stdout; plain and wide when that is no terminal."""
    from rich.console import Console

    return Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PIPE_COLUMNS)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A table of texts and numbers; numbers stand to the right, an empty cell is a dash."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    kept = [list(row) for row in rows]
    drawn = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(columns):
        numbers = bool(kept) and all(isinstance(row[index], (int, float)) for row in kept)
        drawn.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in kept:
        drawn.add_row(*(escape(_cell(value)) for value in row))
    return drawn


def _cell(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        value = ", ".join(str(item) for item in value)
    if value is None or value == "":
        return "-"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
