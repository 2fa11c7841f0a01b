"""A damaged state directory: what others hold comes back, what only it held is kept, what is lost is named (R20)."""

from __future__ import annotations

import pytest

from mesh.core.effects import Gap
from mesh.wire.messages import Confirm
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, exchange, queue, rows


@pytest.fixture
def three() -> Cluster:
    """a coordinates, b is its deputy, c is a member. Results are kept for a moment only: nobody remembers a task by its result."""
    cluster = Cluster("a", result_expires_s=0.2)
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    return cluster


def journal(name: str) -> bytes:
    return name.encode().ljust(16, b"\0")


def test_r20_what_only_the_damaged_disk_held_is_kept(three: Cluster) -> None:
    client = three.client("c")
    three.split("ab", "c")
    three.run(1.5)
    client.submit("t1")
    three.run(1.5)
    three.crash("c")
    three.heal()
    three.damage_disk("c")
    three.start("c")
    three.until(three.agreed)
    three.run(0.5)
    assert "message:t1" in three.nodes["a"].on_disk() & three.nodes["c"].on_disk()
    assert (three["c"].recovery.pending, three["c"].recovery.kept, three["c"].recovery.lost) == (False, 1, [])


def test_r20_what_the_others_settled_meanwhile_is_not_run_again(three: Cluster) -> None:
    client, worker = three.client("c"), three.worker("a")
    client.submit("t1")
    three.crash("c")
    worker.finish("t1")
    three.run(2)
    assert three.nodes["a"].on_disk() == set()
    three.damage_disk("c")
    three.start("c")
    three.until(three.agreed)
    three.run(2)
    assert [delivery.id for delivery in worker.deliveries] == ["t1"]
    assert three["c"].recovery.kept == 0


def test_r20_what_the_others_hold_is_not_doubled(three: Cluster) -> None:
    client = three.client("c")
    client.submit("t1")
    three.crash("c")
    three.damage_disk("c")
    three.start("c")
    three.until(three.agreed)
    three.run(1)
    worker = three.worker("a", slots=5)
    assert [delivery.id for delivery in worker.deliveries] == ["t1"]
    worker.finish("t1")
    three.run(2)
    assert [node.live() for node in three.running()] == [{}, {}, {}]
    assert len(worker.deliveries) == 1


def test_r20_exactly_what_nobody_has_is_reported_lost(three: Cluster) -> None:
    client = three.client("c")
    client.submit("t1")
    three.split("ab", "c")
    three.run(1.5)
    client.submit("t2")
    three.run(1.5)
    assert [confirm.copies for confirm in client.got(Confirm)] == [2, 1]
    three.crash("c")
    three.heal()
    three.damage_disk("c", Gap(journal("c1"), 1, 1), Gap(journal("c1"), 2, 2, "t2"))
    three.start("c")
    three.until(three.agreed)
    three.run(0.5)
    assert three["c"].recovery.lost == [Gap(journal("c1"), 2, 2, "t2")]
    assert three.nodes["a"].on_disk() == {"message:t1"}


def test_r20_a_node_that_is_not_whole_does_not_lead_while_another_may() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.crash("b")
    cluster.damage_disk("b")
    cluster.crash("a", vanish=True)
    cluster.start("b")
    cluster.run(5)
    assert not cluster["b"].election.is_coordinator
    cluster.start("a")
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "a"
    cluster.until(lambda: not cluster["b"].recovery.pending)
    cluster.crash("a")
    cluster.until(lambda: cluster.coordinator == "b", 2.0)


def test_r20_alone_in_the_world_it_goes_on_with_what_it_has() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    client = cluster.client("b")
    client.submit("t1")
    cluster.crash("b")
    cluster.damage_disk("b")
    cluster.crash("a", vanish=True)
    cluster.start("b")
    waited_s = cluster.until(lambda: cluster.coordinator == "b", 15.0)
    assert waited_s >= cluster.settings.takeover_patience_s - 0.1
    cluster.run(0.5)
    assert cluster.nodes["b"].on_disk() == {"message:t1"}


def test_r20_alone_in_the_world_it_knows_its_exchanges_queues_and_bindings_again() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    rows(client.change(exchange("x"), queue("kept", max_length=7), bind("x", "kept", "k"), queue("tmp", durable=False)))
    cluster.crash("a")
    cluster.damage_disk("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a", 30.0)
    cluster.run(1.0)
    topology = cluster["a"].topology
    assert [(one.name, one.max_length) for one in topology.queues.values()] == [("kept", 7)]
    assert topology.routing.route("x", "k", {}) == ("kept",)
