"""An idle slot does not wait while another worker holds what it could run; and nobody is asked more often than helps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.broker.recalls import AGAIN_S
from mesh.wire.messages import Answer, Query, Recall
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Worker


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes."""
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    return cluster


def busy(cluster: Cluster, count: int) -> Worker:
    """A worker of one slot that was given so many tasks before anybody else was there."""
    worker = cluster.worker("a", slots=1, capacity=100)
    cluster.client("a").submit(*(f"t{number:02d}" for number in range(count)))
    assert len(worker.held) == count
    return worker


def test_what_waits_behind_a_long_task_goes_to_an_idle_slot_elsewhere(cluster: Cluster) -> None:
    holder = busy(cluster, 10)
    idle = cluster.worker("b", slots=2)
    cluster.run(0.3)
    assert list(idle.held) == ["t08", "t09"], "the youngest, as many as it has slots"
    assert len(holder.held) == 8
    while idle.held:
        idle.finish()
        cluster.run(0.3)
    assert len(idle.deliveries) == 9
    assert list(holder.held) == ["t00"], "what runs stays"
    assert cluster[cluster.coordinator].broker.redelivered == 0, "no attempt is counted"
    assert all(delivery.attempt == 1 for delivery in idle.deliveries)


def test_several_idle_workers_share_what_is_called_back(cluster: Cluster) -> None:
    busy(cluster, 10)
    idle = [cluster.worker(node) for node in "aabb"]
    cluster.run(0.3)
    assert [len(worker.held) for worker in idle] == [1, 1, 1, 1]


def test_nothing_is_called_back_that_the_idle_worker_can_not_run(cluster: Cluster) -> None:
    holder = busy(cluster, 5)
    for offer in ({"tasks": ["other"]}, {"queues": ["r"]}):
        cluster.worker("b", **offer)
    cluster.run(2)
    assert holder.got(Recall) == []


def test_nothing_is_called_back_from_who_has_a_slot_for_each(cluster: Cluster) -> None:
    holder = cluster.worker("a", slots=5)
    cluster.client("a").submit(*(f"t{number}" for number in range(5)))
    cluster.worker("b", slots=5)
    cluster.run(2)
    assert holder.got(Recall) == []


def test_what_was_delivered_a_moment_ago_stays(cluster: Cluster) -> None:
    holder = cluster.worker("a", slots=1, capacity=100)
    idle = cluster.worker("b")
    client = cluster.client("a")
    for number in range(20):
        client.submit(f"a{number}", f"b{number}", f"c{number}")
        cluster.run(0.05)
        holder.finish()
        idle.finish()
    assert holder.got(Recall) == []


def test_a_worker_that_gives_nothing_back_is_asked_once_a_second(cluster: Cluster) -> None:
    holder = busy(cluster, 5)
    holder.receive = holder.inbox.append  # type: ignore[method-assign]
    cluster.worker("b")
    cluster.run(5 * AGAIN_S)
    assert len([reply for reply in holder.inbox if isinstance(reply, Recall)]) in (4, 5)


def test_more_are_named_than_are_wanted_as_some_may_run(cluster: Cluster) -> None:
    holder = cluster.worker("a", slots=3, capacity=100)
    cluster.client("a").submit(*(f"t{number:02d}" for number in range(10)))
    cluster.worker("b", slots=2)
    cluster.run(0.2)
    (recall,) = holder.got(Recall)
    assert (recall.ids, recall.count) == (["t09", "t08", "t07", "t06", "t05"], 2)


def test_a_message_near_a_node_is_called_back_from_a_worker_there_that_is_busy(cluster: Cluster) -> None:
    holder = cluster.worker("a", slots=1, capacity=100)
    cluster.client("a").submit("t0", "t1", target="near:a")
    cluster.client("a").submit("t2", target="node:a")
    idle = cluster.worker("b")
    cluster.run(0.3)
    assert list(idle.held) == ["t1"]
    idle.finish()
    cluster.run(2)
    assert list(holder.held) == ["t0", "t2"]


