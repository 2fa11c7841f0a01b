"""`mesh control` against a node that answers as told: what is asked, what is printed."""

from __future__ import annotations

import json

import pytest
from mesh.cli.main import run

from tests.unit.cli.test_config_and_queue import Answers, answers

__all__ = ["answers"]
TOLD = {"name": "w-1", "id": "4711", "node": "desk", "queues": ["default", "mail"]}


@pytest.mark.parametrize(("command", "change"), [("add_consumer", {"add": ["mail"]}), ("cancel_consumer", {"cancel": ["mail"]})])
def test_all_workers_are_told_unless_some_are_named(
    answers: Answers, capsys: pytest.CaptureFixture[str], command: str, change: dict[str, list[str]]
) -> None:
    asked = answers([TOLD, {**TOLD, "queues": []}])
    assert run(["control", command, "mail"]) == 0
    assert [(what, json.loads(argument)) for what, argument in asked] == [("consumers", {"worker": "", **change})]
    assert capsys.readouterr().out == "the worker w-1 on desk consumes default, mail\nthe worker w-1 on desk consumes nothing\n"
    assert run(["control", command, "mail", "-d", "w-1", "-d", "w-2"]) == 0
    assert [json.loads(argument)["worker"] for _, argument in asked[1:]] == ["w-1", "w-2"]


def test_as_json_it_is_what_the_mesh_has_answered(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers([TOLD])
    assert run(["control", "add_consumer", "mail", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [TOLD]


def test_without_any_worker_that_is_said(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers([])
    assert run(["control", "add_consumer", "mail"]) == 0
    assert capsys.readouterr().out == "no worker is attached: nothing has changed\n"
