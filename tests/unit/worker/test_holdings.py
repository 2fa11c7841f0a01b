"""What a worker holds, and what it says again."""

from __future__ import annotations

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
    holdings.kept(["a", "unknown"])
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


def test_the_confirmation_of_a_return_does_not_confirm_the_run_that_followed() -> None:
    holdings = holding("a")
    holdings.give_back_ready()
    holdings.accept([one("a")])
    holdings.settle(Outcome(id="a", body=b"1"))
    holdings.kept(["a"])
    assert holdings.active() == ["a"]
    holdings.kept(["a"])
    assert holdings.active() == []


def test_each_return_takes_one_confirmation() -> None:
    holdings = holding("a")
    for _ in range(2):
        holdings.give_back_ready()
        holdings.accept([one("a")])
    holdings.settle(Outcome(id="a", body=b"1"))
    holdings.kept(["a"])
    holdings.kept(["a"])
    assert holdings.active() == ["a"]
    holdings.kept(["a"])
    assert holdings.active() == []
