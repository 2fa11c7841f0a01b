"""Higher priorities run first across all queues of a worker, equal ones in the order in which they came, whatever happens on the way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.cluster.replica import Journal
from mesh.wire.entries import Message, Scope
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Worker

LEVEL_S = 60.0
"""priority_ageing_s as it is by default."""
FEW_BYTES = 3 * 900
"""A window of some three messages."""


def run_all(worker: Worker) -> list[str]:
    """Let a worker finish whatever comes; the ids in the order in which they were given to it."""
    while worker.held:
        worker.finish()
    return [delivery.id for delivery in worker.deliveries]


def submit(client: Client, priorities: dict[str, int]) -> None:
    for id, priority in priorities.items():
        client.submit(id, priority=priority)


def paged(cluster: Cluster, name: str) -> int:
    return sum(len(journal.paged) for journal in cluster[name].replica.journals.values())


def bulk_messages(journals: list[Journal]) -> list[Message]:
    return [e for j in journals if j.scope == Scope.BULK for e in j.live.values() if isinstance(e, Message)]


def test_the_higher_priority_runs_first_across_all_queues_of_a_worker() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    client.submit("t1", queue="q")
    client.submit("t2", queue="r", priority=3)
    client.submit("t3", queue="q", priority=9, task="other")
    client.submit("t4", queue="r", priority=3)
    client.submit("t5", queue="s", priority=9)
    worker = cluster.worker("a", queues=["q", "r", "s"], tasks=["work", "other"])
    assert run_all(worker) == ["t3", "t5", "t2", "t4", "t1"]


def test_a_message_says_its_priority_to_the_worker() -> None:
    cluster = Cluster("a")
    cluster.client("a").submit("t1", priority=7)
    (delivery,) = cluster.worker("a").deliveries
    assert delivery.properties is not None
    assert delivery.properties.priority == 7


@pytest.mark.parametrize(("later_s", "first"), [(LEVEL_S - 3, "urgent"), (LEVEL_S + 3, "old")])
def test_a_level_of_priority_is_worth_a_head_start_of_a_minute(later_s: float, first: str) -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    client.submit("old")
    cluster.run(later_s)
    client.attach("a")
    client.submit("urgent", priority=1)
    assert run_all(cluster.worker("a"))[0] == first


def test_without_ageing_a_low_priority_waits_for_all_others() -> None:
    cluster = Cluster("a", priority_ageing_s=0)
    client = cluster.client("a")
    client.submit("old")
    cluster.run(20 * LEVEL_S)
    client.attach("a")
    client.submit("urgent", priority=1)
    assert run_all(cluster.worker("a")) == ["urgent", "old"]


def test_what_is_given_back_or_lost_keeps_its_place() -> None:
    cluster = Cluster("a")
    submit(cluster.client("a"), {"t1": 0, "t2": 5, "t3": 5, "t4": 0, "t5": 5})
    worker = cluster.worker("a", slots=4)
    worker.capacity = 0
    worker.report()
    worker.give_back("t2", "t1")
    worker.lose("t3", "t5")
    cluster.calm()
    assert run_all(cluster.worker("a")) == ["t2", "t3", "t5", "t1", "t4"]


def test_a_dead_letter_that_is_put_back_has_its_priority() -> None:
    cluster = Cluster("a", max_deliveries=1)
    client = cluster.client("a")
    client.submit("poison", priority=5)
    worker = cluster.worker("a")
    worker.lose("poison")
    worker.detach()
    submit(client, {"t1": 0, "t2": 9})
    assert json.loads(client.ask("requeue", "q").body) == ["poison"]
    assert run_all(cluster.worker("a")) == ["t2", "poison", "t1"]


def test_a_countdown_that_is_over_counts_as_arrival() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    client.submit("later", eta_ms=cluster["a"].wall_ms + 2000)
    client.submit("later and urgent", eta_ms=cluster["a"].wall_ms + 2000, priority=1)
    client.submit("t1")
    cluster.run(3)
    client.submit("t2")
    assert run_all(cluster.worker("a")) == ["later and urgent", "t1", "later", "t2"]


def test_what_comes_to_be_due_on_the_disk_has_its_priority() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("t1")
    client.submit("later and urgent", eta_ms=cluster["a"].wall_ms + 2000, priority=1)
    cluster.run(3)
    assert run_all(cluster.worker("a")) == ["later and urgent", "t1"]


def test_a_takeover_keeps_the_priorities() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    other = "b" if leader == "a" else "a"
    submit(cluster.client(other), {"t1": 0, "t2": 5, "t3": 9, "t4": 0, "t5": 5})
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator == other)
    assert run_all(cluster.worker(other)) == ["t3", "t2", "t5", "t1", "t4"]


def test_a_takeover_keeps_the_age_of_what_has_a_uuid_with_its_time() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    wall_ms = cluster["a"].wall_ms

    def made_at(s: float) -> str:
        text = f"{int(wall_ms + s * 1000):012x}7000800000000000000a"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    old, urgent, later = made_at(0), made_at(30), made_at(90)
    submit(client, {later: 1, urgent: 1, old: 0})
    cluster.run(100)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    assert run_all(cluster.worker("a")) == [urgent, old, later]


@settings(max_examples=25)
@given(st.lists(st.integers(0, 3), max_size=25), st.booleans())
def test_what_is_on_the_disk_only_keeps_its_priority(priorities: list[int], restart: bool) -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    submit(client, {f"t{number:03d}": priority for number, priority in enumerate(priorities)})
    assert bool(paged(cluster, "a")) == (len(priorities) > 3)
    if restart:
        cluster.crash("a")
        cluster.start("a")
        cluster.until(lambda: cluster.coordinator == "a")
    worker = cluster.worker("a")
    expected = sorted((-priority, f"t{number:03d}") for number, priority in enumerate(priorities))
    assert run_all(worker) == [id for _, id in expected]
    assert cluster["a"].broker.queues == {}


def test_an_urgent_message_whose_body_is_on_the_disk_is_waited_for_and_not_passed() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    worker = cluster.worker("a")
    client.submit(*(f"t{number}" for number in range(9)))
    client.submit("urgent", priority=1)
    assert [message.id for message in bulk_messages(list(cluster["a"].replica.journals.values()))][-1] != "urgent"
    worker.finish()
    assert [delivery.id for delivery in worker.deliveries] == ["t0", "urgent"]


def test_of_a_queue_that_is_full_the_oldest_of_the_lowest_priority_is_dropped() -> None:
    cluster = Cluster("a", max_length=3, overflow="drop-head")
    client = cluster.client("a")
    cluster.worker("a", tasks=["other"])
    submit(client, {"t1": 5, "t2": 1, "t3": 1, "t4": 5, "t5": 0})
    cluster.run(0.2)
    assert sorted(client.results()) == ["t2", "t5"]
