"""What a worker holds, and what it says again."""

from __future__ import annotations

import pytest

from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.worker.holdings import Holdings


def one(id: str) -> Delivery:
    return Delivery(id=id, task="t", body=b"", attempt=0, queue="q")


def holding(*ids: str) -> Holdings:
    holdings = Holdings()
    holdings.accept([one(id) for id in ids])
    return holdings


def test_a_second_delivery_of_a_held_id_is_ignored() -> None:
    holdings = holding("a", "a")
    assert [delivery.id for delivery in holdings.ready] == ["a"]


def test_a_second_delivery_of_a_finished_id_says_its_outcome_again() -> None:
    holdings = holding("a")
    holdings.ready.popleft()
    holdings.settle(Outcome(id="a", body=b"1"))
    holdings.leaving.clear()
    holdings.accept([one("a")])
    assert [outcome.body for outcome in holdings.leaving] == [b"1"]
    assert not holdings.ready


def test_a_task_that_was_lost_here_can_be_delivered_here_again() -> None:
    holdings = holding("a")
    holdings.ready.popleft()
    holdings.settle(Outcome(id="a", kind=OutcomeKind.LOST))
    holdings.accept([one("a")])
    assert [delivery.id for delivery in holdings.ready] == ["a"]
    assert not holdings.outbox


def test_outcomes_stay_until_they_are_kept() -> None:
    holdings = holding("a", "b")
    holdings.settle(Outcome(id="a", body=b"xyz"))
    assert holdings.active() == ["b", "a"]
    assert holdings.outbox_bytes == 3
    holdings.leaving.clear()
    holdings.say_all_again()
    assert [outcome.id for outcome in holdings.leaving] == ["a"]
    holdings.kept(["a", "unknown"], [OutcomeKind.DONE, OutcomeKind.DONE])
    assert holdings.active() == ["b"]
    assert holdings.outbox_bytes == 0


def test_what_is_given_back_is_no_longer_held() -> None:
    holdings = holding("a", "b")
    assert holdings.give_back_ready() == 2
    assert holdings.active() == []
    assert {outcome.kind for outcome in holdings.leaving} == {OutcomeKind.RETURNED}


def test_an_outcome_of_an_id_that_is_not_held_is_dropped() -> None:
    holdings = holding()
    assert holdings.settle(Outcome(id="a")) is None
    assert not holdings.leaving


def test_what_comes_back_from_a_slot_goes_first_and_in_order() -> None:
    holdings = holding("a", "b", "c")
    back = [holdings.ready.popleft(), holdings.ready.popleft()]
    holdings.wait_again(back)
    assert [delivery.id for delivery in holdings.ready] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [OutcomeKind.RETURNED, OutcomeKind.LOST])
def test_r7_the_word_of_an_earlier_end_does_not_confirm_the_run_that_followed(kind: OutcomeKind) -> None:
    holdings = holding("a")
    holdings.ready.clear()
    holdings.settle(Outcome(id="a", kind=kind))
    holdings.accept([one("a")])
    holdings.settle(Outcome(id="a", body=b"1"))
    holdings.say_all_again()
    holdings.kept(["a"], [kind])
    assert holdings.active() == ["a"]
    holdings.kept(["a"], [OutcomeKind.DONE])
    assert holdings.active() == []
