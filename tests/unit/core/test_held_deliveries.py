"""A delivery leaves when whoever may take over knows its lease: so a cut that is shorter than patience runs nothing twice (R10)."""

from __future__ import annotations

from collections import Counter

from tests.unit.core.cluster import TICK_S, Cluster
from tests.unit.core.programs import Worker


def settled(names: str = "abc", **settings: object) -> Cluster:
    """A mesh that a coordinates, with b as its deputy."""
    cluster = Cluster(names, **settings)
    cluster.until(cluster.agreed)
    assert (cluster.coordinator, cluster["a"].replication.deputies) == ("a", ["b"])
    return cluster


def runs(*workers: Worker) -> Counter[str]:
    """How often each task was begun."""
    return Counter(delivery.id for worker in workers for delivery in worker.deliveries)


def work(cluster: Cluster, workers: list[Worker], seconds: float) -> None:
    """Let time pass; each worker finishes what it holds at every tick."""
    for _ in range(round(seconds / TICK_S)):
        for worker in workers:
            worker.finish()
        cluster.run(TICK_S)


def test_r10_a_delivery_leaves_when_the_deputy_knows_its_lease() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.hold("b", "a")
    client.submit("t1")
    cluster.run(0.2)
    assert "t1" in cluster["b"].replication.leases.soft
    assert not worker.held
    cluster.release("b", "a")
    assert worker.held.keys() == {"t1"}


def test_r10_nothing_has_to_be_on_the_deputys_disk_for_that() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.stall_disk("b")
    number = client.submit("t1")
    assert worker.held
    assert client.copies(number) == 0


def test_a_delivery_to_the_deputys_own_worker_waits_for_nothing() -> None:
    cluster = settled()
    worker, client = cluster.worker("b"), cluster.client("a")
    cluster.hold("b", "a")
    client.submit("t1")
    assert worker.held


def test_r10_in_a_split_shorter_than_patience_nothing_runs_twice() -> None:
    """The coordinator, its worker and its publishers on one side; both sides go on for as long as they may."""
    cluster = settled()
    workers = [cluster.worker(name) for name in "abc"]
    alone, other = cluster.client("a"), cluster.client("b")
    alone.submit(*(f"early{number}" for number in range(200)))
    work(cluster, workers, 0.5)
    cluster.split("a", "bc")
    alone.submit(*(f"alone{number}" for number in range(20)))
    other.submit(*(f"other{number}" for number in range(20)))
    begun = len(workers[0].deliveries)
    work(cluster, workers, 4.0)
    assert len(workers[0].deliveries) == begun, "what it was given before it could know of the cut was known to the deputy"
    cluster.heal()
    work(cluster, workers, 8.0)
    assert set(runs(*workers).values()) == {1}
    assert len(runs(*workers)) == 240


def test_r10_a_short_cut_without_an_election_loses_no_delivery() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.split("a", "bc")
    client.submit("t1")
    cluster.run(0.6)
    assert not worker.held
    cluster.heal()
    cluster.run(3)
    assert runs(worker) == {"t1": 1}


def test_a_deputy_that_falls_silent_holds_up_deliveries_until_it_is_taken_for_lost() -> None:
    cluster = settled()
    worker, client = cluster.worker("c"), cluster.client("a")
    cluster.crash("b", vanish=True)
    client.submit("t1")
    assert not worker.held
    waited_s = cluster.until(lambda: worker.held, 2.0)
    assert waited_s <= cluster.settings.heartbeat_timeout_s + 2 * TICK_S
    assert worker.deliveries[0].attempt == 1


def test_a_deputy_that_is_gone_for_sure_holds_up_nothing() -> None:
    cluster = settled()
    worker, client = cluster.worker("c"), cluster.client("a")
    cluster.crash("b")
    client.submit("t1")
    assert worker.held


def test_r15_a_deputy_with_a_full_window_is_told_all_the_same() -> None:
    cluster = settled(link_window_bytes=1 << 16)
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.stall_disk("b")
    client.submit("t1", body=bytes(100_000), queue="of nobody")
    client.submit("t2")
    assert worker.held.keys() == {"t2"}
    assert "t2" in cluster["b"].replication.leases.soft


