"""The rules of the house: what a careful reader would stop at."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests import repository

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
TOP_LEVEL = frozenset(
    [
        "mesh",
        "discovery",
        "cli",
        "tests",
        "examples",
        "docs",
        "benchmarks",
        ".ci",
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        ".gitignore",
        ".gitattributes",
    ]
)
LEFTOVER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|NotImplemented" + "Error")
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/$~-])/(?:work|farm|home|root|Users)/")
"""A folder of somebody's machine; what a system has everywhere (/tmp, /usr, /run) is not one."""
PRODUCT = ("mesh", "discovery", "cli")


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(repository.tree(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def lines_matching(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    return [
        f"{path}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(repository.text(path).splitlines(), 1)
        if pattern.search(line)
    ]


def test_files_are_short_enough_to_read_in_one_go() -> None:
    lengths = {str(path): len(repository.text(path).splitlines()) for path in repository.python_files()}
    assert {name: lines for name, lines in lengths.items() if lines >= FILE_LINES_MAX} == {}


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{path}:{node.lineno}: {node.name} has {lines} lines"
        for path in repository.python_files()
        for node in functions(path)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_nothing_is_left_for_later() -> None:
    assert lines_matching(LEFTOVER, repository.python_files(*PRODUCT, "examples", "benchmarks", "tests")) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert lines_matching(ABSOLUTE_PATH, list(repository.files())) == []


def test_the_top_level_is_fixed() -> None:
    assert sorted({path.parts[0] for path in repository.files()} - TOP_LEVEL) == []


def test_no_exception_is_caught_without_a_type() -> None:
    bare = [
        f"{path}:{node.lineno}"
        for path in repository.python_files()
        for node in ast.walk(repository.tree(path))
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    assert bare == []


def test_every_test_asserts_something() -> None:
    checks = (ast.Assert, ast.Raise, ast.With, ast.AsyncWith, ast.Call)
    silent = [
        f"{path}:{node.lineno}: {node.name}"
        for path in repository.python_files("tests")
        for node in functions(path)
        if node.name.startswith("test_") and not any(isinstance(part, checks) for statement in node.body for part in ast.walk(statement))
    ]
    assert silent == []


def test_no_test_sleeps_for_a_fixed_time() -> None:
    sleeps = [
        f"{path}:{node.lineno}: {ast.unparse(node)}"
        for path in repository.python_files("tests")
        if path.name != "tasks.py"
        for node in ast.walk(repository.tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] == "sleep"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value >= 0.2
    ]
    assert sleeps == []


def test_every_public_name_of_the_product_says_what_it_is() -> None:
    bare = [
        f"{path}:{node.lineno}: {node.name}"
        for path in repository.python_files(*PRODUCT)
        for node in repository.tree(path).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_") and not ast.get_docstring(node)
        if not any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
    ]
    assert bare == []


def test_every_module_starts_with_what_it_is_for() -> None:
    paths = repository.python_files(*PRODUCT, "benchmarks", "examples")
    assert [str(path) for path in paths if repository.text(path).strip() and not ast.get_docstring(repository.tree(path))] == []
