"""What the workers of `mesh demo` do: read a Python source file and describe it."""

from __future__ import annotations

import ast
import os
import time
import warnings
from pathlib import Path
from typing import Any

from mesh import Mesh

QUEUE = "demo"

app = Mesh("demo")


@app.task(name="demo.analyse", queue=QUEUE)
def analyse(path: str, started: str) -> dict[str, Any]:
    """Describe the Python source file at ``path``; a file that does not parse is described by its lines alone.

    Appends a line to the file ``started`` first, so that an onlooker outside the mesh can count how often each file was worked on.
    """
    note_start(Path(started), path)
    return describe(Path(path).read_bytes())


def note_start(log: Path, path: str) -> None:
    """Append ``wall time, process id, path`` in one write, which the system does not mix with those of other processes."""
    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{time.time():.6f}\t{os.getpid()}\t{path}\n".encode())
    finally:
        os.close(handle)


def describe(source: bytes) -> dict[str, Any]:
    """Lines, functions, the longest function (name, lines) and the imported modules of a source file."""
    facts: dict[str, Any] = {"lines": source.count(b"\n"), "functions": 0, "longest": ("", 0), "imports": []}
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):  # the library's tests keep files that are wrong on purpose
        return facts
    imports: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            facts["functions"] += 1
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            facts["longest"] = max(facts["longest"], (node.name, length), key=lambda item: item[1])
        elif isinstance(node, ast.Import):
            imports.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.split(".")[0])
    facts["imports"] = sorted(imports)
    return facts
