"""`mesh config` and `mesh queue` against a node that answers as told: what is asked, what is printed, which exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mesh.cli.main import run

from mesh.config import mesh_wide, queue_settings, unit
from tests.unit.client.places import QUICK, Place

LETTER = {
    "id": "0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10",
    "task": "mail.send",
    "queue": "mail",
    "reason": "delivered 2 times and lost each time",
    "at_ms": 1_700_000_000_000,
    "attempts": [
        {
            "node": "desk",
            "worker": "w-1",
            "started_ms": 1_700_000_000_000,
            "ended_ms": 1_700_000_001_500,
            "how": "the slot that ran it died",
        },
        {"node": "shed", "worker": "w-2", "started_ms": 1_700_000_002_000, "ended_ms": 1_700_000_002_100, "how": "its worker was gone"},
    ],
}
COPIES = {"value": 3, "default": 2, "origin": "mesh", "effect": "..."}
Asked = list[tuple[str, str]]
Answers = Callable[..., Asked]


@pytest.fixture
def answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """Starts a node that gives this answer to every question; returns the list of questions."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "home"))
    for name, value in QUICK.items():
        monkeypatch.setenv(f"MESH_{name.upper()}", str(value))
    place = Place(tmp_path / "home")

    def start(value: object = None, error: str = "") -> Asked:
        asked: Asked = []
        place.node().answer = lambda what, argument: (asked.append((what, argument)), (value, error))[1]
        return asked

    yield start
    place.close()


@pytest.mark.parametrize("arguments", [[], ["config"], ["queue"], ["identity"]])
def test_a_group_alone_prints_its_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 0
    seen = capsys.readouterr()
    assert seen.out.startswith("Usage: mesh")
    assert seen.out.count("\n") > 5
    assert seen.err == ""


@pytest.mark.parametrize("command", ["show", "set"])
def test_help_has_every_setting_with_unit_default_and_effect(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", command, "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, item in mesh_wide().items():
        kind = " | ".join(item.metadata["choices"]) or unit(name) or "number"
        assert (
            f"{name} {kind}, default {item.default:.15g}:" in words
            if isinstance(item.default, float)
            else f"default {item.default}:" in words
        )
        assert item.metadata["effect"].replace("`", "") in words


def test_help_of_a_queues_settings_has_those_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["queue", "set", "--help"]) == 0
    listed = capsys.readouterr().out.split("Settings:")[1]
    assert {name for name in mesh_wide() | queue_settings() if f"  {name} " in listed} == set(queue_settings())


