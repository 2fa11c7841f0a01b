"""Tasks with ``acks_early`` are delivered at most once, whoever crashes."""

from __future__ import annotations

import pytest

from mesh.wire.calls import Call
from mesh.wire.entries import Message, Status
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import three
from tests.unit.core.programs import Client

EARLY = Message("t1", "q", "work", b"", call=Call(acks_early=True))


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


def lost(client: Client) -> bool:
    result = client.results().get("t1")
    return result is not None and result.failure is not None and result.failure.type_name == "mesh.errors.WorkerLostError"


def test_it_runs_like_any_other(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.send_messages(EARLY)
    cluster.run(0.2)
    assert list(worker.held) == ["t1"]
    worker.finish()
    assert Status(client.results()["t1"].status) is Status.SUCCESS
    assert cluster.nodes["a"].on_disk() == {"result:t1"}


def test_that_it_was_handed_out_is_on_the_disk_before_it_leaves(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.send_messages(EARLY)
    cluster.run(0.2)
    assert worker.held
    (message,) = [
        entry for journal in cluster["a"].replica.journals.values() for entry in journal.live.values() if isinstance(entry, Message)
    ]
    assert message.attempts == 1


@pytest.mark.parametrize("how", ["slot", "worker"])
def test_with_its_worker_it_is_lost_and_fails(alone: tuple[Cluster, Client], how: str) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    other = cluster.worker("a", "other")
    client.send_messages(EARLY)
    cluster.run(0.2)
    if not worker.held:
        worker, other = other, worker
    if how == "slot":
        worker.lose("t1")
    else:
        worker.die()
    cluster.run(0.2)
    assert lost(client)
    assert not other.deliveries


def test_what_no_worker_has_begun_is_delivered_again(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.send_messages(EARLY)
    cluster.run(0.2)
    worker.give_back("t1")
    cluster.run(0.2)
    worker.finish()
    assert len(worker.deliveries) == 2
    assert Status(client.results()["t1"].status) is Status.SUCCESS


@pytest.mark.parametrize("worker_lives", [True, False])
def test_it_is_not_delivered_again_after_a_takeover(worker_lives: bool) -> None:
    cluster = three()
    client = cluster.client("b")
    worker = cluster.worker("c")
    client.send_messages(EARLY)
    cluster.run(0.5)
    assert worker.held
    cluster.crash("a", vanish=True)
    if not worker_lives:
        worker.die()
    other = cluster.worker("b", "other")
    cluster.run(30.0)
    if worker_lives:
        worker.finish()
        cluster.run(1.0)
    assert not other.deliveries
    assert len(worker.deliveries) == 1
    assert (Status(client.results()["t1"].status) is Status.SUCCESS) if worker_lives else lost(client)
