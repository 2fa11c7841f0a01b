"""Following a purge to its end."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.client import purging
from mesh.errors import NoCoordinator

CHANGES = [{"do": "purge", "name": "long"}, {"do": "bind"}, {"do": "purge", "name": "short"}]
ANSWER = {"term": 3, "changes": [{"changed": True, "messages": 5000}, {"changed": True}, {"changed": True, "messages": 5}]}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "PAUSE_S", 0.0)


def test_it_asks_until_nothing_is_left_of_what_was_to_go() -> None:
    states: list[dict[str, Any]] = [
        {"term": 3, "queues": {"long": 700, "other": 9}},
        {"term": 3, "queues": {"long": 300}},
        {"term": 3, "queues": {"other": 9}},
    ]
    told: list[tuple[str, int]] = []
    purging.follow(CHANGES, ANSWER, lambda: states.pop(0), lambda queue, left: told.append((queue, left)))
    assert (states, told) == ([], [("long", 700), ("long", 300)])


def test_nothing_is_asked_after_a_short_one() -> None:
    purging.follow(CHANGES[2:], {"term": 3, "changes": ANSWER["changes"][2:]}, pytest.fail, pytest.fail)  # type: ignore[index]


def test_a_change_of_the_coordinator_is_an_error_that_says_what_is_left() -> None:
    with pytest.raises(NoCoordinator, match="what is left of long still waits: ask for it again"):
        purging.follow(CHANGES, ANSWER, lambda: {"term": 4, "queues": {}}, lambda queue, left: None)
