"""The way of what is published to queues, the queues that go by themselves, and what holds for a queue."""

from __future__ import annotations

import json

import pytest

from mesh.core.broker import purge
from mesh.wire.entries import Message
from mesh.wire.messages import Answer, Go, Held, Notice, Query, Submit, Taken
from mesh.wire.topology import Properties
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, delete_queue, exchange, held, publish, queue, rows, three
from tests.unit.core.programs import Client


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


# -- the way of a message --------------------


def test_what_nobody_takes_is_refused_when_it_is_mandatory_or_a_task_else_dropped_and_counted(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(exchange("x"), exchange("inner", internal=True)))
    for more in ({"mandatory": True}, {"task": "work"}):
        confirm = publish(client, "m1", exchange="x", key="k", **more)
        assert confirm.copies == 0
        assert confirm.error.startswith("unroutable: the exchange 'x' has no queue for the routing key 'k'")
    confirm = publish(client, "m1", exchange="x", key="k")
    assert (confirm.error, confirm.unroutable) == ("", 1)
    for exchange_name, text in (("nowhere", "there is no exchange 'nowhere'"), ("inner", "the exchange 'inner' is internal")):
        assert publish(client, "m1", exchange=exchange_name).error.startswith(f"unroutable: {text}")
    assert held(cluster, "a") == {}


def test_a_task_for_a_queue_by_name_goes_there_declared_or_not(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("declared", message_ttl_ms=1000)))
    client.submit("t1", queue="declared")
    client.submit("t2", queue="implicit")
    first, second = (cluster["a"].broker.records[id].message for id in ("t1", "t2"))
    assert first.properties is not None
    assert first.properties.declared
    assert first.properties.expires_ms == cluster["a"].wall_ms + 1000
    assert second.properties is None


