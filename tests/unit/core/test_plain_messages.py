"""Plain messages at the edge and the coordinator: consumers of clients, acknowledgements, what is taken at once."""

from __future__ import annotations

import pytest

from mesh.core.broker import plain
from mesh.wire.entries import Message
from mesh.wire.messages import Offer, OutcomeKind, OutcomesKept, Results
from tests.unit.core.cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("a")


def submit(cluster: Cluster, *ids: str, queue: str = "q") -> None:
    cluster.client("a").submit(*ids, queue=queue, task="")


def test_an_acknowledged_message_leaves_nothing_behind(cluster: Cluster) -> None:
    submit(cluster, "m1", "m2")
    consumer = cluster.consumer("a", prefetch=10)
    assert list(consumer.held) == ["m1", "m2"]
    consumer.ack()
    cluster.run(0.2)
    assert not cluster.nodes["a"].on_disk(), "no result is kept"
    assert not consumer.outbox, "the acknowledgements are on the disk"
    assert not cluster.messages(Results)


def test_nobody_waits_for_the_result_of_a_plain_message(cluster: Cluster) -> None:
    submit(cluster, "m1")
    machine = cluster["a"]
    assert not list(machine.edge.waiting.ids())
    consumer = cluster.consumer("a")
    consumer.die()
    cluster.run(0.2)
    assert not machine.broker.watchers.keys()


def test_no_more_than_the_prefetch_is_handed_out(cluster: Cluster) -> None:
    submit(cluster, *(f"m{number}" for number in range(5)))
    consumer = cluster.consumer("a", prefetch=3)
    assert len(consumer.held) == 3
    consumer.ack("m1")
    assert list(consumer.held) == ["m0", "m2", "m3"]


def test_an_acknowledgement_waits_a_moment_for_a_transaction_that_it_can_be_part_of(cluster: Cluster) -> None:
    submit(cluster, "m1")
    consumer = cluster.consumer("a")
    before = cluster["a"].turn.mark
    consumer.ack("m1")
    assert "message:m1" in cluster.nodes["a"].on_disk()
    submit(cluster, "m2")
    assert cluster.nodes["a"].on_disk() == {"message:m2"}, "with the next publish it is gone"
    assert cluster["a"].turn.mark - before <= 3, "both in one transaction"
    consumer.ack("m2")
    cluster.run(0.1)
    assert not cluster.nodes["a"].on_disk(), "and without one after a moment"


def test_what_was_acknowledged_before_the_node_died_may_come_again(cluster: Cluster) -> None:
    submit(cluster, "m1")
    cluster.consumer("a").ack("m1")
    cluster.crash("a")
    cluster.start("a")
    cluster.run(1)
    assert [delivery.id for delivery in cluster.consumer("a").deliveries] == ["m1"]


def test_a_retry_of_a_publish_is_not_consumed_twice(cluster: Cluster) -> None:
    client, consumer = cluster.client("a"), cluster.consumer("a")
    client.submit("m1", task="")
    consumer.ack("m1")
    assert client.copies(client.submit("m1", task="")) == 1
    cluster.run(0.2)
    assert len(consumer.deliveries) == 1


def test_what_has_ended_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "ENDED_MAX", 4)
    ended = plain.Ended()
    for number in range(9):
        ended.add(str(number))
    known = [number for number in range(9) if str(number) in ended]
    assert known == [6, 7, 8], "the last ones, at least half of the bound"


def test_a_requeued_message_comes_again_and_counts_an_attempt(cluster: Cluster) -> None:
    submit(cluster, "m1", "m2")
    consumer = cluster.consumer("a")
    consumer.requeue("m1")
    assert [(delivery.id, delivery.attempt) for delivery in consumer.deliveries] == [("m1", 1), ("m1", 2)], "before the younger one"
    assert cluster.nodes["a"].live()["message:m1"].history[0].how == "its consumer gave it back"


def test_a_message_that_is_requeued_too_often_becomes_a_dead_letter_without_a_result() -> None:
    cluster = Cluster("a", max_deliveries=2)
    submit(cluster, "m1")
    consumer = cluster.consumer("a")
    consumer.requeue("m1")
    consumer.requeue("m1")
    cluster.run(0.2)
    assert len(consumer.deliveries) == 2
    machine = cluster["a"]
    assert machine.broker.dead_letters.count("q") == 1
    assert len(machine.broker.results) == 0


def test_a_dead_letter_that_is_put_back_is_consumed() -> None:
    cluster = Cluster("a", max_deliveries=1)
    submit(cluster, "m1")
    consumer = cluster.consumer("a")
    consumer.requeue("m1")
    machine = cluster["a"]
    cluster.turn(cluster.nodes["a"], machine.broker.dead_lettering.revive, machine.broker.dead_letters.of_queue("q")[0])
    cluster.calm()
    assert list(consumer.held) == ["m1"]


