"""Dead letter exchanges: where messages go that their queue gives up, with the history of their deaths."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.core.broker.dead_letters import as_row
from mesh.wire.entries import DeadLetter, Message, Status
from mesh.wire.messages import Outcome, OutcomeKind, Outcomes
from mesh.wire.topology import Death
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, delete_queue, exchange, held, queue, rows, three
from tests.unit.core.programs import Client


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


def declare(client: Client, *more: dict[str, Any], **arguments: Any) -> None:
    """``q`` gives up to the exchange ``dead``, which is a fanout to ``grave``."""
    given = {"dead_letter_exchange": "dead", **arguments}
    rows(client.change(exchange("dead", "fanout"), queue("q", **given), queue("grave"), bind("dead", "grave"), *more))


def waiting(cluster: Cluster, id: str = "m1") -> Message:
    return cluster[cluster.coordinator].broker.records[id].message


def deaths(cluster: Cluster, id: str = "m1") -> list[tuple[str, str, int]]:
    properties = waiting(cluster, id).properties
    assert properties is not None
    return [(death.queue, death.reason, death.count) for death in properties.deaths]


def letters(cluster: Cluster, name: str = "q") -> list[DeadLetter]:
    return cluster[cluster.coordinator].broker.dead_letters.of_queue(name)


# -- reasons --------------------


def test_a_rejected_message_goes_through_the_dead_letter_exchange_with_its_death(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client)
    client.publish("m1", queue="q", body=b"x", priority=3)
    at_ms = cluster["a"].wall_ms
    cluster.consumer("a").reject("m1")
    message = waiting(cluster)
    assert (message.queue, message.body) == ("grave", b"x")
    assert message.properties is not None
    assert message.properties.deaths == (Death("q", "rejected", 1, at_ms, "", "q"),)
    assert (message.properties.exchange, message.properties.routing_key, message.properties.priority) == ("dead", "q", 3)
    assert cluster.nodes["a"].on_disk() == {"message:m1"}, "one entry, and one transaction"
    assert cluster.consumer("a", queues=["grave"]).deliveries[0].properties == message.properties


def test_whoever_rejects_a_message_may_have_it_from_the_queue_that_it_goes_to(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client)
    client.publish("m1", queue="q")
    consumer = cluster.consumer("a", queues=["q", "grave"])
    consumer.reject("m1")
    assert [delivery.queue for delivery in consumer.deliveries] == ["q", "grave"]
    assert list(consumer.held) == ["m1"], "it is not taken for one whose rejection was not heard"
    consumer.ack("m1")
    assert not cluster["a"].broker.records


def test_a_rejection_that_is_said_again_is_not_one_of_the_copy(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client)
    client.publish("m1", queue="q")
    consumer = cluster.consumer("a", queues=["q", "grave"])
    rejection = Outcome("m1", OutcomeKind.REJECTED)
    consumer._end(rejection)
    assert rejection.stage == (0, 0, 1)
    consumer.send(Outcomes(consumer.name, 1, [rejection]))  # as to a new listener, overtaken by the delivery of the copy
    cluster.run(0.2)
    assert deaths(cluster) == [("q", "rejected", 1)]
    assert held(cluster, "a") == {"m1": "grave"}
    consumer.ack("m1")
    assert not cluster["a"].broker.records


def test_whoever_said_it_to_a_former_coordinator_is_not_taken_to_hold_the_copy() -> None:
    cluster = three()
    client = cluster.client("b")
    declare(client)
    client.publish("m1", queue="q")
    consumer = cluster.consumer("b", queues=["q"])
    rejection = Outcome("m1", OutcomeKind.REJECTED)
    consumer._end(rejection)
    cluster.run(1.0)
    consumer.outbox["m1"] = rejection  # that it was kept is not heard
    cluster.crash(cluster.coordinator)
    cluster.until(lambda: bool(cluster.coordinator) and consumer.name in cluster[cluster.coordinator].broker.workers)
    cluster.run(1.0)
    assert deaths(cluster) == [("q", "rejected", 1)]
    assert cluster.consumer("b", queues=["grave"]).deliveries[0].id == "m1", "nobody holds it"


def test_a_requeue_that_is_said_again_counts_once(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.publish("m1", queue="q")
    consumer = cluster.consumer("a")
    requeue = Outcome("m1", OutcomeKind.REQUEUED)
    consumer._end(requeue)
    consumer.send(Outcomes(consumer.name, 1, [requeue]))
    cluster.run(0.2)
    assert [delivery.attempt for delivery in consumer.deliveries] == [1, 2]
    assert waiting(cluster).attempts == 1


def test_an_expired_message_goes_there_and_does_not_expire_again_by_its_own_time(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client, queue("slow", message_ttl_ms=60_000), bind("dead", "slow"))
    client.publish("m1", queue="q", expires_ms=cluster["a"].wall_ms + 500)
    cluster.run(1.0)
    assert held(cluster, "a") == {"m1": "grave", "m1/slow/1": "slow"}
    assert deaths(cluster) == [("q", "expired", 1)]
    times = [waiting(cluster, id).properties.expires_ms for id in ("m1", "m1/slow/1")]  # type: ignore[union-attr]
    assert times == [0, pytest.approx(cluster["a"].wall_ms + 59_500, abs=200)], "but by the time of the queue that it came to"
    cluster.run(1.0)
    assert held(cluster, "a") == {"m1": "grave", "m1/slow/1": "slow"}


def test_what_is_too_much_for_a_queue_goes_there(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    for overflow in ("drop-head", "dead-letter"):
        declare(client, queue(overflow, max_length=1, overflow=overflow, dead_letter_exchange="dead"))
        client.publish(f"{overflow}1", f"{overflow}2", queue=overflow)
        assert held(cluster, "a")[f"{overflow}1"] == "grave"
        assert held(cluster, "a")[f"{overflow}2"] == overflow
        assert deaths(cluster, f"{overflow}1") == [(overflow, "maxlen", 1)]
        assert not letters(cluster, overflow)


def test_what_is_delivered_too_often_goes_there_and_counts_its_attempts_anew(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client, max_deliveries=2)
    client.publish("m1", queue="q")
    consumer = cluster.consumer("a")
    consumer.requeue("m1")
    consumer.requeue("m1")
    assert deaths(cluster) == [("q", "delivery_limit", 1)]
    assert (waiting(cluster).queue, waiting(cluster).attempts, waiting(cluster).history) == ("grave", 0, ())
    assert not letters(cluster)


def test_without_an_exchange_what_is_rejected_or_expires_is_dropped(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q")))
    client.publish("m1", queue="q")
    cluster.consumer("a").reject("m1")
    client.publish("m2", queue="q2", expires_ms=cluster["a"].wall_ms + 500)
    cluster.run(1.0)
    assert not cluster.nodes["a"].on_disk()
    assert not letters(cluster)


def test_what_an_operator_sets_for_a_queue_stands_above_what_it_was_declared_with(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client, queue("plain"), queue("failed"))
    for setting in ('dead_letter_exchange=""', 'dead_letter_routing_key="failed"', "message_ttl_s=0.5"):
        assert not client.ask("config-set", f"queue:plain:{setting}").error
    assert not client.ask("config-set", 'queue:q:dead_letter_exchange=""').error
    assert not client.ask("config-set", 'queue:q:dead_letter_routing_key="failed"').error
    client.publish("m1", queue="q")
    client.publish("m2", queue="plain")
    consumer = cluster.consumer("a")
    consumer.reject("m1")
    cluster.run(1.0)
    assert held(cluster, "a") == {"m1": "failed", "m2": "failed"}
    assert deaths(cluster, "m2") == [("plain", "expired", 1)]
    assert not client.ask("config-set", "queue:q:dead_letter_exchange=").error
    assert not client.ask("config-set", "queue:q:dead_letter_routing_key=").error
    client.publish("m3", queue="q")
    consumer.reject("m3")
    assert held(cluster, "a")["m3"] == "grave", "as it was declared"


def test_a_queue_that_was_not_declared_may_have_settings_too(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    assert not client.ask("config-set", "queue:loose:message_ttl_s=0.5").error
    client.submit("t1", queue="loose")
    client.publish("m1", queue="loose")
    assert {id: waiting(cluster, id).properties.declared for id in ("t1", "m1")} == {"t1": False, "m1": False}  # type: ignore[union-attr]
    cluster.run(1.0)
    assert held(cluster, "a") == {}
    assert not letters(cluster, "loose")


@pytest.mark.parametrize("setting", ["dead_letter_exchange=x", "dead_letter_exchange=7", "message_ttl_s=-1", "expires_s=0", "no_such=1"])
def test_a_setting_of_a_queue_that_is_not_possible_is_refused(alone: tuple[Cluster, Client], setting: str) -> None:
    cluster, client = alone
    assert client.ask("config-set", f"queue:q:{setting}").error.startswith("invalid: ")
    assert not cluster["a"].policies.all_of("q")


def test_settings_of_queues_are_shown_in_the_status_of_every_node() -> None:
    cluster = three()
    client = cluster.client("b")
    assert not client.ask("config-set", 'queue:q:dead_letter_exchange="a=\\"b"').error
    assert not client.ask("config-set", "queue:q:expires_s=60").error
    client.submit("t1")
    cluster.run(1.0)
    expected = {"expires_s": 60.0, "dead_letter_exchange": 'a="b'}
    for name in "abc":
        assert cluster[name].policies.all_of("q") == expected
    (row,) = json.loads(client.ask("status").body)["queues"]
    assert row["set"] == expected


# -- the way --------------------


def test_the_queue_may_name_the_routing_key_else_it_is_that_of_the_message(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(
        client.change(
            queue("own", dead_letter_exchange="amq.direct"),
            queue("named", dead_letter_exchange="amq.direct", dead_letter_routing_key="failed"),
            queue("by-key"),
            queue("failed"),
            bind("amq.direct", "by-key", "own"),
            bind("amq.direct", "failed", "failed"),
        )
    )
    client.publish("m1", queue="own")
    client.publish("m2", queue="named")
    cluster.consumer("a", queues=["own", "named"], prefetch=2).reject("m1", "m2")
    assert held(cluster, "a") == {"m1": "by-key", "m2": "failed"}


def test_what_no_queue_takes_is_kept_as_a_dead_letter_of_its_queue(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", dead_letter_exchange="nowhere")))
    client.publish("m1", queue="q")
    client.publish("t1", queue="q", task="work")
    client.watch("t1")
    cluster.consumer("a").reject("m1")
    worker = cluster.worker("a", queues=["q"])
    worker._end(Outcome("t1", OutcomeKind.REJECTED))
    cluster.run(0.2)
    assert [letter.message.id for letter in letters(cluster)] == ["m1", "t1"]
    assert letters(cluster)[0].reason == (
        "its consumer rejected it; its dead_letter_exchange 'nowhere' has no queue for the routing key 'q'"
    )
    assert client.results()["t1"].status == Status.FAILURE


def test_a_dead_letter_shows_the_deaths_of_its_message(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", dead_letter_exchange="", dead_letter_routing_key="last"), queue("last", max_deliveries=1)))
    client.publish("m1", queue="q")
    cluster.consumer("a").reject("m1")
    cluster.consumer("a", queues=["last"]).requeue("m1")
    (letter,) = letters(cluster, "last")
    (death,) = as_row(letter)["deaths"]
    assert (death["queue"], death["reason"], death["count"]) == ("q", "rejected", 1)


# -- cycles --------------------


def test_a_cycle_without_a_rejection_ends_as_a_dead_letter(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(
        client.change(
            queue("q", message_ttl_ms=500, dead_letter_exchange="", dead_letter_routing_key="wait"),
            queue("wait", message_ttl_ms=500, dead_letter_exchange="", dead_letter_routing_key="q"),
        )
    )
    client.publish("m1", queue="q")
    cluster.run(0.8)
    assert held(cluster, "a") == {"m1": "wait"}
    cluster.run(0.8)
    assert held(cluster, "a") == {}
    (letter,) = letters(cluster, "wait")
    assert "it would go in circles" in letter.reason


def test_a_retry_by_way_of_a_queue_that_waits_goes_on_as_long_as_a_consumer_rejects(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(
        client.change(
            queue("q", dead_letter_exchange="", dead_letter_routing_key="wait"),
            queue("wait", message_ttl_ms=500, dead_letter_exchange="", dead_letter_routing_key="q"),
        )
    )
    client.publish("m1", queue="q")
    consumer = cluster.consumer("a")
    first_ms = cluster["a"].wall_ms
    for _ in range(3):
        consumer.reject("m1")
        cluster.run(0.8)
    assert len(consumer.deliveries) == 4
    properties = consumer.deliveries[-1].properties
    assert properties is not None
    assert [(death.queue, death.reason, death.count) for death in properties.deaths] == [("wait", "expired", 3), ("q", "rejected", 3)]
    assert properties.deaths[1].at_ms == first_ms, "the first time"
    consumer.ack("m1")
    cluster.run(0.2)
    assert not cluster.nodes["a"].on_disk()


def test_copies_of_a_later_death_are_not_taken_for_those_of_the_first(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client, queue("copy", dead_letter_exchange="", dead_letter_routing_key="q"), bind("dead", "copy"))
    client.publish("m1", queue="q")
    for name in ("q", "copy", "q"):
        consumer = cluster.consumer("a", queues=[name])
        consumer.reject("m1")
        consumer.cancel()
    assert held(cluster, "a") == {"m1": "copy", "m1/grave/1": "grave", "m1/grave/3": "grave"}


# -- tasks, and more than one node --------------------


def test_a_task_that_goes_on_has_its_result_when_a_worker_of_the_other_queue_has_run_it() -> None:
    cluster = three()
    leader = cluster.coordinator
    other = next(name for name in "abc" if name != leader)
    client = cluster.client(other)
    declare(client)
    client.publish("t1", queue="q", task="work", expires_ms=cluster[other].wall_ms + 500)
    client.watch("t1")
    cluster.run(1.0)
    assert not client.results()
    cluster.worker(leader, queues=["grave"]).finish("t1")
    cluster.run(0.5)
    assert client.results()["t1"].status == Status.SUCCESS
    assert not [id for node in "abc" for id in cluster.nodes[node].on_disk() if id.startswith("message")]


def test_two_sides_of_a_split_that_gave_up_the_same_message_have_one_when_they_meet() -> None:
    cluster = Cluster("abc", takeover_patience_s=1.0, copies=3)
    cluster.until(cluster.agreed, 10.0)
    leader = cluster.coordinator
    others = "".join(name for name in "abc" if name != leader)
    client = cluster.client(leader)
    declare(client, queue("copy"), bind("dead", "copy"))
    client.publish("m1", queue="q", expires_ms=cluster[leader].wall_ms + 4000)
    cluster.run(1.0)
    cluster.split(leader, others)
    cluster.run(8.0)
    sides = [name for name in "abc" if cluster[name].broker.active]
    assert len(sides) == 2
    for name in sides:
        assert held(cluster, name) == {"m1": "copy", "m1/grave/1": "grave"}
    cluster.heal()
    cluster.until(cluster.agreed, 20.0)
    cluster.run(2.0)
    assert held(cluster, cluster.coordinator) == {"m1": "copy", "m1/grave/1": "grave"}
    consumer = cluster.consumer(leader, queues=["grave", "copy"], prefetch=9)
    consumer.ack()
    cluster.run(3.0)
    assert len(consumer.deliveries) == 2
    assert all(not cluster.nodes[name].on_disk() for name in "abc")


def test_a_message_that_died_stands_over_one_that_was_tried_again() -> None:
    cluster = Cluster("abc", takeover_patience_s=1.0, copies=3)
    cluster.until(cluster.agreed, 10.0)
    leader = cluster.coordinator
    others = "".join(name for name in "abc" if name != leader)
    client = cluster.client(leader)
    declare(client)
    client.publish("m1", queue="q")
    cluster.run(1.0)
    cluster.split(leader, others)
    cluster.run(6.0)
    second = next(name for name in others if cluster[name].broker.active)
    cluster.consumer(leader, "rejects").reject("m1")
    cluster.consumer(second, "requeues").requeue("m1")
    cluster.run(0.5)
    assert (held(cluster, leader), held(cluster, second)) == ({"m1": "grave"}, {"m1": "q"})
    cluster.heal()
    cluster.until(cluster.agreed, 20.0)
    cluster.run(2.0)
    assert held(cluster, cluster.coordinator) == {"m1": "grave"}
    assert len({frozenset(cluster.nodes[name].on_disk()) for name in "abc"}) == 1


def test_a_death_in_a_queue_whose_successor_was_deleted_meanwhile_loses_nothing(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    declare(client)
    rows(client.change(delete_queue("grave")))
    client.publish("m1", queue="q")
    cluster.consumer("a").reject("m1")
    assert [letter.message.id for letter in letters(cluster)] == ["m1"]


def test_a_dead_letter_that_is_put_back_may_expire_and_die_again(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    rows(client.change(queue("q", message_ttl_ms=500, dead_letter_exchange="nowhere")))
    client.publish("m1", queue="q")
    cluster.run(0.7)
    machine = cluster["a"]
    (letter,) = letters(cluster)
    cluster.turn(cluster.nodes["a"], machine.broker.dead_lettering.revive, letter)
    cluster.run(0.3)
    assert held(cluster, "a") == {"m1": "q"}
    cluster.run(0.4)
    assert [letter.message.id for letter in letters(cluster)] == ["m1"]
