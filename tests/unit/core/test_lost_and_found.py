"""Messages for a declared queue that is gone (R22): in the list ``lost+found`` until somebody decides, wherever they were."""

from __future__ import annotations

import pytest

from mesh.core.broker import lost_and_found
from mesh.wire.entries import LOST_AND_FOUND
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, delete_queue, held, queue, rows


def lost(cluster: Cluster) -> list[str]:
    return [letter.message.id for letter in cluster[cluster.coordinator].broker.dead_letters.of_queue(LOST_AND_FOUND)]


def delete_elsewhere(cluster: Cluster, name: str) -> None:
    """The other side of a split has deleted a queue, and is merged: its declaration is settled, and nothing else."""
    cluster.turn(cluster.nodes["a"], cluster["a"].topology.remove, ("queue", name))
    cluster.calm()


def test_r22_what_waits_on_the_disk_only_is_put_aside_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_and_found, "READ_AT_ONCE", 7)
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q"), queue("kept")))
    ids = [f"t{number:02}" for number in range(40)]
    for id in ids:
        client.submit(id, queue="q", body=b"x" * 100)
        client.submit(f"k{id}", queue="kept", body=b"x" * 100)
    assert sum(len(journal.paged) for journal in cluster["a"].replica.journals.values()) > 60
    delete_elsewhere(cluster, "q")
    cluster.run(2.0)
    assert sorted(lost(cluster)) == ids
    assert "q" not in cluster["a"].broker.queues
    assert cluster["a"].broker.queues["kept"].ready == 40


def test_r22_a_new_reign_finds_what_waits_on_the_disk_for_a_queue_that_is_gone() -> None:
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q")))
    client.submit(*[f"t{number:02}" for number in range(40)], queue="q", body=b"x" * 100)
    cluster["a"].broker.lost_and_found.tick = lambda: None  # type: ignore[method-assign]
    delete_elsewhere(cluster, "q")
    cluster.crash("a")
    cluster.start("a")
    cluster.run(3.0)
    assert len(lost(cluster)) == 40


def test_what_a_consumer_holds_of_a_deleted_queue_ends_there_or_is_put_aside_when_it_comes_back() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(queue("q")))
    worker = cluster.worker("a", queues=["q"], slots=2)
    client.submit("t1", "t2", queue="q")
    rows(client.change(delete_queue("q")))
    assert list(worker.held) == ["t1", "t2"]
    worker.finish("t1")
    worker.lose("t2")
    cluster.run(0.5)
    assert client.results()["t1"].failure is None
    assert lost(cluster) == ["t2"]


def test_what_is_published_to_a_queue_that_was_just_deleted_is_taken_all_the_same() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    consumer = cluster.consumer("a", queues=[], prefetch=0)
    rows(client.change(queue("q")))
    rows(client.change(delete_queue("q")))
    client.publish("m1", queue="q")
    assert consumer.take("q") is None, "it is not known yet whether it is for the queue that is gone"
    cluster.run(0.2)
    assert list(consumer.held) == ["m1"]


def test_a_queue_that_is_declared_again_in_time_has_what_came_for_it() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(queue("q")))
    client.submit("t1", queue="q")
    cluster.turn(cluster.nodes["a"], cluster["a"].topology.remove, ("queue", "q"))
    rows(client.change(queue("q")))
    cluster.run(0.5)
    assert held(cluster, "a") == {"t1": "q"}
    assert not lost(cluster)


def test_a_requeued_message_of_a_queue_that_was_declared_again_needs_it_as_before() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(queue("q")))
    client.submit("t1", queue="q")
    delete_elsewhere(cluster, "q")
    cluster.run(0.5)
    assert lost(cluster) == ["t1"]
    rows(client.change(queue("q")))
    client.ask("requeue", LOST_AND_FOUND)
    cluster.run(0.5)
    properties = cluster["a"].broker.records["t1"].message.properties
    assert properties is not None
    assert properties.declared


def test_a_message_that_is_published_again_is_no_longer_in_the_list() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(queue("q"), queue("other")))
    client.publish("m1", key="q")
    delete_elsewhere(cluster, "q")
    cluster.run(0.5)
    assert lost(cluster) == ["m1"]
    client.publish("m1", key="other")
    cluster.run(0.5)
    assert held(cluster, "a") == {"m1": "other"}
    assert not lost(cluster)


def test_bindings_that_a_merge_has_left_without_an_end_go_and_do_not_come_back_with_the_name() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(queue("q"), bind("amq.fanout", "q")))
    cluster.turn(cluster.nodes["a"], cluster["a"].topology.remove, ("queue", "q"))
    rows(client.change(queue("q")))
    assert not cluster["a"].topology.routing.bindings, "it was bound when it was another one"
    rows(client.change(bind("amq.fanout", "q")))
    delete_elsewhere(cluster, "q")
    cluster.run(1.0)
    assert not cluster["a"].topology.routing.bindings
