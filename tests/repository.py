"""The repository as data: its files, modules and imports."""

from __future__ import annotations

import ast
import functools
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_AS = {"discovery": "mesh.discovery", "cli": "mesh.cli"}
"""Top-level folders that are packages of another name once installed (pyproject.toml)."""


@functools.cache
def files() -> tuple[Path, ...]:
    """Every file that is, or is about to be, under version control, relative to the root.

    A source archive has no history: there it is whatever lies in the folders that git would know.
    """
    if not (ROOT / ".git").exists():
        ignored = {"__pycache__", "build", "results"}
        found = (path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file())
        return tuple(
            sorted(path for path in found if not ignored & set(path.parts) and not path.parts[0].startswith((".venv", ".m", ".r")))
        )
    # A checkout that belongs to another user is still the one that is asked about.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return tuple(sorted(Path(name) for name in listed.split("\0") if name and (ROOT / name).is_file()))


@functools.cache
def text(path: Path) -> str:
    """What a file says; empty for one that is not UTF-8."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@functools.cache
def tree(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(text(path), filename=str(path))


def python_files(*folders: str) -> list[Path]:
    """Python files, of all or of the given top-level folders."""
    return [path for path in files() if path.suffix == ".py" and (not folders or path.parts[0] in folders)]


@dataclass(frozen=True)
class Import:
    """One name that a file imports."""

    path: Path
    line: int
    name: str
    """Absolute dotted name: the module, or for ``from a import b`` the longer ``a.b``."""
    deferred: bool
    """Inside a function, or only for type checkers."""


def module_name(path: Path) -> str:
    """The dotted name by which a file of the product is imported."""
    parts = list(path.with_suffix("").parts)
    parts[0] = INSTALLED_AS.get(parts[0], parts[0])
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports(path: Path) -> list[Import]:
    """All imports of a file, in order."""
    found: list[Import] = []
    _collect(tree(path), path, deferred=False, found=found)
    return found


def _collect(node: ast.AST, path: Path, *, deferred: bool, found: list[Import]) -> None:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            found.extend(Import(path, child.lineno, alias.name, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, path)
            found.extend(Import(path, child.lineno, f"{base}.{alias.name}", deferred) for alias in child.names)
        else:
            _collect(child, path, deferred=deferred or _defers(child), found=found)


def _defers(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    package = package[: len(package) - node.level + 1]
    return ".".join([*package, *([node.module] if node.module else [])])
