"""Loading what -A names."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import AppNotFound
from mesh.worker.loader import load

APP = """
class App:
    def __init__(self):
        self.tasks = {}
        self.registered_errors = {}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder: Path, name: str, text: str = "") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(APP + text)


@pytest.mark.parametrize(
    ("files", "app"),
    [
        ({"jobs1.py": "app = App()"}, "jobs1"),
        ({"jobs2.py": "anything = App()"}, "jobs2"),
        ({"jobs3.py": "one = App(); two = App()"}, "jobs3:two"),
        ({"jobs4.py": "class Config: app = App()"}, "jobs4:Config.app"),
        ({"jobs5.py": "app = App()"}, "jobs5.py"),
        ({"my-jobs.py": "app = App()"}, "my-jobs.py"),
        ({"deep/jobs6.py": "app = App()"}, "deep/jobs6.py"),
        ({"pkg1/__init__.py": "app = App()"}, "pkg1"),
        ({"pkg2/__init__.py": "", "pkg2/tasks.py": "app = App()"}, "pkg2"),
        ({"pkg3/__init__.py": "", "pkg3/app.py": "mesh = App()"}, "pkg3"),
        ({"pkg4/__init__.py": "", "pkg4/tasks.py": "", "pkg4/celery.py": "app = App()"}, "pkg4"),
        ({"pkg5/__init__.py": "", "pkg5/jobs.py": "app = App()"}, "pkg5.jobs"),
    ],
)
def test_an_application_is_found(project: Path, files: dict[str, str], app: str) -> None:
    for name, text in files.items():
        write(project, name, text)
    assert load(app).tasks == {}


def test_a_name_that_says_application_wins_over_others(project: Path) -> None:
    write(project, "many.py", "first = App(); app = App(); app.tasks['here'] = None")
    assert list(load("many").tasks) == ["here"]


def test_the_file_and_the_module_of_one_name_are_one_module(project: Path) -> None:
    write(project, "same.py", "app = App()")
    assert load("same.py") is load("same")


@pytest.mark.parametrize(
    ("text", "app", "expected"),
    [
        ("import nothing_of_this_name", "bad1", "ModuleNotFoundError: No module named 'nothing_of_this_name' ("),
        ("\n\ndef broken(:\n", "bad2.py", "SyntaxError: "),
        ("raise ValueError('two\\nlines')", "bad3", "ValueError: two lines ("),
        ("raise SystemExit('not today')", "bad4", "SystemExit: not today ("),
        ("1 / 0", "bad-5.py", "ZeroDivisionError: division by zero ("),
    ],
)
def test_an_import_error_is_one_line_with_its_file_and_line(project: Path, text: str, app: str, expected: str) -> None:
    file = app if app.endswith(".py") else f"{app}.py"
    write(project, file, text)
    line = (APP + text).rstrip("\n").count("\n") + 1
    with pytest.raises(AppNotFound) as caught:
        load(app)
    message = str(caught.value)
    assert expected in message
    assert f"{file}, line {line})" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        ("nowhere_at_all", "there is no module 'nowhere_at_all'"),
        ("nowhere.py", "there is no file nowhere.py"),
        ("empty", 'empty has no Mesh application: write `app = Mesh("empty")`'),
        ("empty:app", "empty has no Mesh application named 'app'"),
        (":app", "names no module"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_do(project: Path, app: str, expected: str) -> None:
    write(project, "empty.py")
    with pytest.raises(AppNotFound, match=re.escape(expected)):
        load(app)
