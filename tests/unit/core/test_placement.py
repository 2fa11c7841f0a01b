"""Who may run what: targets, affinity to a node, and one consumer at a time."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.wire.messages import Confirm, Notice
from tests.unit.core import declaring
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Worker


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes."""
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    return cluster


def run_all(worker: Worker) -> list[str]:
    while worker.held:
        worker.finish()
    return [delivery.id for delivery in worker.deliveries]


# -- targets --------------------


def test_a_message_for_a_node_runs_there_only(cluster: Cluster) -> None:
    here, there = cluster.worker("a", slots=5), cluster.worker("b", slots=1)
    cluster.client("a").submit("t1", "t2", target="node:b")
    assert (list(here.held), list(there.held)) == ([], ["t1"])
    assert run_all(there) == ["t1", "t2"]


def test_a_message_for_a_worker_runs_with_that_worker_only(cluster: Cluster) -> None:
    one, other = cluster.worker("a", "one", slots=5), cluster.worker("a", "other")
    cluster.client("b").submit("t1", "t2", target="worker:other")
    assert (list(one.held), list(other.held)) == ([], ["t1"])


def test_a_message_that_no_live_worker_can_serve_waits_and_that_is_said(cluster: Cluster) -> None:
    worker, elsewhere = cluster.worker("a"), cluster.worker("b", queues=["other"])
    cluster.client("a").submit("t1", target="node:b")
    cluster.client("a").submit("t2", target="worker:gone")
    cluster.run(5)
    leader = cluster[cluster.coordinator]
    assert worker.deliveries == []
    assert leader.dispatcher.waiting_for_targets("q") == ["node:b", "worker:gone"]
    assert leader.dispatcher.waiting_for("q") == [], "there is a worker that has the task"
    assert sorted(notice.text for notice in worker.got(Notice)) == [
        f"queue 'q' holds task 'work' for {target}, and no worker there can run that; it waits for one that does"
        for target in ("node:b", "worker:gone")
    ]
    assert elsewhere.got(Notice) == []
    able = cluster.worker("b")
    assert list(able.held) == ["t1"]
    assert leader.dispatcher.waiting_for_targets("q") == ["worker:gone"]


def test_a_target_survives_a_takeover_and_the_disk() -> None:
    cluster = Cluster("ab", window_bytes=0)
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    other = "b" if leader == "a" else "a"
    client = cluster.client(other)
    client.submit("t1", "t2", target="worker:w")
    client.submit("t3", "t4")
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator == other)
    assert run_all(cluster.worker(other, "v")) == ["t3", "t4"]
    assert run_all(cluster.worker(other, "w")) == ["t1", "t2"]


@pytest.mark.parametrize("target", ["gpu", "node:", "worker:", "cpu:a", "node:" + "x" * 300])
def test_a_target_that_is_none_is_refused(cluster: Cluster, target: str) -> None:
    client = cluster.client("a")
    confirm = client.confirm(client.submit("t1", target=target))
    assert isinstance(confirm, Confirm)
    assert confirm.error.startswith("invalid: a target is node:NAME, worker:NAME or near:NODE_ID, not")


@pytest.mark.parametrize("priority", [-1, 256])
def test_a_priority_out_of_range_is_refused(cluster: Cluster, priority: int) -> None:
    client = cluster.client("a")
    confirm = client.confirm(client.submit("t1", priority=priority))
    assert isinstance(confirm, Confirm)
    assert confirm.error == f"invalid: a priority is between 0 and 255, not {priority}"


# -- near --------------------


def test_near_a_node_its_workers_come_first_and_others_when_it_has_no_room(cluster: Cluster) -> None:
    away = cluster.worker("b", slots=2)
    near = cluster.worker("a", slots=2)
    for number in range(6):  # whoever is asked first
        cluster.client("a").submit(f"t{number}", target="near:a")
        assert len(near.held) == min(number + 1, 2)
    assert len(away.held) == 2
    near.finish("t0")
    assert list(near.held) == ["t1", "t4"]


def test_near_a_node_others_run_what_nobody_there_can_run(cluster: Cluster) -> None:
    near, away = cluster.worker("a", tasks=["other"]), cluster.worker("b")
    cluster.client("a").submit("t1", target="near:a")
    assert (list(near.held), list(away.held)) == ([], ["t1"])


def test_near_a_node_that_is_not_there_others_run_it(cluster: Cluster) -> None:
    away = cluster.worker("b")
    cluster.client("a").submit("t1", target="near:gone")
    assert list(away.held) == ["t1"]


def test_a_margin_is_filled_near_the_node_too(cluster: Cluster) -> None:
    near, away = cluster.worker("a", slots=1, capacity=10), cluster.worker("b", slots=1, capacity=10)
    cluster.client("a").submit(*(f"t{number}" for number in range(6)), target="near:a")
    assert len(away.held) == 1, "its slot was idle"
    assert len(near.held) > 1


class Offered(NamedTuple):
    """A worker: its node, its slots and its tasks."""

    node: str
    slots: int
    tasks: frozenset[str]


