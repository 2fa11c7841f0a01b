"""The context does not grow for ever: lines that nobody needs leave it on all nodes (R19)."""

from __future__ import annotations

import pytest

from mesh.core.cluster.pruning import PRUNE_INTERVAL_S
from mesh.wire.messages import Replicate
from tests.unit.core.cluster import Cluster

LONG_ENOUGH_S = 7 * PRUNE_INTERVAL_S
"""Two rounds of three looks: what was not yet closed at the first is found by the second."""


def settled(names: str = "abc") -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0], forget_after_s=60)
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    return cluster


def restart(cluster: Cluster, name: str) -> None:
    cluster.crash(name)
    cluster.run(0.2)
    cluster.start(name)
    cluster.until(cluster.agreed)
    cluster.run(1)


def context(cluster: Cluster, name: str) -> set[str]:
    """The written journals that a node knows, as their owner and life: ``a1``, and ``a1s`` for the shared one."""
    return {head.journal.rstrip(b"\0").decode() for head in cluster[name].replica.heads() if head.upto}


def on_disk(cluster: Cluster, name: str) -> set[str]:
    return {journal.rstrip(b"\0").decode() for journal in cluster.nodes[name].disk.heads}


def test_r19_journals_of_former_processes_leave_the_context_of_all_nodes() -> None:
    cluster = settled()
    worker = cluster.worker("a", slots=9)
    for life in range(5):
        cluster.nodes["c"].identity["pid"] = life
        cluster.client("c").submit(f"t{life}")
        cluster.run(0.2)
        worker.finish(f"t{life}")
        restart(cluster, "c")
    gone = {f"c{life}{scope}" for life in range(1, 6) for scope in ("", "s")}
    assert len(gone & context(cluster, "a")) >= 5
    cluster.run(LONG_ENOUGH_S)
    for name in "abc":
        assert not gone & context(cluster, name)
        assert not gone & on_disk(cluster, name)


def test_r19_a_journal_with_something_live_stays() -> None:
    cluster = settled()
    cluster.client("c").submit("t1")
    cluster.run(0.2)
    restart(cluster, "c")
    cluster.run(LONG_ENOUGH_S)
    assert "c1" in context(cluster, "a") & context(cluster, "c")
    worker = cluster.worker("a")
    worker.finish("t1")
    cluster.run(LONG_ENOUGH_S)
    assert "c1" not in context(cluster, "a") | context(cluster, "c")


@pytest.mark.parametrize("end", [Cluster.crash, Cluster.leave])
def test_r19_nothing_is_pruned_while_a_node_is_away_that_may_come_back(end: object) -> None:
    cluster = settled()
    client, worker = cluster.client("b"), cluster.worker("a", slots=9)
    client.submit("t1")
    cluster.run(0.2)
    end(cluster, "c")  # type: ignore[operator]
    worker.finish("t1")
    restart(cluster, "b")
    cluster.run(LONG_ENOUGH_S)
    assert "b1" in context(cluster, "a")
    cluster.start("c")
    cluster.until(cluster.agreed)
    cluster.run(LONG_ENOUGH_S)
    assert "b1" not in context(cluster, "a") | context(cluster, "b") | context(cluster, "c")


def test_r19_a_forgotten_node_does_not_hold_it_up() -> None:
    cluster = settled()
    cluster.crash("c", vanish=True)
    restart(cluster, "b")
    cluster.run(100)
    assert cluster["a"].absences.forgotten("c")
    cluster.run(LONG_ENOUGH_S)
    assert "b1" not in context(cluster, "a") | context(cluster, "b")
    cluster.start("c")
    cluster.until(cluster.agreed)
    cluster.run(LONG_ENOUGH_S)
    assert context(cluster, "a") == context(cluster, "b") == context(cluster, "c")


def test_r19_a_node_that_did_not_hear_of_it_prunes_later_and_brings_nothing_back() -> None:
    cluster = settled()
    client, worker = cluster.client("c"), cluster.worker("a", slots=9)
    client.submit("t1")
    cluster.run(0.2)
    worker.finish("t1")
    restart(cluster, "c")
    cluster.until(lambda: "c1" not in context(cluster, "a") or _about_to_prune(cluster), LONG_ENOUGH_S)
    cluster.drop_next("a", "c", Replicate)
    cluster.run(LONG_ENOUGH_S * 2)
    assert "c1" not in context(cluster, "a") | context(cluster, "b") | context(cluster, "c")
    assert cluster["a"].broker.records == {}
    assert worker.held == {}


def _about_to_prune(cluster: Cluster) -> bool:
    pruning = cluster["a"].upkeep._pruning
    return pruning._sent and cluster.now - pruning._looked_at > PRUNE_INTERVAL_S - 0.3


def test_r19_a_settlement_that_waits_for_its_copies_holds_it_up() -> None:
    """R7: the writer keeps the entry until then, and would bring it back as new if the context had lost its journal."""
    cluster = settled("ab")
    client, worker = cluster.client("b"), cluster.worker("a", slots=9)
    client.submit("t1")
    cluster.run(0.2)
    restart(cluster, "b")
    cluster.stall_disk("b")
    worker.finish("t1")
    cluster.run(LONG_ENOUGH_S)
    assert "b1" in context(cluster, "a")
    cluster.crash("b")
    cluster.start("b")
    cluster.resume_disk("b")
    cluster.until(cluster.agreed)
    cluster.run(LONG_ENOUGH_S)
    assert "b1" not in context(cluster, "a") | context(cluster, "b")
    assert worker.held == {}
    assert [delivery.id for delivery in worker.deliveries] == ["t1"]