def test_show_prints_value_unit_default_and_who_set_it(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers({"copies": COPIES, "takeover_patience_s": {"value": 10.0, "default": 10.0, "origin": "default", "effect": "..."}})
    assert run(["config", "show"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["copies", "3", "-", "2", "mesh", "config"] in lines
    assert ["takeover_patience_s", "10", "seconds", "10", "-"] in lines
    assert asked == [("config", "")]


def test_show_as_json_has_the_unit_too(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers({"max_results_bytes": COPIES})
    assert run(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"max_results_bytes": COPIES | {"unit": "bytes"}}


@pytest.mark.parametrize(
    ("arguments", "asked", "row", "line"),
    [
        (["config", "set", "copies", "3"], "copies=3", COPIES, "copies = 3"),
        (["config", "set", "copies", ""], "copies=", COPIES | {"value": 2}, "copies = 2 (default)"),
        (["config", "set", "copies", "--default"], "copies=", COPIES | {"value": 2}, "copies = 2 (default)"),
        (["queue", "set", "a=b:c", "max_deliveries", "9"], "queue:a=b:c:max_deliveries=9", {"value": 9}, "queue:a=b:c:max_deliveries = 9"),
        (
            ["queue", "set", "mail", "max_deliveries", "--default"],
            "queue:mail:max_deliveries=",
            {"value": None},
            "queue:mail:max_deliveries: as declared, else the mesh's value",
        ),
    ],
)
def test_set_asks_for_one_change_and_prints_what_it_is_now(
    answers: Answers, capsys: pytest.CaptureFixture[str], arguments: list[str], asked: str, row: dict[str, object], line: str
) -> None:
    seen = answers({asked.rpartition("=")[0]: row})
    assert run(arguments) == 0
    assert capsys.readouterr().out == f"{line}\n"
    assert seen == [("config-set", asked)]


@pytest.mark.parametrize(
    "arguments", [["config", "set", "copies"], ["config", "set", "copies", "3", "--default"], ["queue", "requeue", "mail"]]
)
def test_half_a_wish_is_wrong_usage_and_nothing_is_asked(
    answers: Answers, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    asked = answers({})
    assert run(arguments) == 2
    assert asked == []
    assert "--" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "exit_code", "words"),
    [
        ("invalid: the mesh has no setting 'x'; it has copies", 2, "mesh: the mesh has no setting 'x'; it has copies\n"),
        ("not-found: the queue 'q' has no dead letter 1", 3, "mesh: the queue 'q' has no dead letter 1\n"),
        ("no-coordinator: the mesh has no coordinator right now; try again in a moment", 1, "see `mesh status`"),
        ("unknown: this mesh does not know the question", 1, "does not know the question"),
    ],
)
def test_the_code_of_an_error_is_the_exit_code(
    answers: Answers, capsys: pytest.CaptureFixture[str], error: str, exit_code: int, words: str
) -> None:
    answers(None, error)
    assert run(["queue", "requeue", "q", "--task", "1"]) == exit_code
    seen = capsys.readouterr()
    assert words in seen.err
    assert seen.err.count("\n") == 1


def test_dead_letters_are_shown_with_when_and_why_and_on_request_with_their_history(
    answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = answers([LETTER])
    assert run(["queue", "dead-letters", "mail"]) == 0
    short = capsys.readouterr().out
    assert all(word in short for word in (str(LETTER["id"]), "mail.send", "2023-11-1", str(LETTER["reason"])))
    assert "w-1" not in short
    assert run(["queue", "dead-letters", "mail", "-v"]) == 0
    full = capsys.readouterr().out
    assert all(
        word in full for word in ("desk", "w-1", "1.5 s", "the slot that ran it died", "shed", "w-2", "0.1 s", "its worker was gone")
    )
    assert run(["queue", "dead-letters", "mail", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [LETTER]
    assert asked == [("dead-letters", "mail")] * 3


def test_no_dead_letters_are_no_error(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers([])
    assert run(["queue", "dead-letters", "mail"]) == run(["queue", "requeue", "mail", "--all"]) == 0
    assert run(["queue", "dead-letters", "mail", "--json"]) == 0
    assert capsys.readouterr().out == "no dead letters in the queue mail\n[]\n"


def test_requeue_prints_the_ids(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    asked = answers(["1", "2"])
    assert run(["queue", "requeue", "mail", "--all"]) == run(["queue", "requeue", "mail", "--task", "1"]) == 0
    assert capsys.readouterr().out == "1\n2\n" * 2
    assert asked == [("requeue", "mail"), ("requeue", "mail=1")]


@pytest.mark.parametrize("command", [["queue", "list"], ["status"]])
def test_queues_are_shown_with_what_nobody_can_run_and_with_dead_letters(
    answers: Answers, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    row = {"name": "mail", "ready": 4, "delayed": 0, "unsettled": 0, "consumers": 1, "waiting_for": ["mail.send"], "dead_letters": 2}
    asked = answers({"mesh": "m", "id": "i", "coordinator": "c", "deputies": [], "term": 1, "queues": [row]})
    assert run(command) == 0
    out = capsys.readouterr().out
    assert ["mail", "4", "0", "0", "1", "mail.send", "2"] in [line.split()[:7] for line in out.splitlines()]
    assert "waiting_for" in out
    assert "dead_letters" in out
    assert asked == [("status", "")]


def test_no_queues_are_told(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers({"queues": []})
    assert run(["queue", "list"]) == 0
    assert "no queues" in capsys.readouterr().out
    assert run(["queue", "list", "--json"]) == 0
    assert capsys.readouterr().out == "[]\n"
