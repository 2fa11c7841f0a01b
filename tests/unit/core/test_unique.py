"""Of the live tasks with one key there is one (decision 124)."""

from __future__ import annotations

import json

import pytest

from mesh.core.broker.unique import HOLDERS_MIN, NOT_UNIQUE, RESERVED_S
from mesh.wire.calls import Call, Flow
from mesh.wire.entries import Message, Status
from mesh.wire.messages import Submit
from tests.unit.core.test_flows import Party


@pytest.fixture
def party() -> Party:
    return Party()


def task(id: str, key: str = "k", lasts_ms: int = 0, flow: Flow | None = None) -> Message:
    return Message(id, "q", "work", b"", call=Call(unique=key, unique_ms=lasts_ms), flow=flow)


def asked(party: Party, *wanted: tuple[str, str]) -> list[str]:
    answer = party.client.ask("unique", json.dumps(wanted))
    assert answer.error == ""
    ids: list[str] = json.loads(answer.body)
    return ids


def failure(party: Party, id: str) -> str:
    result = party.result(id)
    assert result.status == Status.REVOKED
    assert result.failure is not None
    assert result.failure.type_name == NOT_UNIQUE
    return result.failure.message


def test_who_asks_first_has_the_key_and_others_get_its_id(party: Party) -> None:
    assert asked(party, ("k", "one"), ("other", "two"), ("k", "three")) == ["one", "two", "one"]
    party.send([task("one")])
    assert asked(party, ("k", "four")) == ["one"]
    party.finish(one=1)
    assert asked(party, ("k", "five")) == ["five"]


def test_a_key_that_was_asked_for_and_not_used_is_free_again(party: Party) -> None:
    assert asked(party, ("k", "one")) == ["one"]
    party.cluster.run(RESERVED_S + 0.1)
    assert asked(party, ("k", "two")) == ["two"]


def test_a_second_live_task_with_the_key_does_not_run_and_says_which_one_does(party: Party) -> None:
    party.send([task("one"), task("two"), task("free", "other")])
    assert party.begun == ["one", "free"]
    assert "task one has the key 'k'" in failure(party, "two")
    party.finish(one=1)
    party.send([task("three")])
    assert party.begun == ["one", "free", "three"]


def test_a_task_that_is_delivered_again_keeps_its_key(party: Party) -> None:
    party.send([task("one")])
    party.worker.lose("one")
    party.cluster.run(1)
    assert party.begun == ["one", "one"]
    assert asked(party, ("k", "two")) == ["one"]


def test_what_comes_after_one_that_was_refused_is_skipped(party: Party) -> None:
    party.send([task("one"), Message("next", "q", "work", b"", flow=Flow(after="two")), task("two")])
    assert party.begun == ["one"]
    assert failure(party, "two")
    assert party.result("next").skipped


def test_a_key_for_a_time_is_kept_beyond_the_tasks_life_and_not_longer(party: Party) -> None:
    party.send([task("one", lasts_ms=5000)])
    party.finish(one=1)
    party.cluster.run(2)
    assert asked(party, ("k", "two")) == ["one"]
    party.cluster.run(4)
    assert asked(party, ("k", "two")) == ["two"]


def test_a_new_coordinator_knows_the_keys_of_what_is_live_and_of_what_has_ended() -> None:
    party = Party("abc", slots=0)
    party.client = party.cluster.client("c")
    party.send([task("live", "of the live"), task("ended", "of the ended", lasts_ms=60_000)])
    worker = party.worker = party.cluster.worker("c", slots=2)
    party.cluster.until(lambda: {"live", "ended"} <= {delivery.id for delivery in worker.deliveries})
    party.finish(ended=1)
    party.cluster.calm()
    party.cluster.crash(party.cluster.coordinator, vanish=False)
    party.cluster.until(party.cluster.agreed)
    assert asked(party, ("of the live", "x"), ("of the ended", "y")) == ["live", "ended"]


def test_of_two_sides_of_a_split_one_task_stays() -> None:
    party = Party("abc", slots=0)
    cluster, there = party.cluster, party.cluster.client("a")
    cluster.split("a", "bc")
    cluster.until(lambda: not cluster.agreed())
    party.send([task("on c")])
    there.number += 1
    there.send(Submit(there.number, [task("on a")]))
    cluster.run(3)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(3)
    results = cluster[cluster.coordinator].broker.results
    assert len(party.live()) == 1
    assert {*party.live(), *(id for id in ("on a", "on c") if id in results)} == {"on a", "on c"}


def test_keys_of_what_has_ended_take_no_memory(party: Party) -> None:
    unique = party.cluster["a"].broker.unique
    for number in range(8 * HOLDERS_MIN):
        unique.reserve(str(number), str(number))
        if number % HOLDERS_MIN == 0:
            party.cluster.run(RESERVED_S + 0.1)
    assert len(unique) <= 4 * HOLDERS_MIN
