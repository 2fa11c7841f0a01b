"""Giving work to workers: no capable slot idle, nobody overloaded, every message delivered once."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.broker.dispatch import CONSUMERS_GRACE_S
from mesh.wire.messages import Confirm, Consumers, Deliver, Notice
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Worker


class Plan(NamedTuple):
    """A worker's offer."""

    queues: frozenset[str]
    tasks: frozenset[str]
    slots: int
    margin: int


plans = st.builds(
    Plan,
    st.frozensets(st.sampled_from("qr"), min_size=1),
    st.frozensets(st.sampled_from("xyz"), min_size=1),
    st.integers(1, 3),
    st.integers(0, 3),
)
windows = st.sampled_from([0, 3_000, 32 << 20])
"""Of messages in memory: nothing that waits, a few, all."""
tasks = st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from("xyz")), max_size=12)
ends = st.lists(st.tuples(st.integers(0, 99), st.sampled_from(["finish", "give_back", "finish", "detach"])), max_size=12)


class Floor:
    """One node, workers with different offers, and what was submitted."""

    def __init__(self, offers: list[Plan], window_bytes: int) -> None:
        self.cluster = Cluster("a", window_bytes=window_bytes)
        self.client = self.cluster.client("a")
        self.workers = [
            self.cluster.worker("a", queues=sorted(p.queues), tasks=sorted(p.tasks), slots=p.slots, capacity=p.slots + p.margin)
            for p in offers
        ]
        self.submitted: dict[str, tuple[str, str]] = {}
        self.finished: set[str] = set()

    def submit(self, items: list[tuple[str, str]]) -> None:
        for queue, task in items:
            id = f"t{len(self.submitted):03d}"
            self.submitted[id] = (queue, task)
            self.client.submit(id, queue=queue, task=task)

    def check(self) -> None:
        held = [id for worker in self.workers for id in worker.held]
        assert len(held) == len(set(held)), "every message is with one worker at most"
        waiting = {id: kind for id, kind in self.submitted.items() if id not in held and id not in self.finished}
        for worker in self.workers:
            assert len(worker.held) <= worker.capacity
            for id in worker.held:
                queue, task = self.submitted[id]
                assert queue in worker.queues
                assert task in worker.tasks
            able = [id for id, (queue, task) in waiting.items() if queue in worker.queues and task in worker.tasks]
            assert not able or len(worker.held) >= worker.slots, "no idle slot while it could run something"

    def end(self, worker: Worker, how: str) -> None:
        if how == "detach":
            worker.capacity = 0
            worker.report()
            worker.give_back(*worker.held)
            worker.detach()
            self.workers.remove(worker)
        elif worker.held:
            id = next(iter(worker.held))
            if how == "finish":
                self.finished.add(id)
            getattr(worker, how)(id)


@settings(max_examples=50)
@given(st.lists(plans, min_size=1, max_size=4), tasks, ends, tasks, windows)
def test_no_capable_slot_is_idle_nobody_is_overloaded_and_each_message_is_with_one(
    offers: list[Plan], before: list[tuple[str, str]], steps: list[tuple[int, str]], after: list[tuple[str, str]], window_bytes: int
) -> None:
    floor = Floor(offers, window_bytes)
    floor.submit(before)
    floor.check()
    for number, how in steps:
        if floor.workers:
            floor.end(floor.workers[number % len(floor.workers)], how)
            floor.check()
    floor.submit(after)
    floor.check()


@settings(max_examples=50)
@given(st.lists(plans, min_size=1, max_size=3), tasks, windows)
def test_every_message_that_somebody_can_run_runs_once(offers: list[Plan], items: list[tuple[str, str]], window_bytes: int) -> None:
    floor = Floor(offers, window_bytes)
    floor.submit(items)
    for _ in range(len(items) + 1):
        for worker in floor.workers:
            if worker.held:
                floor.end(worker, "finish")
    delivered = [delivery.id for worker in floor.workers for delivery in worker.deliveries]
    runnable = {id for id, (queue, task) in floor.submitted.items() if any(queue in p.queues and task in p.tasks for p in offers)}
    assert sorted(delivered) == sorted(runnable)


def test_free_slots_come_before_margins() -> None:
    cluster = Cluster("a")
    greedy, modest = cluster.worker("a", slots=1, capacity=10), cluster.worker("a", slots=1)
    cluster.client("a").submit("t1", "t2")
    assert (len(greedy.held), len(modest.held)) == (1, 1)


def test_a_backlog_of_short_tasks_is_shared() -> None:
    cluster = Cluster("a")
    workers = [cluster.worker("a", slots=1, capacity=100) for _ in range(4)]
    cluster.client("a").submit(*(f"t{number:03d}" for number in range(40)))
    assert [len(worker.held) for worker in workers] == [10, 10, 10, 10] or max(len(worker.held) for worker in workers) <= 12


