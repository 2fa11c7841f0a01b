"""`mesh why` and `mesh workflow show` against a node that answers as told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mesh.cli.main import run

from tests.unit.client.places import QUICK, Place

WHY: dict[str, Any] = {
    "id": "t1",
    "task": "mail.send",
    "queue": "mail",
    "state": "PENDING",
    "reasons": [{"code": "no-consumer", "text": "no worker consumes the queue 'mail'"}],
    "retries": 1,
    "attempts": [{"node": "desk", "worker": "w-1", "started_ms": 1_700_000_000_000, "ended_ms": 1_700_000_001_000, "how": "the slot died"}],
    "result": None,
}
STEP = {"state": "SUCCESS", "after": "", "on": "success", "gathers": None, "lacks": 0, "into": "", "place": 0, "parent": "", "error": ""}
CHORD = [
    STEP | {"id": "body", "task": "total", "state": "WAITING", "after": "group"},
    STEP | {"id": "callback", "task": "tell", "state": "WAITING", "after": "group", "on": "failure"},
    STEP | {"id": "group", "task": "", "state": "WAITING", "gathers": 2, "lacks": 1},
    STEP | {"id": "x", "task": "add", "into": "group"},
    STEP | {"id": "y", "task": "add", "state": "STARTED", "into": "group", "place": 1},
]
Answer = Callable[[object], None]


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    for name, value in QUICK.items():
        monkeypatch.setenv(f"MESH_{name.upper()}", str(value))
    place = Place(tmp_path / "home")

    def start(value: object) -> None:
        place.node().answer = lambda what, argument: (value, "")

    yield start
    place.close()


def test_why_prints_the_state_the_reasons_and_what_has_happened(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer(WHY)
    assert run(["why", "t1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mail.send[t1] in the queue mail: PENDING",
        "  no worker consumes the queue 'mail'",
        "  it has asked to be run again 1 time",
        "  lost by w-1 on desk, which had it from 2023-11-14 22:13:20 UTC to 2023-11-14 22:13:21 UTC: the slot died",
    ]


def test_why_as_json_is_the_answer(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer(WHY)
    assert run(["why", "t1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == WHY


def test_why_of_an_unknown_id_has_exit_code_3(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer(WHY | {"task": "", "queue": "", "state": "UNKNOWN", "attempts": [], "retries": 0})
    assert run(["why", "t1"]) == 3
    assert capsys.readouterr().out.startswith("t1: UNKNOWN\n")


def test_a_workflow_is_drawn_from_its_ends(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"id": "x", "steps": CHORD, "more": False})
    assert run(["workflow", "show", "x"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "total[body] WAITING",
        "└── group of 2 (1 there) [group] WAITING",
        "    ├── add[x] SUCCESS <-",
        "    └── add[y] STARTED",
        "on failure: tell[callback] WAITING",
        "└── group of 2 (1 there) [group] WAITING (drawn above)",
    ]


def test_a_workflow_for_graphviz(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"id": "x", "steps": CHORD, "more": False})
    assert run(["workflow", "show", "x", "--dot"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("digraph workflow {", "}")
    assert '  "group" -> "body" [style=solid];' in lines
    assert '  "group" -> "callback" [style=dashed];' in lines
    assert '  "x" -> "group";' in lines


def test_a_workflow_that_nobody_knows_has_exit_code_3(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer({"id": "x", "steps": [], "more": False})
    assert run(["workflow", "show", "x"]) == 3
    assert "does not know a task x" in capsys.readouterr().err