def test_what_a_consumer_has_not_seen_is_called_back_for_one_that_has_nothing(cluster: Cluster) -> None:
    consumer = cluster.consumer("a", prefetch=10)
    cluster.client("a").submit(*(f"t{number}" for number in range(5)), task="")
    idle = cluster.consumer("b", prefetch=10)
    cluster.run(2)
    assert list(idle.held) == ["t4"]
    assert [delivery.attempt for delivery in idle.deliveries] == [1]
    assert list(consumer.held) == ["t0", "t1", "t2", "t3"]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 8)), min_size=2, max_size=4), st.integers(1, 30), st.integers(0, 2**16))
def test_in_the_end_no_slot_is_idle_while_somebody_holds_more_than_it_runs(offers: list[tuple[int, int]], count: int, seed: int) -> None:
    cluster = Cluster("a")
    (slots, margin), *others = offers
    first = cluster.worker("a", slots=slots, capacity=slots + margin + count)
    cluster.client("a").submit(*(f"t{number:03d}" for number in range(count)))
    workers = [first, *(cluster.worker("a", slots=slots, capacity=slots + margin) for slots, margin in others)]
    for step in range(count):
        cluster.run(0.5)
        spare = sum(max(0, len(worker.held) - worker.slots) for worker in workers)
        idle = sum(max(0, worker.slots - len(worker.held)) for worker in workers)
        assert not (spare and idle)
        begun = [(worker, id) for worker in workers for id in worker.begun]
        if begun:
            worker, id = begun[(seed + step) % len(begun)]
            worker.finish(id)
    recalls = sum(len(worker.got(Recall)) for worker in workers)
    assert recalls <= 2 * count, "each brings work to a slot, or is not repeated"


# -- queues that change --------------------


def ask(cluster: Cluster, node: str, argument: object) -> Answer:
    client = cluster.client(node)
    client.send(Query(1, "consumers", json.dumps(argument)))
    cluster.calm()
    answer = client.got(Answer)[-1]
    assert isinstance(answer, Answer)
    return answer


def test_a_worker_consumes_another_queue_at_run_time_and_stops_it_again(cluster: Cluster) -> None:
    worker, other = cluster.worker("b", "w", queues=["q"]), cluster.worker("a", "other", queues=["q"])
    cluster.client("a").submit("t1", queue="r")
    assert not worker.held
    answer = ask(cluster, "a", {"worker": "w", "add": ["r"]})
    assert json.loads(answer.body) == [{"name": "w", "id": "w", "node": "b", "queues": ["q", "r"]}]
    assert list(worker.held) == ["t1"]
    assert other.queues == ["q"]
    worker.finish()
    ask(cluster, "a", {"worker": "w", "cancel": ["r", "q"], "add": ["s"]})
    cluster.client("a").submit("t2", queue="r")
    cluster.client("a").submit("t3", queue="s")
    assert list(worker.held) == ["t3"]


def test_without_a_name_all_workers_are_told(cluster: Cluster) -> None:
    workers = [cluster.worker("a"), cluster.worker("b"), cluster.worker("b")]
    cluster.consumer("a")
    answer = ask(cluster, "b", {"add": ["r"]})
    assert len(json.loads(answer.body)) == 3
    assert [worker.queues for worker in workers] == [["q", "r"]] * 3


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ({"worker": "nobody", "add": ["r"]}, "not-found: the mesh has no worker 'nobody'; mesh status lists them"),
        ({"add": "r"}, "invalid: not a change of consumers: Expected `array`, got `str` - at `$.add`"),
        ({"add": [""]}, "invalid: not a change of consumers: Expected `str` of length >= 1 - at `$.add[0]`"),
        ({"queue": "r"}, "invalid: not a change of consumers: Object contains unknown field `queue`"),
    ],
)
def test_a_wrong_change_of_consumers_is_refused(cluster: Cluster, argument: object, error: str) -> None:
    assert ask(cluster, "a", argument).error == error
