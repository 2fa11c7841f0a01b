"""What the generators of pages share: write or compare, and read the doc strings beneath attributes."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

DOCS = Path(__file__).parent

Pages = Mapping[Path, Callable[[], str]]
"""Where a page lies, and what makes its text."""


def run(generator: str, pages: Pages) -> int:
    """Write the pages, or with ``--check`` only compare them; returns the exit code."""
    try:
        return _write_or_compare(generator, pages)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1


def _write_or_compare(generator: str, pages: Pages) -> int:
    if "--check" not in sys.argv[1:]:
        for path, text in pages.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(), encoding="utf-8")
        return 0
    stale = out_of_date(pages)
    for path in stale:
        print(f"{path} is not up to date; run: python docs/{generator}", file=sys.stderr)
    return 1 if stale else 0


def out_of_date(pages: Pages) -> list[Path]:
    """The pages that differ from what is on the disk."""
    return [path for path, text in pages.items() if not path.is_file() or path.read_text(encoding="utf-8") != text()]


def attribute_docs(module: ModuleType) -> dict[str, dict[str, str]]:
    """Class name to attribute name to the string that stands beneath it, for every class of a module."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    return {node.name: dict(_documented(node)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _documented(node: ast.ClassDef) -> list[tuple[str, str]]:
    found = []
    for statement, below in zip(node.body, node.body[1:], strict=False):
        name = _assigned(statement)
        if name and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found.append((name, " ".join(below.value.value.split())))
    return found


def _assigned(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        return statement.targets[0].id
    return ""


def row(*cells: object) -> str:
    """One line of a table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def table(*titles: str) -> str:
    """The head of a table."""
    return row(*titles) + "|" + "---|" * len(titles) + "\n"