def test_a_worker_serves_its_queues_in_the_order_in_which_messages_came() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    client.submit("t1", "t2", queue="r")
    client.submit("t3", queue="q")
    client.submit("t4", queue="r")
    worker = cluster.worker("a", queues=["q", "r"])
    for _ in range(3):
        worker.finish()
    assert [delivery.id for delivery in worker.deliveries] == ["t1", "t2", "t3", "t4"]


def test_large_bodies_travel_in_frames_below_the_limit() -> None:
    cluster = Cluster("a", max_frame_bytes=1 << 16)
    client = cluster.client("a")
    for number in range(10):
        client.submit(f"t{number}", body=bytes(20_000))
    worker = cluster.worker("a", slots=10)
    sizes = [sum(len(delivery.body) for delivery in deliver.deliveries) for deliver in cluster.messages(Deliver)]
    assert max(sizes) < 1 << 16
    assert [delivery.id for delivery in worker.deliveries] == [f"t{number}" for number in range(10)]


def test_a_worker_that_drains_is_given_nothing() -> None:
    cluster = Cluster("a")
    worker = cluster.worker("a", slots=2, capacity=0)
    cluster.client("a").submit("t1")
    assert not worker.held


# -- what people should know --------------------


def test_a_task_that_no_worker_has_waits_and_its_queues_workers_are_told_once() -> None:
    cluster = Cluster("a")
    worker, elsewhere = cluster.worker("a", tasks=["other"]), cluster.worker("a", queues=["r"])
    cluster.client("a").submit("t1", "t2")
    cluster.run(5)
    assert cluster["a"].dispatcher.waiting_for("q") == ["work"]
    assert [notice.text for notice in worker.got(Notice)] == [
        "queue 'q' holds task 'work', which no worker on it has; it waits for one that does"
    ]
    assert elsewhere.got(Notice) == []
    able = cluster.worker("a", slots=2)
    assert able.held.keys() == {"t1", "t2"}
    assert cluster["a"].dispatcher.waiting_for("q") == []


def test_publishers_are_warned_about_queues_that_nobody_consumes() -> None:
    cluster = Cluster("a")
    cluster.run(CONSUMERS_GRACE_S + 0.5)
    client = cluster.client("a")
    nobody = client.submit("t1")
    cluster.worker("a")
    cluster.run(0.1)
    somebody, typo = client.submit("t2"), client.submit("t3", queue="qq")
    warnings = [client.confirm(number).warnings for number in (nobody, somebody, typo)]  # type: ignore[union-attr]
    assert warnings == [["q"], [], ["qq"]]


def test_who_publishes_before_it_is_known_what_is_consumed_is_warned_when_it_is() -> None:
    cluster = Cluster("a")
    served, unserved, gone = cluster.client("a"), cluster.client("a"), cluster.client("a")
    served.submit("t1")
    unserved.submit("t2", queue="qq")
    gone.submit("t3", queue="qq")
    gone.silent = True
    cluster.run(0.1)
    cluster.worker("a")
    cluster.run(CONSUMERS_GRACE_S + 0.5)
    assert [confirm.warnings for confirm in served.got(Confirm)] == [[]]
    assert [(confirm.number, confirm.warnings) for confirm in unserved.got(Confirm)] == [(1, []), (0, ["qq"])]
    cluster.run(CONSUMERS_GRACE_S)
    assert len(unserved.got(Confirm)) == 2


def test_a_worker_whose_slots_are_being_replaced_still_consumes_its_queues() -> None:
    cluster = Cluster("a")
    worker = cluster.worker("a")
    cluster.run(CONSUMERS_GRACE_S + 0.5)
    client = cluster.client("a")
    worker.capacity = 0
    worker.report()
    cluster.run(CONSUMERS_GRACE_S / 2)
    in_between = client.submit("t1")
    worker.capacity = 1
    worker.report()
    cluster.run(CONSUMERS_GRACE_S * 2)
    afterwards = client.submit("t2")
    worker.capacity = 0
    worker.report()
    cluster.run(CONSUMERS_GRACE_S + 0.5)
    without = client.submit("t3")
    warnings = [client.confirm(number).warnings for number in (in_between, afterwards, without)]  # type: ignore[union-attr]
    assert warnings == [[], [], ["q"]]


def test_nodes_are_told_of_consumed_queues_only_when_that_changes() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.worker("a")
    cluster.run(3)
    told = [message.queues for message in cluster.messages(Consumers, "a", "b")]
    assert told[-1] == ["q"]
    assert len(told) <= 2
    cluster.run(5)
    assert len(cluster.messages(Consumers, "a", "b")) == len(told)