def test_a_rejected_message_is_gone(cluster: Cluster) -> None:
    submit(cluster, "m1")
    consumer = cluster.consumer("a")
    consumer.reject("m1")
    cluster.run(0.2)
    assert not cluster.nodes["a"].on_disk()
    assert len(consumer.deliveries) == 1


def test_a_message_of_a_consumer_that_is_lost_comes_to_another(cluster: Cluster) -> None:
    submit(cluster, "m1")
    cluster.consumer("a").die()
    assert [delivery.attempt for delivery in cluster.consumer("a").deliveries] == [2]


def test_a_message_that_was_not_begun_is_given_back_without_an_attempt(cluster: Cluster) -> None:
    submit(cluster, "m1")
    first = cluster.consumer("a")
    first.capacity = 0
    first.give_back("m1")
    assert [delivery.attempt for delivery in cluster.consumer("a").deliveries] == [1]


def test_several_consumers_of_one_session_go_with_it(cluster: Cluster) -> None:
    consumer = cluster.consumer("a", "c1", queues=["q"])
    consumer.send(Offer("c2", "second", ["other"], [""], 1, 1, []))
    cluster.calm()
    broker = cluster["a"].broker
    assert sorted(broker.workers) == ["c1", "c2"]
    consumer.die()
    assert not broker.workers


def test_a_consumer_is_cancelled_while_its_session_stays(cluster: Cluster) -> None:
    consumer = cluster.consumer("a", "c1")
    consumer.cancel()
    assert not cluster["a"].broker.workers
    assert len(cluster["a"].edge.sessions) == 1


def test_a_client_is_given_no_tasks(cluster: Cluster) -> None:
    client = cluster.client("a")
    client.submit("t1", task="work")
    client.send(Offer("c1", "c1", ["q"], ["work"], 1, 1, []))
    cluster.calm()
    assert not cluster["a"].broker.workers


def test_a_worker_and_a_consumer_share_a_queue(cluster: Cluster) -> None:
    client, worker, consumer = cluster.client("a"), cluster.worker("a", slots=5), cluster.consumer("a", prefetch=5)
    client.submit("t1", task="work")
    client.submit("m1", task="")
    assert list(worker.held) == ["t1"]
    assert list(consumer.held) == ["m1"]


# -- what is taken at once --------------------


def test_a_take_gets_what_is_ready_and_does_not_wait(cluster: Cluster) -> None:
    submit(cluster, "m1", "m2", "m3")
    consumer = cluster.consumer("a", queues=[], prefetch=0)
    taken = consumer.take(count=2)
    assert taken is not None
    assert (taken.ids, taken.ready) == (["m1", "m2"], 1)
    assert list(consumer.held) == ["m1", "m2"]
    nothing = consumer.take("other")
    assert nothing is not None
    assert nothing.ids == []


def test_a_take_waits_for_what_is_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=0)
    submit(cluster, "m1", "m2")
    cluster.run(0.2)
    journals = cluster["a"].replica.journals.values()
    assert not [entry for journal in journals for entry in journal.live.values() if isinstance(entry, Message)], "no message is in memory"
    consumer = cluster.consumer("a", queues=[], prefetch=0)
    taken = consumer.take()
    assert taken is not None
    assert taken.ids == ["m1"]


# -- several nodes --------------------


def test_a_consumer_goes_on_with_the_next_coordinator() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    consumer = cluster.consumer("c", prefetch=2)
    client = cluster.client("c")
    client.submit("m1", "m2", "m3", task="")
    cluster.run(0.2)
    cluster.crash("a")
    cluster.until(cluster.agreed)
    consumer.ack("m1", "m2")
    cluster.run(1)
    assert [delivery.id for delivery in consumer.deliveries] == ["m1", "m2", "m3"]
    consumer.ack()
    cluster.run(1)
    assert not consumer.outbox
    assert all(not node.on_disk() for node in cluster.running())


def test_an_acknowledged_message_that_was_away_is_not_consumed_when_it_comes() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    consumer = cluster.consumer("c")
    cluster.client("b").submit("m1", task="")
    cluster.run(0.2)
    cluster.crash("a", vanish=True)
    cluster.crash("b", vanish=True)
    consumer.ack("m1")
    cluster.run(40)
    cluster.start("a", "b")
    cluster.until(cluster.agreed, within_s=60)
    cluster.run(1)
    other = cluster.consumer("a")
    assert not other.deliveries
    assert len(consumer.deliveries) == 1


def test_the_word_that_an_outcome_is_kept_says_which(cluster: Cluster) -> None:
    submit(cluster, "m1")
    consumer = cluster.consumer("a")
    consumer.ack("m1")
    cluster.run(0.1)
    assert [(kept.ids, kept.kinds) for kept in consumer.got(OutcomesKept)] == [(["m1"], [OutcomeKind.ACKED])]
