"""What one reign leaves to the next one, and what it must not."""

from __future__ import annotations

from mesh.core.cluster.alarms import DISK
from mesh.wire.messages import Offer
from tests.unit.core.cluster import Cluster


def settled(names: str = "abc") -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0])
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    assert cluster.coordinator == names[0]
    cluster.run(1)
    return cluster


def test_r9_a_reign_that_is_raised_above_another_hears_all_before_it_hands_out() -> None:
    """Who was alone has raised the term; what it has handed out in its own is not known yet."""
    cluster = settled("abc")
    worker = cluster.worker("a")
    cluster.split("ab", "c")
    cluster.until(lambda: cluster["c"].election.is_coordinator)
    term = cluster["a"].election.term
    cluster.heal()
    cluster.hold("b", "a")
    cluster.until(lambda: cluster["a"].election.term > term)
    cluster.client("a").submit("t1")
    assert cluster["a"].election.is_coordinator
    assert not cluster["a"].reign.has_authority()
    assert not worker.held
    cluster.release("b", "a")
    cluster.until(lambda: worker.held, 1.0)


def test_what_a_worker_said_in_one_reign_is_not_judged_in_the_next() -> None:
    """It would be a worker that was orphaned long ago, and what it runs would be given to another one at once."""
    cluster = settled("abc")
    for peer in ("b", "c"):
        cluster["a"].replication.forget_peer(peer)  # so that what their workers say has to wait
    cluster["a"].broker.early_offers.keep("b", Offer("w", "w", ["q"], ["task"], 1, 1, [], generation=1))
    cluster.turn(cluster.nodes["a"], cluster["a"].alarms.set, DISK, "100 MiB are left")
    cluster.until(lambda: cluster.coordinator == "b" and cluster["a"].replication.reconciled_with("b"))
    cluster.run(0.2)
    assert not cluster["a"].broker.workers
