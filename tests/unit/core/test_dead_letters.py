"""Poison: what was delivered too often is kept with its history until somebody decides (R24)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.wire.entries import Message, Status
from mesh.wire.messages import Answer, Query, Submit
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Worker


@pytest.fixture
def cluster() -> Cluster:
    cluster = Cluster("a", max_deliveries=2)
    cluster.start("b")
    cluster.until(cluster.agreed)
    return cluster


def ask(client: Client, what: str, argument: str = "") -> tuple[Any, str]:
    client.send(Query(1, what, argument))
    client.cluster.run(0.1)
    answer = client.got(Answer)[-1]
    return json.loads(answer.body), answer.error


def poison(cluster: Cluster, *ids: str) -> tuple[Client, Worker]:
    client, worker = cluster.client("b"), cluster.worker("b")
    client.submit(*ids)
    for _ in range(2 * len(ids)):
        worker.lose(*worker.held)
    cluster.run(0.1)
    return client, worker


def test_r24_a_dead_letter_has_the_history_of_its_attempts(cluster: Cluster) -> None:
    client, worker = poison(cluster, "t1")
    rows, error = ask(client, "dead-letters", "q")
    assert error == ""
    assert [(row["id"], row["task"], row["queue"], len(row["attempts"])) for row in rows] == [("t1", "work", "q", 2)]
    assert all(attempt["worker"] == worker.name and attempt["node"] == "b" for attempt in rows[0]["attempts"])
    assert all(attempt["started_ms"] <= attempt["ended_ms"] for attempt in rows[0]["attempts"])
    assert client.results()["t1"].status == Status.FAILURE


def test_r24_dead_letters_survive_a_takeover(cluster: Cluster) -> None:
    client, _ = poison(cluster, "t1")
    cluster.crash("a")
    cluster.until(lambda: cluster.coordinator == "b")
    rows, _ = ask(client, "dead-letters", "q")
    assert [row["id"] for row in rows] == ["t1"]


def test_a_dead_letter_that_is_requeued_runs_as_if_it_was_new(cluster: Cluster) -> None:
    client, worker = poison(cluster, "t1", "t2")
    assert ask(client, "requeue", "q=t1") == (["t1"], "")
    assert worker.held.keys() == {"t1"}
    assert worker.held["t1"].attempt == 1
    worker.finish("t1")
    client.watch("t1")
    assert client.results()["t1"].status == Status.SUCCESS
    rows, _ = ask(client, "dead-letters", "q")
    assert [row["id"] for row in rows] == ["t2"]


def test_all_dead_letters_of_a_queue_are_requeued_at_once(cluster: Cluster) -> None:
    client, worker = poison(cluster, "t1", "t2")
    revived, _ = ask(client, "requeue", "q")
    assert sorted(revived) == ["t1", "t2"]
    worker.finish()
    worker.finish()
    assert ask(client, "dead-letters", "q") == ([], "")


def test_a_dead_letter_that_is_not_there_is_not_found(cluster: Cluster) -> None:
    client = cluster.client("b")
    body, error = ask(client, "requeue", "q=t9")
    assert body is None
    assert error.startswith("not-found")


def test_a_tasks_own_limit_comes_before_the_queues_and_that_before_the_meshs(cluster: Cluster) -> None:
    client, worker = cluster.client("a"), cluster.worker("a", queues=["q", "r"])
    ask(client, "config-set", "queue:r:max_deliveries=1")
    client.send(Submit(1, [Message("own", "r", "work", b"", max_deliveries=3)]))
    cluster.calm()
    for lost in range(3):
        assert "own" not in client.results(), f"after {lost} lost"
        worker.lose("own")
    assert "own" in client.results()
    client.submit("queues", queue="r")
    worker.lose("queues")
    assert "queues" in client.results()