def test_a_queue_limits_priority_and_time_of_what_is_routed_to_it(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(
        client.change(
            queue("q", max_priority=5, message_ttl_ms=10_000), queue("plain"), bind("amq.fanout", "q"), bind("amq.fanout", "plain")
        )
    )
    now_ms = cluster["a"].wall_ms
    client.publish("m1", exchange="amq.fanout", priority=9, expires_ms=now_ms + 1000)
    client.publish("m2", exchange="amq.fanout", priority=3)
    found = {id: record.message.properties for id, record in cluster["a"].broker.records.items()}
    shown = {id: (p.priority, p.expires_ms - now_ms if p.expires_ms else 0) for id, p in found.items() if p is not None}
    assert shown == {"m1": (9, 1000), "m1/q": (5, 1000), "m2": (3, 0), "m2/q": (3, 10_000)}


def test_a_retry_of_a_publish_to_several_queues_adds_nothing(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q1"), queue("q2"), bind("amq.fanout", "q1"), bind("amq.fanout", "q2")))
    client.publish("m1", exchange="amq.fanout")
    client.publish("m1", exchange="amq.fanout")
    assert held(cluster, "a") == {"m1": "q1", "m1/q2": "q2"}
    assert cluster["a"].broker.queues["q1"].ready == 1


# -- what goes by itself --------------------


def test_an_exchange_goes_with_the_last_of_its_bindings(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(exchange("x", auto_delete=True), exchange("up", auto_delete=True), queue("q1"), queue("q2")))
    rows(client.change(bind("up", "x", kind="exchange"), bind("x", "q1"), bind("x", "q2")))
    cluster.run(1.0)
    rows(client.change({"do": "unbind", "source": "x", "destination": "q1"}))
    assert cluster["a"].topology.exchange("x") is not None
    rows(client.change(delete_queue("q2")))
    assert cluster["a"].topology.exchange("x") is None
    assert cluster["a"].topology.exchange("up") is None, "nor has that one a binding left"


def test_a_queue_goes_after_the_last_of_its_consumers_but_not_before_the_first(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", auto_delete=True)))
    cluster.run(5.0)
    assert cluster["a"].topology.queue("q") is not None
    worker = cluster.worker("a", queues=["q"])
    cluster.run(1.0)
    worker.die()
    cluster.run(2.0)
    assert cluster["a"].topology.queue("q") is not None, "it may be on its way to another node"
    cluster.run(2.0)
    assert cluster["a"].topology.queue("q") is None


def test_a_consumer_that_came_and_went_at_once_was_the_last_one_all_the_same(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", auto_delete=True)))
    cluster.run(1.0)
    cluster.consumer("a", queues=["q"]).cancel()
    cluster.run(1.0)
    assert cluster["a"].topology.queue("q") is None


def test_a_queue_goes_at_once_when_the_last_consumer_says_goodbye(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("auto", auto_delete=True), queue("own", exclusive=True), owner="prog"))
    first, last = (cluster.consumer("a", f"prog/{number}", queues=["auto"]) for number in (1, 2))
    cluster.run(1.0)
    first.detach()
    cluster.run(4.0)
    assert set(cluster["a"].topology.queues) == {"auto", "own"}
    last.detach()
    cluster.run(0.6)
    assert not cluster["a"].topology.queues


def test_a_goodbye_does_not_count_while_another_consumer_may_come_back(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", auto_delete=True)))
    lost, polite = (cluster.consumer("a", queues=["q"]) for _ in range(2))
    cluster.run(1.0)
    lost.die()
    polite.detach()
    cluster.run(1.0)
    assert cluster["a"].topology.queue("q") is not None
    cluster.run(3.0)
    assert cluster["a"].topology.queue("q") is None


def test_an_exclusive_queue_is_its_owners_and_goes_with_him(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    owner = cluster.worker("a", "prog/1", queues=["q"])
    rows(client.change(queue("q", exclusive=True), bind("amq.direct", "q"), owner="prog"))
    for change in (queue("q", passive=True), delete_queue("q"), bind("amq.direct", "q", "k"), {"do": "purge", "name": "q"}):
        assert client.change(change, owner="other").error.startswith("in-use: the queue 'q' is exclusive to another program")
    cluster.run(5.0)
    assert cluster["a"].topology.queue("q") is not None
    owner.die()
    cluster.run(4.0)
    assert cluster["a"].topology.queue("q") is None
    assert not cluster["a"].topology.routing.bindings


def test_an_exclusive_queue_goes_with_its_owner_after_a_takeover_too() -> None:
    cluster = three()
    leader = cluster.coordinator
    owner = cluster.worker(leader, "prog", queues=["q"])
    client = cluster.client(leader)
    rows(client.change(queue("q", exclusive=True), queue("auto", auto_delete=True), owner="prog"))
    assert owner.node == leader
    cluster.crash(leader)
    cluster.until(cluster.agreed, 10.0)
    assert cluster[cluster.coordinator].topology.queue("q") is not None
    cluster.run(8.0)
    assert cluster[cluster.coordinator].topology.queue("q") is None
    assert cluster[cluster.coordinator].topology.queue("auto") is not None


def test_a_queue_that_had_a_consumer_goes_after_a_takeover_that_the_consumer_did_not_survive() -> None:
    cluster = three()
    leader = cluster.coordinator
    client = cluster.client(leader)
    rows(client.change(queue("q", auto_delete=True), queue("unused", auto_delete=True)))
    cluster.consumer(leader, queues=["q"])
    cluster.run(1.0)
    cluster.crash(leader)
    cluster.until(cluster.agreed, 10.0)
    cluster.run(8.0)
    assert list(cluster[cluster.coordinator].topology.queues) == ["unused"]


def test_a_queue_that_was_set_to_expire_does_when_it_is_not_used(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q")))
    client.ask("config-set", "queue:q:expires_s=2")
    cluster.run(1.5)
    assert cluster["a"].topology.queue("q") is not None
    cluster.run(1.5)
    assert cluster["a"].topology.queue("q") is None


def test_a_queue_expires_when_it_is_not_used(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", expires_ms=2000)))
    cluster.run(1.5)
    rows(client.change(queue("q", expires_ms=2000)))
    cluster.run(1.5)
    assert cluster["a"].topology.queue("q") is not None, "it was declared again"
    worker = cluster.worker("a", queues=["q"])
    cluster.run(4.0)
    assert cluster["a"].topology.queue("q") is not None, "it has a consumer"
    worker.die()
    cluster.run(1.5)
    cluster.consumer("a", queues=[], prefetch=0).take("q")
    cluster.run(1.5)
    assert cluster["a"].topology.queue("q") is not None, "somebody wanted something of it"
    cluster.run(1.0)
    assert cluster["a"].topology.queue("q") is None


# -- arguments --------------------


def test_what_is_set_for_a_queue_stands_above_its_declaration_and_that_above_the_mesh(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    arguments = cluster["a"].arguments
    assert arguments.limits("q") is None
    rows(client.change(queue("q", max_length=3, overflow="drop-head", max_deliveries=2)))
    assert arguments.of("q")[:4] == (3, 0, "drop-head", 2)
    client.ask("config-set", "queue:q:max_length=7")
    client.ask("config-set", "max_bytes=1000")
    assert arguments.of("q")[:4] == (7, 1000, "drop-head", 2)
    assert arguments.of("other")[:4] == (0, 1000, "reject-publish", 5)
    rows(client.change(delete_queue("q")))
    assert arguments.of("q")[:4] == (7, 1000, "reject-publish", 5)


def test_a_declared_limit_drops_the_oldest(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", max_length=2, overflow="drop-head")))
    client.submit("t1", "t2", "t3", queue="q")
    cluster.run(0.2)
    assert sorted(held(cluster, "a")) == ["t2", "t3"]


def test_a_message_for_several_queues_waits_until_all_of_them_have_room(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q1", max_length=1), queue("q2", max_length=1), bind("amq.fanout", "q1"), bind("amq.fanout", "q2")))
    assert publish(client, "m1", exchange="amq.fanout").copies == 1
    second = Message("m2", "", "", b"", properties=Properties(exchange="amq.fanout"))
    client.send(Submit(50, [second], 60_000))
    cluster.calm()
    assert [reply.number for reply in client.got(Held)] == [50]
    cluster.consumer("a", queues=["q1"]).ack("m1")
    cluster.run(0.5)
    assert not client.got(Go), "one of two queues has room"
    publish_apart = Submit(51, [Message("m3", "q1", "", b"")], 60_000)
    client.send(publish_apart)
    cluster.consumer("a", queues=["q2"]).ack("m1/q2")
    cluster.run(0.5)
    assert [(reply.number, reply.count) for reply in client.got(Go)] == [(50, 1)]
    client.send(Submit(52, [second], 60_000, granted=50))
    cluster.run(0.5)
    assert client.confirm(52) is not None
    admission = cluster["a"].broker.admission
    assert (admission._granted, admission._reserved) == ({}, {})


def test_more_copies_than_a_queue_ever_holds_are_refused_at_once(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q1", max_length=1), queue("q2"), bind("amq.fanout", "q1"), bind("amq.fanout", "q2")))
    confirm = publish(client, "m1", "m2", exchange="amq.fanout")
    assert confirm.error.startswith("queue-full: 2 copies at once; the queue 'q1' holds at most max_length = 1")
    assert not held(cluster, "a")


# -- who may consume --------------------


def test_whoever_may_have_nothing_of_an_exclusive_queue_is_told(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    owner = cluster.consumer("a", "prog/1", queues=["q"])
    rows(client.change(queue("q", exclusive=True), owner="prog"))
    publish(client, "m1", key="q")
    text = "the queue 'q' is exclusive to another program; use a queue of another name"
    other = cluster.consumer("a", "else/1", queues=["other", "q"])
    assert other.got(Taken) == [Taken(0, "else/1", [], 0, f"in-use: {text}")]
    taken = other.take("q")
    assert taken is not None
    assert taken.error == f"in-use: {text}"
    worker = cluster.worker("a", queues=["q"])
    assert worker.got(Notice) == [Notice(worker.name, text)]
    assert not owner.got(Taken)


def test_whoever_consumes_a_queue_that_becomes_exclusive_is_told_then(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    consumer, worker, owner = cluster.consumer("a"), cluster.worker("a", "w", queues=["q"]), cluster.consumer("a", "prog/1")
    rows(client.change(queue("q", exclusive=True), owner="prog"))
    cluster.run(0.2)
    refusal = "the queue 'q' is exclusive to another program; use a queue of another name"
    assert [taken.error for taken in consumer.got(Taken)] == [f"in-use: {refusal}"]
    assert [notice.text for notice in worker.got(Notice)] == [refusal]
    assert not owner.got(Taken)


def test_an_exclusive_queue_is_consumed_by_its_owner_alone(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    owner = cluster.consumer("a", "prog/1", queues=["q"])
    other = cluster.consumer("a", "else/1", queues=["q"])
    rows(client.change(queue("q", exclusive=True), owner="prog"))
    for number in range(4):
        client.publish(f"m{number}", key="q")
        owner.ack()
    cluster.run(0.5)
    assert not other.deliveries
    assert [delivery.id for delivery in owner.deliveries] == ["m0", "m1", "m2", "m3"]
    other.take("q")
    assert not other.deliveries


def test_a_queue_with_a_single_active_consumer_is_declared_as_such(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", single_active_consumer=True)))
    consumers = [cluster.consumer("a", f"c{number}", queues=["q"]) for number in range(2)]
    client.publish("m1", "m2", key="q")
    assert sorted(len(consumer.deliveries) for consumer in consumers) == [0, 1]


# -- long queues --------------------


def test_a_long_queue_is_purged_in_turns_and_nothing_of_it_runs_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "AT_ONCE", 10)
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q")))
    client.submit(*[f"t{number:03}" for number in range(200)], queue="q", body=b"x" * 100)
    worker = cluster.worker("a", queues=["q"])
    held_before = list(worker.held)
    began = cluster.now
    client.number += 1
    client.send(Query(client.number, "topology-change", json.dumps({"changes": [{"do": "purge", "name": "q"}]})))
    cluster.calm()
    worker.finish()
    client.submit("later", queue="q")
    cluster.run(0.2)
    assert not worker.held, "there is something, but it is about to go"
    cluster.until(lambda: len(client.got(Answer)) == 2)
    assert cluster.now - began > 0.4
    cluster.run(0.5)
    assert json.loads(client.got(Answer)[-1].body)["changes"] == [{"changed": True, "messages": 200 - len(held_before)}]
    assert list(worker.held) == ["later"]
    assert len(client.results()) == 200


def test_a_queue_that_is_deleted_in_turns_leaves_nothing_in_lost_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purge, "AT_ONCE", 10)
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    rows(client.change(queue("q")))
    client.submit(*[f"t{number:03}" for number in range(100)], queue="q", body=b"x" * 100)
    assert rows(client.change(delete_queue("q")))[0]["messages"] == 100
    cluster.run(1.0)
    assert not cluster["a"].broker.queues
    assert not cluster["a"].broker.dead_letters.queues()
    assert len(client.results()) == 100