def test_r24_a_delivery_that_never_left_costs_no_attempt_when_its_worker_dies() -> None:
    cluster = settled()
    dying, client = cluster.worker("a"), cluster.client("a")
    cluster.hold("b", "a")
    client.submit("t1")
    dying.die()
    cluster.release("b", "a")
    worker = cluster.worker("b")
    assert (worker.deliveries[0].attempt, len(dying.deliveries)) == (1, 0)


def test_a_worker_that_reports_while_a_delivery_is_held_gets_it_once() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.hold("b", "a")
    client.submit("t1")
    worker.attach("a")
    cluster.run(0.2)
    assert not worker.held
    cluster.release("b", "a")
    cluster.run(0.2)
    assert runs(worker) == {"t1": 1}
    worker.finish()
    assert client.results().keys() == {"t1"}


def test_a_deputy_that_no_longer_hears_the_coordinator_is_not_replaced_by_one_that_knows_nothing_yet() -> None:
    """It is about to take over with what it knows; who takes its place may be about to follow it."""
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.cut("a", "b", one_way=True)
    cluster.run(0.8)
    cluster.cut("a", "c", one_way=True)
    cluster.until(lambda: cluster["a"].replication.deputies == ["c"])
    client.submit("t1")
    cluster.run(0.2)
    assert cluster["a"].reign.has_authority()
    assert not worker.held


def test_when_another_deputy_is_full_deliveries_go_on() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.cut("a", "b", one_way=True)
    cluster.until(lambda: cluster["a"].replication.deputies == ["c"])
    client.submit("t1")
    cluster.run(TICK_S)
    assert worker.held
    assert "t1" in cluster["c"].replication.leases.soft


def test_r10_a_majority_without_coordinator_and_deputy_knows_what_runs_of_what_it_has_accepted() -> None:
    cluster = settled("abcde")
    workers = [cluster.worker(name) for name in "abcde"]
    client = cluster.client("d")
    client.submit(*(f"t{number}" for number in range(100)))
    work(cluster, workers, 0.3)
    cluster.split("ab", "cde")
    work(cluster, workers, 4.0)
    assert len(runs(*workers)) == 100, "the majority goes on"
    cluster.heal()
    work(cluster, workers, 8.0)
    assert set(runs(*workers).values()) == {1}
    assert not any(node.machine.replication.leases.soft for node in cluster.running()), "what is settled is forgotten"


def test_where_there_is_no_such_majority_nobody_else_is_told() -> None:
    cluster = settled("abcd")
    worker, client = cluster.worker("a"), cluster.client("d")
    client.submit("t1")
    assert worker.held
    assert not cluster["d"].replication.leases.soft


def test_r10_a_delivery_waits_for_a_new_deputy_that_lacks_part_of_the_copy() -> None:
    cluster = settled(link_window_bytes=1 << 16)
    worker, client = cluster.worker("a"), cluster.client("a")
    client.submit("big", body=bytes(200_000), queue="of nobody")
    cluster.stall_disk("c")
    cluster.crash("b", vanish=True)
    cluster.until(lambda: cluster["a"].replication.deputies == ["c"])
    cluster.hold("c", "a")
    client.submit("t1")
    assert not worker.held
    cluster.release("c", "a")
    assert worker.held.keys() == {"t1"}
    assert not cluster["a"].replication.streams["c"].complete, "it knows the lease ahead of the entries"


def test_r10_without_a_deputy_nothing_is_handed_out_that_a_majority_of_others_might_hand_out_too() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    replication = cluster["a"].replication
    for peer in ("b", "c"):
        replication.forget_peer(peer)
    replication.appoint()
    assert replication.deputies == []
    client.submit("t1")
    assert not worker.held
    cluster.until(lambda: worker.held, 1.0)
    assert cluster["a"].replication.deputies


def test_a_lease_that_was_told_ahead_of_a_message_that_never_comes_is_taken_back() -> None:
    cluster = settled(link_window_bytes=1 << 16)
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.stall_disk("b")
    client.submit("big", body=bytes(100_000), queue="of nobody")
    client.submit("t1")
    assert "t1" in cluster["b"].replication.leases.soft
    worker.finish()
    cluster.run(TICK_S)
    assert "t1" not in cluster["b"].replication.leases.soft