offers = st.builds(Offered, st.sampled_from("ab"), st.integers(1, 3), st.frozensets(st.sampled_from("xy"), min_size=1))
TARGETS = ["", "", "near:a", "near:b", "node:a", "node:b", "worker:w0"]
items = st.lists(st.tuples(st.sampled_from("xy"), st.integers(0, 2), st.sampled_from(TARGETS)), max_size=14)


def allowed(target: str, worker: Worker) -> bool:
    how, _, who = target.partition(":")
    return {"": True, "near": True, "node": worker.node == who, "worker": worker.name == who}[how]


@settings(max_examples=40, deadline=None)
@given(st.lists(offers, min_size=1, max_size=4), items, st.lists(st.integers(0, 99), max_size=12))
def test_no_slot_is_idle_that_could_run_something_and_nothing_runs_where_it_must_not(
    offered: list[Offered], submitted: list[tuple[str, int, str]], ends: list[int]
) -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    workers = [
        cluster.worker(offer.node, f"w{number}", slots=offer.slots, tasks=sorted(offer.tasks)) for number, offer in enumerate(offered)
    ]
    client = cluster.client("a")
    waiting = {f"t{number:02d}": kind for number, kind in enumerate(submitted)}
    for id, (task, priority, target) in waiting.items():
        client.submit(id, task=task, priority=priority, target=target)

    def check() -> None:
        for worker in workers:
            for id in worker.held:
                waiting.pop(id, None)
        for worker in workers:
            assert len(worker.held) <= worker.slots
            able = [id for id, (task, _, target) in waiting.items() if task in worker.tasks and allowed(target, worker)]
            assert not able or len(worker.held) == worker.slots
        for worker in workers:
            for delivery in worker.deliveries:
                assert allowed(delivery.properties.target if delivery.properties else "", worker)

    check()
    for number in ends:
        worker = workers[number % len(workers)]
        before = dict(waiting)
        if worker.held:
            given = len(worker.deliveries)
            worker.finish(next(iter(worker.held)))
            check()
            first = [(-priority, id) for id, (task, priority, target) in before.items() if task in worker.tasks and allowed(target, worker)]
            assert [delivery.id for delivery in worker.deliveries[given:]] == [id for _, id in sorted(first)[:1]]


# -- one consumer at a time --------------------


def single(cluster: Cluster, queue: str) -> None:
    """Declare a queue with a single active consumer."""
    assert cluster.client("a", "declarer").change(declaring.queue(queue, single_active_consumer=True)).error == ""


def active(cluster: Cluster, queue: str) -> str | None:
    """Who it is, as ``mesh status`` has it."""
    answer = cluster.client("a", "asker").ask("status")
    row = next(row for row in json.loads(answer.body)["queues"] if row["name"] == queue)
    consumer: str | None = row["active_consumer"]
    return consumer


def test_a_queue_with_a_single_active_consumer_has_one_at_a_time_and_then_the_next(cluster: Cluster) -> None:
    single(cluster, "q")
    first, second = cluster.worker("a", "first", slots=2), cluster.worker("b", "second", slots=2)
    cluster.client("a").submit(*(f"t{number}" for number in range(6)))
    assert (list(first.held), list(second.held)) == (["t0", "t1"], [])
    assert active(cluster, "q") == "first"
    first.finish("t0")
    assert (list(first.held), list(second.held)) == (["t1", "t2"], [])
    first.die()
    cluster.run(3)
    assert active(cluster, "q") == "second"
    assert list(second.held) == ["t1", "t2"]
    assert run_all(second) == ["t1", "t2", "t3", "t4", "t5"]


def test_the_next_consumer_waits_until_the_one_that_stops_has_ended_what_it_holds(cluster: Cluster) -> None:
    single(cluster, "q")
    first, second = cluster.worker("a", slots=2), cluster.worker("b", slots=2)
    cluster.client("a").submit(*(f"t{number}" for number in range(4)))
    first.capacity = 0
    first.report()
    first.finish("t0")
    assert list(second.held) == []
    first.finish("t1")
    assert list(second.held) == ["t2", "t3"]


def test_other_queues_of_its_consumers_are_shared_as_ever(cluster: Cluster) -> None:
    single(cluster, "q")
    first, second = cluster.worker("a", queues=["q", "r"]), cluster.worker("b", queues=["q", "r"])
    cluster.client("a").submit("t1", "t2", queue="r")
    assert len(first.held) == len(second.held) == 1
    assert active(cluster, "r") is None


def test_the_one_consumer_stays_the_one_after_a_takeover(cluster: Cluster) -> None:
    single(cluster, "q")
    leader = cluster.coordinator
    other = "b" if leader == "a" else "a"
    workers = [cluster.worker(other, slots=2) for _ in range(3)]
    cluster.client(other).submit(*(f"t{number}" for number in range(8)))
    (one,) = [worker for worker in workers if worker.held]
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator == other)
    cluster.run(3)
    assert run_all(one) == [f"t{number}" for number in range(8)]
    assert all(not worker.deliveries for worker in workers if worker is not one)
