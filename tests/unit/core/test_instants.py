"""When what is to be done at some time is done, and by whose clock (R23)."""

from __future__ import annotations

from tests.unit.core.cluster import WALL_S, Cluster
from tests.unit.core.party import Party


def test_r23_delayed_is_never_early() -> None:
    party = Party()
    eta_ms = int((WALL_S + party.cluster.now + 3) * 1000)
    party.client.submit("t1", eta_ms=eta_ms)
    party.client.submit("t2")
    assert party.worker.held.keys() == {"t2"}
    party.worker.finish("t2")
    waited_s = party.cluster.until(lambda: party.worker.held, 5.0)
    assert (WALL_S + party.cluster.now) * 1000 >= eta_ms
    assert waited_s <= 3.1


def test_what_is_not_due_may_be_replaced_by_the_same_of_another_node_at_its_place() -> None:
    """Found by a seed: both wait for one instant at one place in the line, and which of them is first was asked."""
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    eta_ms = int((WALL_S + cluster.now + 2) * 1000)
    for node in ("a", "b"):
        cluster.client(node).submit("t1", eta_ms=eta_ms)
    worker = cluster.worker("a")
    cluster.until(lambda: worker.held, 5.0)
    worker.finish("t1")
    cluster.run(3.0)
    assert [delivery.id for delivery in worker.deliveries] == ["t1"]


def test_r23_delayed_is_never_early_after_a_takeover_either() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    worker, client = cluster.worker("b"), cluster.client("c")
    eta_ms = int((WALL_S + cluster.now + 4) * 1000)
    client.submit("t1", eta_ms=eta_ms)
    cluster.crash("a")
    cluster.until(cluster.agreed)
    cluster.until(lambda: worker.held, 6.0)
    assert (WALL_S + cluster.now) * 1000 >= eta_ms


def test_r23_a_retried_delivery_keeps_its_instant() -> None:
    """The coordinator's clock went back: what was due is not any more."""
    party = Party()
    party.client.submit("t1", eta_ms=int((WALL_S + party.cluster.now) * 1000))
    assert party.worker.held
    party.cluster.nodes["a"].skew_s = -5
    party.worker.lose("t1")
    assert not party.worker.held
    assert 4.9 <= party.cluster.until(lambda: party.worker.held, 6.0) <= 5.1


def test_r23_a_clock_that_is_set_does_not_move_what_waits_already() -> None:
    """The instant belongs to the clock that named it, and how far that one is from the coordinator's is asked with each heartbeat."""
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    worker, client = cluster.worker("a"), cluster.client("b")
    client.submit("t1", eta_ms=int((WALL_S + cluster.now + 4) * 1000))
    cluster.nodes["a"].skew_s = -3600
    assert 3.9 <= cluster.until(lambda: worker.held, 6.0) <= 4.1


def killed_after_an_instant_was_named(skew_s: float) -> tuple[Cluster, float]:
    """Node b, whose clock is off, accepts what is due 6 s later; both are killed, and only a is back. Also returns when it is due."""
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.nodes["b"].skew_s = skew_s
    cluster.run(0.5)
    due_at = cluster.now + 6
    cluster.client("b").submit("t1", eta_ms=int((WALL_S + skew_s + due_at) * 1000))
    cluster.run(0.5)
    cluster.crash("a")
    cluster.crash("b")
    cluster.start("a")
    cluster.until(cluster.agreed)
    return cluster, due_at


def test_r23_a_coordinator_learns_later_how_far_the_clock_is_off_that_named_an_instant() -> None:
    cluster, due_at = killed_after_an_instant_was_named(skew_s=3600)
    cluster.start("b")
    cluster.until(cluster.agreed)
    worker = cluster.worker("a")
    cluster.until(lambda: worker.held, 8.0)
    assert -0.1 <= cluster.now - due_at <= 0.1


def test_r23_nothing_is_early_by_a_clock_that_a_new_process_has_not_heard_yet() -> None:
    """All were killed, and the coordinator is back before the node whose clock, an hour behind, named the instant."""
    cluster, due_at = killed_after_an_instant_was_named(skew_s=-3600)
    worker = cluster.worker("a")
    cluster.run(2.0)
    assert not worker.held
    cluster.start("b")
    cluster.until(lambda: worker.held, 8.0)
    assert -0.1 <= cluster.now - due_at <= 0.1


def test_r23_an_instant_of_a_node_that_does_not_come_back_counts_by_the_coordinators_clock_after_a_while() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.client("b").submit("t1", eta_ms=int((WALL_S + cluster.now + 1) * 1000))
    cluster.run(0.5)
    cluster.crash("a")
    cluster.crash("b")
    cluster.start("a")
    cluster.until(cluster.agreed)
    worker = cluster.worker("a")
    patience_s = cluster.settings.takeover_patience_s
    assert patience_s - 1 <= cluster.until(lambda: worker.held, patience_s + 2) <= patience_s + 1


def test_what_is_due_at_one_instant_comes_in_order() -> None:
    party = Party(slots=5)
    eta_ms = int((WALL_S + party.cluster.now + 1) * 1000)
    for id in ("t3", "t1", "t2"):
        party.client.submit(id, eta_ms=eta_ms)
    party.cluster.run(1.1)
    assert [delivery.id for delivery in party.worker.deliveries] == ["t3", "t1", "t2"]
