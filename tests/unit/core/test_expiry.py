"""Messages that expire: by their own time or their queue's, by the clock of the node that accepted them (R23)."""

from __future__ import annotations

import pytest

from mesh.wire.entries import Message, Status
from mesh.wire.messages import Results, Submit
from mesh.wire.topology import Properties
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import queue, rows, three
from tests.unit.core.programs import Client


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


def in_ms(cluster: Cluster, seconds: float, node: str = "a") -> int:
    return cluster[node].wall_ms + int(seconds * 1000)


def test_a_task_that_nobody_began_in_time_is_revoked_and_its_caller_is_told(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.publish("t1", queue="q", task="work", expires_ms=in_ms(cluster, 1.0))
    client.publish("t2", queue="q", task="work", expires_ms=in_ms(cluster, 3.0))
    client.watch("t1", "t2")
    cluster.run(0.8)
    assert not client.results()
    cluster.run(0.5)
    assert list(client.results()) == ["t1"]
    result = client.results()["t1"]
    assert Status(result.status) is Status.REVOKED
    assert result.failure is not None
    assert result.failure.type_name == "mesh.errors.TaskExpired"
    assert cluster.nodes["a"].on_disk() == {"message:t2", "result:t1"}


def test_a_plain_message_that_expires_leaves_nothing_behind(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.publish("m1", queue="q", expires_ms=in_ms(cluster, 0.5))
    cluster.run(1.0)
    assert not cluster.nodes["a"].on_disk()
    assert not cluster["a"].broker.queues
    assert not cluster.messages(Results)


def test_what_waits_behind_one_that_stays_is_never_handed_out_after_its_time(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.publish("m1", queue="q")
    client.publish("m2", queue="q", expires_ms=in_ms(cluster, 0.5))
    client.publish("m3", queue="q")
    cluster.run(1.0)
    assert cluster["a"].broker.queues["q"].ready == 3, "its turn has not come"
    consumer = cluster.consumer("a", prefetch=2)
    assert list(consumer.held) == ["m1", "m3"], "and the place that it leaves is filled"
    cluster.run(0.1)
    assert cluster["a"].broker.queues["q"].length == 0


def test_what_was_begun_in_time_may_take_as_long_as_it_likes(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.publish("t1", queue="q", task="work", expires_ms=in_ms(cluster, 0.5))
    client.watch("t1")
    cluster.run(1.0)
    worker.finish()
    cluster.run(0.2)
    assert client.results()["t1"].status == Status.SUCCESS


def test_what_comes_back_after_its_time_is_not_tried_again(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.publish("t1", queue="q", task="work", expires_ms=in_ms(cluster, 0.5))
    client.watch("t1")
    cluster.run(1.0)
    worker.lose("t1")
    cluster.run(0.2)
    assert len(worker.deliveries) == 1
    assert client.results()["t1"].status == Status.REVOKED


def test_the_time_of_a_queue_begins_when_a_message_is_due(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", message_ttl_ms=1000)))
    client.submit("t1", queue="q", eta_ms=in_ms(cluster, 2.0))
    client.watch("t1")
    cluster.run(2.8)
    assert not client.results()
    cluster.run(0.4)
    assert client.results()["t1"].status == Status.REVOKED


def test_a_message_that_expires_before_it_is_due_does_not_wait_for_that(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    late = Message("t1", "q", "work", b"", eta_ms=in_ms(cluster, 60.0), properties=Properties(expires_ms=in_ms(cluster, 1.0)))
    client.send(Submit(1, [late]))
    client.watch("t1")
    cluster.run(1.2)
    assert client.results()["t1"].status == Status.REVOKED
    assert not worker.deliveries
    assert not cluster["a"].broker.queues


def test_what_lies_on_the_disk_only_expires_too() -> None:
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q", message_ttl_ms=1000)))
    client.publish(*[f"m{number:03}" for number in range(300)], queue="q", body=b"x" * 100)
    assert sum(len(journal.paged) for journal in cluster["a"].replica.journals.values()) > 200
    cluster.until(lambda: not cluster["a"].broker.queues, 15.0)
    assert not cluster.nodes["a"].on_disk()


def test_a_new_process_knows_of_what_lies_on_the_disk_that_it_expires() -> None:
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q", message_ttl_ms=5000)))
    client.publish(*[f"m{number:03}" for number in range(300)], queue="q", body=b"x" * 100)
    cluster.crash("a")
    cluster.start("a")
    cluster.run(4.0)
    assert cluster["a"].broker.queues["q"].length == 300
    cluster.until(lambda: not cluster["a"].broker.queues, 15.0)


def test_r23_a_message_expires_by_the_clock_of_the_node_that_accepted_it() -> None:
    cluster = three()
    leader = cluster.coordinator
    other = next(name for name in "abc" if name != leader)
    cluster.nodes[other].skew_s = 100.0
    cluster.run(2.0)
    client = cluster.client(other)
    client.publish("m1", queue="q", expires_ms=in_ms(cluster, 1.0, other))
    cluster.run(0.7)
    assert "m1" in cluster[leader].broker.records
    cluster.run(0.6)
    assert "m1" not in cluster[leader].broker.records, "and not 100 s later"


def test_r23_an_attempt_that_was_lost_does_not_move_the_end() -> None:
    cluster = three()
    leader = cluster.coordinator
    other = next(name for name in "abc" if name != leader)
    cluster.nodes[other].skew_s = 100.0
    cluster.run(2.0)
    client, worker = cluster.client(other), cluster.worker(other)
    client.publish("t1", queue="q", task="work", expires_ms=in_ms(cluster, 2.0, other))
    cluster.run(0.2)
    worker.capacity = 0
    worker.lose("t1")
    cluster.run(0.2)
    message = cluster[leader].broker.records["t1"].message
    assert message.attempts == 1
    assert message.properties is not None
    assert message.properties.expires_ms == pytest.approx(in_ms(cluster, 1.6, leader), abs=60), "written anew by the coordinator's clock"


def test_nothing_expires_without_the_authority_to_hand_out() -> None:
    cluster = Cluster("abc", takeover_patience_s=10.0)
    cluster.until(cluster.agreed, 10.0)
    leader = cluster.coordinator
    others = "".join(name for name in "abc" if name != leader)
    client = cluster.client(leader)
    client.publish("m1", queue="q", expires_ms=in_ms(cluster, 3.0, leader))
    cluster.run(0.2)
    cluster.split(leader, others)
    cluster.run(2.5)
    assert not cluster[leader].reign.has_authority()
    cluster.run(4.0)
    assert "m1" in cluster[leader].broker.records, "others may be running it"
    cluster.run(10.0)
    assert "m1" not in cluster[leader].broker.records


def test_r23_what_goes_by_a_clock_that_is_not_known_yet_neither_expires_nor_is_handed_out() -> None:
    cluster = Cluster("ab", takeover_patience_s=10.0)
    cluster.until(cluster.agreed, 10.0)
    cluster.nodes["b"].skew_s = -100.0
    cluster.run(2.0)
    cluster.client("b").publish("m1", queue="q", expires_ms=in_ms(cluster, 30.0, "b"))
    cluster.run(0.2)
    cluster.crash("b")
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster["a"].broker.records, 10.0)
    consumer = cluster.consumer("a")
    cluster.run(5.0)
    assert cluster["a"].reign.has_authority()
    assert not consumer.deliveries, "by the own clock it would be over"
    assert "m1" in cluster["a"].broker.records
    cluster.start("b")
    cluster.until(lambda: consumer.held, 5.0)
    assert list(consumer.held) == ["m1"]
