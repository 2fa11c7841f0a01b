"""Exchanges, queues and bindings: replicated, changed by the coordinator, and the way of what is published (R22)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.cluster.replica import Replica
from mesh.core.cluster.topology import Topology
from mesh.core.turn import Turn
from mesh.wire.entries import Scope
from mesh.wire.messages import Append
from mesh.wire.topology import Binding, Exchange, QueueDeclaration
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, delete_exchange, delete_queue, exchange, held, publish, queue, rows, three
from tests.unit.core.programs import Client

# -- the replicated tables --------------------


class Holder:
    def __init__(self, name: str = "a") -> None:
        own = name.encode()
        self.replica = Replica(Turn(), name, own.ljust(16), own.ljust(15) + b"s")
        self.topology = Topology(self.replica)

    def live(self) -> list[tuple[bytes, int]]:
        return sorted((journal.name, sequence) for journal in self.replica.journals.values() for sequence in journal.live)


values = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7)), min_size=1, max_size=6)


@settings(max_examples=40)
@given(values, st.data())
def test_r22_of_two_declarations_the_highest_term_stands_on_every_node(items: list[tuple[int, int, int]], data: st.DataObject) -> None:
    appends = [
        Append(
            f"j{number}".encode().ljust(16),
            "w",
            Scope.SHARED,
            0,
            2,
            0,
            [
                QueueDeclaration(name="q", max_length=length, term=term, revision=revision),
                Exchange("x", ("direct", "fanout")[length % 2], term=term, revision=revision),
            ],
        )
        for number, (term, revision, length) in enumerate(items)
    ]
    one, other = Holder("a"), Holder("b")
    for append in appends:
        one.replica.apply(append)
    for append in data.draw(st.permutations(appends)):
        other.replica.apply(append)
    assert one.live() == other.live()
    assert len(one.live()) == 2
    best = max((term, revision, number, length) for number, (term, revision, length) in enumerate(items))
    for holder in (one, other):
        declared, made = holder.topology.queue("q"), holder.topology.exchange("x")
        assert declared is not None
        assert made is not None
        assert declared.max_length == best[3]
        assert made.kind == ("direct", "fanout")[best[3] % 2]


def test_a_deleted_queue_is_gone_on_all_nodes_and_comes_back_only_when_declared() -> None:
    one, other = Holder("a"), Holder("b")
    one.topology.put(QueueDeclaration(name="q"), 1)
    one.topology.put(Binding("amq.fanout", "q"), 1)
    journal = next(journal for journal in one.replica.journals.values() if journal.scope == Scope.SHARED)
    append, _ = one.replica.cut(journal, 0, 1 << 20)
    other.replica.apply(append)
    assert other.topology.routing.route("amq.fanout", "", {}) == ("q",)
    one.topology.remove(("queue", "q"))
    other.replica.settle_dots(type("Dots", (), {"journal": journal.name, "ranges": [1, 1]})())  # type: ignore[arg-type]
    assert other.topology.queue("q") is None
    other.replica.apply(append)
    assert other.topology.queue("q") is None
    assert other.topology.routing.route("amq.fanout", "", {}) == ()


# -- the coordinator's changes --------------------


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


def test_a_message_goes_where_bindings_lead(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(exchange("x", "topic"), queue("one"), queue("two"), bind("x", "one", "a.*"), bind("x", "two", "a.#")))
    client.publish("m1", exchange="x", key="a.b")
    client.publish("m2", exchange="x", key="a.b.c")
    client.publish("m3", exchange="", key="two")
    assert held(cluster, "a") == {"m1": "one", "m1/two": "two", "m2": "two", "m3": "two"}


def test_declaring_again_changes_nothing(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    changes = (exchange("x"), queue("q", max_length=3), bind("x", "q", "k"))
    assert [row["changed"] for row in rows(client.change(*changes))] == [True, True, True]
    before = dict(cluster.nodes["a"].disk.entries)
    assert [row["changed"] for row in rows(client.change(*changes))] == [False, False, False]
    assert cluster.nodes["a"].disk.entries == before


def test_declaring_otherwise_is_an_error_that_says_both(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", max_length=3, max_priority=9), exchange("x", "topic")))
    answer = client.change(queue("new"), queue("q", max_length=4, max_priority=9))
    assert answer.error.startswith("declared-otherwise: the queue 'q' is declared with max_length = 3, not 4;")
    assert json.loads(answer.body) == {"mine": {"max_length": 4}, "theirs": {"max_length": 3}}
    assert cluster["a"].topology.queue("new") is None, "all or nothing"
    answer = client.change(exchange("x", "direct"))
    assert json.loads(answer.body) == {"mine": {"type": "direct"}, "theirs": {"type": "topic"}}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (exchange("x", "zigzag"), "invalid-topology: a change that is not possible: Invalid enum value 'zigzag' - at `$.changes[0].type`"),
        (queue("q", max_priority=256), "invalid-topology: a change that is not possible: Expected `int` <= 255"),
        (queue("q", max_length="3"), "invalid-topology: a change that is not possible: Expected `int`, got `str`"),
        (queue("q", colour="red"), "invalid-topology: a change that is not possible: Object contains unknown field `colour`"),
        (queue(""), "invalid-topology: the name of the queue must have 1 to 255 printable characters"),
        (exchange("a\nb"), "invalid-topology: the name of the exchange must have 1 to 255 printable characters"),
        (queue("q" * 256), "invalid-topology: a change that is not possible: Expected `str` of length <= 255"),
        (queue("amq.mine"), "invalid-topology: names that begin with amq. are reserved"),
        (exchange("amq.mine"), "invalid-topology: names that begin with amq. are reserved"),
        (queue("lost+found"), "invalid-topology: 'lost+found' is the name of a list"),
        (exchange("amq.topic", "direct"), "declared-otherwise: the exchange 'amq.topic' is declared with type = 'topic', not 'direct'"),
        (delete_exchange("amq.topic"), "invalid-topology: the exchange 'amq.topic' is always there"),
        (delete_exchange(""), "invalid-topology: the exchange '' is always there"),
        (queue("q", dead_letter_routing_key="k"), "invalid-topology: the queue 'q' has a dead_letter_routing_key and no"),
        (queue("q", exclusive=True), "invalid-topology: the queue 'q' can't be exclusive"),
        (bind("nowhere", "q"), "not-found: there is no exchange 'nowhere'"),
        (bind("amq.direct", "q"), "not-found: the queue 'q' is not declared"),
        (bind("amq.direct", "x", kind="exchange"), "not-found: there is no exchange 'x'"),
        (bind("", "q"), "invalid-topology: nothing can be bound to the default exchange"),
        (exchange("x", passive=True), "not-found: there is no exchange 'x'"),
        (queue("q", passive=True), "not-found: there is no queue 'q'"),
    ],
)
def test_a_change_that_is_not_possible_has_an_error_of_its_own(alone: tuple[Cluster, Client], change: dict[str, Any], error: str) -> None:
    assert alone[1].change(change).error.startswith(error)


def test_the_error_says_which_of_several_changes_it_was(alone: tuple[Cluster, Client]) -> None:
    assert alone[1].change(queue("q"), bind("x", "q")).error.endswith("(change 2 of 2; none of them was made)")


def test_a_headers_binding_says_how_it_matches(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    wrong = bind("amq.headers", "q", arguments={"x-match": "some"})
    assert client.change(queue("q"), wrong).error.startswith("invalid-topology: x-match is one of all, any, all-with-x, any-with-x")
    rows(client.change(queue("q"), bind("amq.headers", "q", arguments={"x-match": "any", "a": 1, "b": 2})))
    client.publish("m1", exchange="amq.headers", headers={"b": 2})
    assert held(cluster, "a") == {"m1": "q"}


def test_what_others_need_is_not_deleted_when_that_was_asked(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(exchange("x"), queue("q"), bind("x", "q")))
    assert client.change(delete_exchange("x", if_unused=True)).error.startswith("in-use: the exchange 'x' is used: 1 bindings")
    client.submit("t1", queue="q")
    assert client.change(delete_queue("q", if_empty=True)).error.startswith("in-use: the queue 'q' is not empty: 1 messages wait")
    cluster.worker("a", queues=["q"], tasks=["other"])
    assert client.change(delete_queue("q", if_unused=True)).error.startswith("in-use: the queue 'q' is used: it has 1 consumers")
    rows(client.change(delete_queue("q"), delete_exchange("x", if_unused=True)))


def test_deleting_what_is_not_there_is_no_error(alone: tuple[Cluster, Client]) -> None:
    unbind = {"do": "unbind", "source": "x", "destination": "q"}
    answer = rows(alone[1].change(delete_queue("q"), delete_exchange("x"), unbind))
    assert [row["changed"] for row in answer] == [False, False, False]


def test_a_deleted_queue_takes_its_bindings_messages_and_dead_letters_along(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(exchange("x", "fanout"), queue("q"), queue("other"), bind("x", "q"), bind("x", "other")))
    client.submit("t1", "t2", queue="q")
    client.publish("m1", exchange="x")
    assert rows(client.change(delete_queue("q"))) == [{"changed": True, "messages": 3}]
    assert held(cluster, "a") == {"m1": "other"}, "the first of the queues by name had it under its own id"
    assert [client.results()[id].failure.type_name for id in ("t1", "t2")] == ["mesh.errors.TaskDropped"] * 2  # type: ignore[union-attr]
    client.publish("m2", exchange="x")
    assert held(cluster, "a") == {"m1": "other", "m2": "other"}


def test_a_purge_says_how_much_it_dropped_and_leaves_what_runs(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a", queues=["q"])
    client.submit("t1", "t2", "t3", queue="q")
    assert list(worker.held) == ["t1"]
    assert rows(client.change({"do": "purge", "name": "q"})) == [{"changed": True, "messages": 2}]
    worker.finish()
    assert client.results()["t1"].failure is None
    assert client.results()["t2"].failure is not None


def test_a_purge_drops_what_is_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    client.submit(*[f"t{number}" for number in range(40)], body=b"x" * 100)
    assert any(journal.paged for journal in cluster["a"].replica.journals.values())
    assert rows(client.change({"do": "purge", "name": "q"})) == [{"changed": True, "messages": 40}]
    assert len(client.results()) == 40
    assert not cluster["a"].broker.queues
    worker = cluster.worker("a")
    cluster.run(0.2)
    assert not worker.deliveries


def test_a_long_purge_is_answered_before_its_end_and_can_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mesh.core.broker.purge.AT_ONCE", 10)
    cluster = Cluster("a")
    client = cluster.client("a")
    client.submit(*[f"t{number:04}" for number in range(1000)])
    began_s = cluster.now
    seen = json.loads(client.change({"do": "purge", "name": "q"}).body)
    assert seen["changes"] == [{"changed": True, "messages": 1000}]
    assert 3.0 <= cluster.now - began_s < 3.5
    (left,) = json.loads(client.ask("purges").body)["queues"].values()
    assert 0 < left < 1000
    cluster.run(5.0)
    assert json.loads(client.ask("purges").body) == {"term": seen["term"], "queues": {}}
    assert not cluster["a"].broker.queues


def test_dry_changes_are_told_and_not_made(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    changes = (exchange("x"), queue("q"), bind("x", "q"))
    assert [row["changed"] for row in rows(client.change(*changes, dry=True))] == [True, True, True]
    assert cluster["a"].topology.queue("q") is None


def test_a_topology_can_be_listed(alone: tuple[Cluster, Client]) -> None:
    client = alone[1]
    rows(client.change(exchange("x", "topic"), queue("q", max_length=5), bind("x", "q", "a.*")))
    client.publish("m1", exchange="x", key="a.b")
    listed = json.loads(client.ask("topology").body)
    assert [(row["name"], row["type"]) for row in listed["exchanges"]][-1] == ("x", "topic")
    (only,) = listed["queues"]
    assert (only["name"], only["max_length"], only["messages"], only["consumers"]) == ("q", 5, 1, 0)
    expected = {"source": "x", "destination": "q", "kind": "queue", "routing_key": "a.*", "arguments": {}}
    assert listed["bindings"] == [expected]


# -- several nodes --------------------


def test_a_publish_anywhere_after_the_answer_is_routed_by_it() -> None:
    cluster = three()
    client = cluster.client("c")
    rows(client.change(queue("q"), bind("amq.topic", "q", "#")))
    for number, node in enumerate("abc"):
        assert publish(cluster.client(node), f"m{number}", exchange="amq.topic", key="k").unroutable == 0
    cluster.run(0.2)
    assert held(cluster, cluster.coordinator) == {"m0": "q", "m1": "q", "m2": "q"}


def test_an_answer_waits_for_a_slow_node_and_r15_not_for_longer_than_a_second() -> None:
    cluster = three()
    slow = next(name for name in "abc" if name not in (cluster.coordinator, *cluster[cluster.coordinator].replication.deputies))
    client = cluster.client(cluster.coordinator)
    cluster.stall_disk(slow)
    began = cluster.now
    rows(client.change(queue("q")))
    assert 0.9 <= cluster.now - began <= 1.2
    assert cluster[slow].topology.queue("q") is not None


def test_topology_survives_the_restart_of_all_nodes_and_a_takeover() -> None:
    cluster = three()
    client = cluster.client(cluster.coordinator)
    rows(client.change(exchange("x", "topic"), queue("q"), bind("x", "q", "a.#")))
    client.publish("m1", exchange="x", key="a.b")
    cluster.run(0.2)
    for name in "abc":
        cluster.crash(name)
    cluster.start(*"abc")
    cluster.until(cluster.agreed, 10.0)
    assert held(cluster, cluster.coordinator) == {"m1": "q"}
    cluster.crash(cluster.coordinator)
    cluster.until(cluster.agreed, 10.0)
    client = cluster.client(cluster.coordinator)
    client.publish("m2", exchange="x", key="a")
    assert held(cluster, cluster.coordinator) == {"m1": "q", "m2": "q"}


def test_r22_two_sides_of_a_split_declare_and_one_of_them_stands_on_all() -> None:
    cluster = Cluster("abc", takeover_patience_s=1.0)
    cluster.until(cluster.agreed, 10.0)
    minority = cluster.coordinator
    majority = "".join(name for name in "abc" if name != minority)
    cluster.split(minority, majority)
    cluster.run(6.0)
    rows(cluster.client(minority).change(queue("q", max_length=1), queue("mine")))
    other = cluster.client(majority[0])
    rows(other.change(queue("q", max_length=2), queue("theirs")))
    cluster.heal()
    cluster.until(cluster.agreed, 15.0)
    cluster.run(2.0)
    declared = [cluster[name].topology.queues for name in "abc"]
    assert declared[0] == declared[1] == declared[2]
    assert sorted(declared[0]) == ["mine", "q", "theirs"]
    assert declared[0]["q"].max_length == 2, "declared in the higher term"


def test_r22_a_message_for_a_queue_that_the_other_side_deleted_goes_to_lost_and_found() -> None:
    cluster = Cluster("abc", takeover_patience_s=1.0)
    cluster.until(cluster.agreed, 10.0)
    minority = cluster.coordinator
    majority = "".join(name for name in "abc" if name != minority)
    client = cluster.client(minority)
    rows(client.change(queue("q"), queue("kept")))
    cluster.split(minority, majority)
    cluster.run(6.0)
    client.publish("m1", key="q")
    client.submit("t1", queue="q")
    client.submit("t2", queue="kept")
    rows(cluster.client(majority[0]).change(delete_queue("q")))
    cluster.heal()
    cluster.until(cluster.agreed, 15.0)
    cluster.run(2.0)
    machine = cluster[cluster.coordinator]
    assert held(cluster, cluster.coordinator) == {"t2": "kept"}
    letters = machine.broker.dead_letters.of_queue("lost+found")
    assert [letter.message.id for letter in letters] == ["m1", "t1"]
    assert all(cluster[name].topology.queue("q") is None for name in "abc")
    assert not client.results(), "it is not over: somebody may requeue it"

    client.ask("requeue", "lost+found")
    cluster.run(1.0)
    assert held(cluster, cluster.coordinator) == {"t2": "kept", "m1": "q", "t1": "q"}, "by a person's decision, declared or not"


def test_a_message_that_comes_before_the_declaration_of_its_queue_waits_for_it() -> None:
    cluster = three()
    client = cluster.client(cluster.coordinator)
    rows(client.change(queue("q")))
    client.publish("m1", key="q")
    cluster.run(0.5)
    assert held(cluster, cluster.coordinator) == {"m1": "q"}
    assert not cluster[cluster.coordinator].broker.dead_letters.count("lost+found")
