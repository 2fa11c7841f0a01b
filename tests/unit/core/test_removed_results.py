"""Results that had to go: whoever asks for one is told so, by the next coordinator as well."""

from __future__ import annotations

from mesh.core.broker import results as kept
from mesh.wire.entries import Status
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client

LARGE = bytes(30_000)


def finished(cluster: Cluster, client: Client, *ids: str) -> None:
    worker = cluster.worker(cluster.coordinator, slots=len(ids))
    client.submit(*ids)
    cluster.run(0.1)
    for id in ids:
        worker.finish(id, body=LARGE)
        cluster.run(0.1)


def state(cluster: Cluster, node: str, id: str) -> tuple[Status, str]:
    asker = cluster.client(node)
    asker.watch(id)
    cluster.run(0.1)
    result = asker.results().get(id)
    if result is None:
        return asker.states()[id], ""
    return Status(result.status), result.failure.type_name if result.failure is not None else ""


def test_the_oldest_results_beyond_the_limit_are_removed_and_counted_and_say_so() -> None:
    cluster = Cluster("ab", max_results_bytes=1 << 16)
    cluster.until(cluster.agreed)
    finished(cluster, cluster.client("b"), "1", "2", "3")
    assert cluster["a"].broker.results.evicted == 1
    assert state(cluster, "b", "1") == (Status.REMOVED, kept.REMOVED)
    assert state(cluster, "b", "3") == (Status.SUCCESS, "")
    assert state(cluster, "b", "never") == (Status.UNKNOWN, "")


def test_an_expired_result_says_so() -> None:
    cluster = Cluster("a", result_expires_s=1)
    finished(cluster, cluster.client("a"), "1")
    cluster.run(1.2)
    assert state(cluster, "a", "1") == (Status.REMOVED, kept.REMOVED)


def test_the_next_coordinator_knows_what_was_removed() -> None:
    cluster = Cluster("abc", max_results_bytes=1 << 16)
    cluster.until(cluster.agreed)
    finished(cluster, cluster.client("c"), "1", "2", "3")
    cluster.crash("a")
    cluster.until(lambda: cluster.coordinator)
    cluster.run(1)
    assert state(cluster, "c", "1") == (Status.REMOVED, kept.REMOVED)


def test_an_id_that_is_submitted_again_runs_again() -> None:
    cluster = Cluster("a", max_results_bytes=1 << 16)
    client = cluster.client("a")
    finished(cluster, client, "1", "2", "3")
    client.submit("1")
    assert state(cluster, "a", "1")[0] in (Status.PENDING, Status.RECEIVED)


def test_a_new_limit_counts_at_once() -> None:
    cluster = Cluster("a")
    finished(cluster, cluster.client("a"), "1", "2", "3")
    cluster["a"].settings.max_results_bytes = 1 << 16
    cluster.run(0.2)
    assert cluster["a"].broker.results.evicted == 1


def test_only_so_many_ids_are_remembered() -> None:
    cluster = Cluster("a", result_expires_s=0)
    removed = cluster["a"].broker.pushes.removed
    limit, kept.REMOVED_MAX = kept.REMOVED_MAX, 2
    try:
        finished(cluster, cluster.client("a"), "1", "2", "3")
        cluster.run(0.2)
    finally:
        kept.REMOVED_MAX = limit
    assert ("1" in removed, "2" in removed, "3" in removed) == (False, True, True)
