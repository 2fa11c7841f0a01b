"""Revoked tasks are over from then on, whether they wait, run or have not come yet, and stay so through takeovers and merges."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.wire.calls import Call, Cancel, Flow
from mesh.wire.entries import Message, Status
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import three
from tests.unit.core.programs import Client, Worker


@pytest.fixture
def alone() -> tuple[Cluster, Client]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a")


def revoke(client: Client, *ids: str, **wanted: Any) -> list[dict[str, Any]]:
    answer = client.ask("revoke", json.dumps({"ids": list(ids), **wanted}))
    assert not answer.error
    rows: list[dict[str, Any]] = json.loads(answer.body)
    return rows


def cancels(worker: Worker) -> list[tuple[list[str], str]]:
    return [(one.ids, one.signal) for one in worker.got(Cancel)]


def test_a_revoked_task_that_waits_never_runs_and_its_caller_is_told(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.submit("t1", "t2")
    assert revoke(client, "t1") == [{"id": "t1", "became": "revoked", "ran": False}]
    worker = cluster.worker("a")
    assert list(worker.held) == ["t2"]
    result = client.results()["t1"]
    assert Status(result.status) is Status.REVOKED
    assert result.failure is not None
    assert result.failure.type_name == "mesh.errors.TaskRevokedError"
    assert cluster.nodes["a"].on_disk() == {"message:t2", "result:t1"}


def test_a_task_that_is_not_due_yet_is_revoked_like_any_other(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.submit("t1", eta_ms=cluster["a"].wall_ms + 1000)
    revoke(client, "t1")
    worker = cluster.worker("a")
    cluster.run(2.0)
    assert not worker.deliveries


def test_a_task_that_nobody_has_submitted_yet_will_not_run(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    assert revoke(client, "t1") == [{"id": "t1", "became": "revoked", "ran": False}]
    client.submit("t1")
    assert not worker.deliveries
    assert Status(client.results()["t1"].status) is Status.REVOKED


def test_what_has_ended_stays_as_it_ended(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.submit("t1")
    worker.finish()
    assert revoke(client, "t1") == [{"id": "t1", "became": "ended", "ran": False}]
    assert Status(client.results()["t1"].status) is Status.SUCCESS


@pytest.mark.parametrize(("terminate", "signal"), [(False, ""), (True, "SIGKILL")])
def test_the_worker_of_a_running_task_is_told_and_its_outcome_comes_too_late(
    alone: tuple[Cluster, Client], terminate: bool, signal: str
) -> None:
    cluster, client = alone
    worker = cluster.worker("a")
    client.submit("t1")
    assert revoke(client, "t1", terminate=terminate, signal="SIGKILL") == [{"id": "t1", "became": "revoked", "ran": True}]
    assert cancels(worker) == [(["t1"], signal)]
    worker.finish()
    assert Status(client.results()["t1"].status) is Status.REVOKED
    assert cluster.nodes["a"].on_disk() == {"result:t1"}
    cluster.run(0.5)
    assert not worker.outbox


def test_what_a_workflow_has_waited_for_ends_with_it(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.send_messages(Message("t2", "q", "work", b"", flow=Flow(after="t1")), Message("t1", "q", "work", b""))
    client.watch("t2")
    revoke(client, "t1")
    cluster.run(0.2)
    assert Status(client.results()["t2"].status) in (Status.REVOKED, Status.FAILURE)
    assert not cluster["a"].broker.records


def test_tasks_are_revoked_by_their_group_and_by_their_stamps(alone: tuple[Cluster, Client]) -> None:
    cluster, client = alone
    client.send_messages(
        Message("t1", "q", "work", b"", call=Call(group="g")),
        Message("t2", "q", "work", b"", call=Call(stamps={"customer": "7"})),
        Message("t3", "q", "work", b"", call=Call(stamps={"customer": "8"})),
        Message("t4", "q", "work", b""),
    )
    assert {row["id"] for row in revoke(client, groups=["g"], stamps={"customer": ["7", "9"]})} == {"t1", "t2"}
    assert set(cluster["a"].broker.records) == {"t3", "t4"}


@pytest.mark.parametrize("argument", ["", "[]", '{"who": 1}', json.dumps({"ids": ["x"] * 100_001})])
def test_what_is_no_revocation_is_refused(alone: tuple[Cluster, Client], argument: str) -> None:
    answer = alone[1].ask("revoke", argument)
    assert answer.error.startswith("invalid")


def test_a_revocation_is_kept_through_a_takeover() -> None:
    cluster = three()
    client = cluster.client("b")
    client.submit("t1")
    revoke(client, "t1", "later")
    cluster.crash("a", vanish=True)
    worker = cluster.worker("c")
    cluster.run(10.0)
    client.submit("later", "t2")
    cluster.until(lambda: bool(worker.deliveries), 30.0)
    assert [one.id for one in worker.deliveries] == ["t2"]
    assert Status(client.results()["later"].status) is Status.REVOKED


def test_a_message_that_a_merge_brings_is_revoked_there_too() -> None:
    cluster = three()
    cluster.split("ab", "c")
    cluster.run(5.0)
    away = cluster.client("c")
    away.submit("t1")
    revoke(cluster.client("a"), "t1")
    cluster.heal()
    cluster.until(cluster.agreed, 30.0)
    worker = cluster.worker("b")
    cluster.run(3.0)
    assert not worker.deliveries
    assert Status(away.results()["t1"].status) is Status.REVOKED
