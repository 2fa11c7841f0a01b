"""Tasks that go on by their own wish: run again later, never earlier than they asked (R23), and as often as they ask."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from mesh.wire.calls import Call, Flow
from mesh.wire.entries import Failure, Message, Status
from mesh.wire.messages import Outcome, OutcomeKind, Outcomes
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import three
from tests.unit.core.programs import Client, Worker

WHY = Failure("builtins.OSError", "not now")


@pytest.fixture
def alone() -> tuple[Cluster, Client, Worker]:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    return cluster, cluster.client("a"), cluster.worker("a")


def turns(worker: Worker) -> list[tuple[str, int, int]]:
    """(id, retries, attempt) of each delivery."""
    return [(one.id, one.call.retries if one.call is not None else 0, one.attempt) for one in worker.deliveries]


def test_a_task_that_asks_to_be_run_again_is_and_not_before_its_time(alone: tuple[Cluster, Client, Worker]) -> None:
    cluster, client, worker = alone
    client.submit("t1")
    worker.retry("t1", delay_ms=2000)
    cluster.run(1.9)
    assert turns(worker) == [("t1", 0, 1)]
    cluster.run(0.3)
    assert turns(worker) == [("t1", 0, 1), ("t1", 1, 1)]
    assert worker.deliveries[-1].call is not None
    assert worker.deliveries[-1].call.failure == WHY
    worker.finish()
    assert cluster.nodes["a"].on_disk() == {"result:t1"}
    assert client.results()["t1"].status == Status.SUCCESS


def test_attempts_begin_anew_with_each_retry(alone: tuple[Cluster, Client, Worker]) -> None:
    _, client, worker = alone
    client.submit("t1")
    worker.lose("t1")
    worker.retry("t1")
    assert turns(worker) == [("t1", 0, 1), ("t1", 0, 2), ("t1", 1, 1)]


def test_a_retry_at_once_goes_to_the_end_of_the_line(alone: tuple[Cluster, Client, Worker]) -> None:
    _, client, worker = alone
    client.submit("t1", "t2")
    worker.retry("t1")
    assert [id for id, _, _ in turns(worker)] == ["t1", "t2"]
    worker.finish()
    assert [id for id, _, _ in turns(worker)] == ["t1", "t2", "t1"]


def test_a_retry_may_have_other_arguments_and_another_queue(alone: tuple[Cluster, Client, Worker]) -> None:
    cluster, client, worker = alone
    other = cluster.worker("a", "other", queues=["r"])
    client.submit("t1")
    worker.retry("t1", message=Message("t1", "r", "work", b"else", call=Call(shadow="s")))
    assert not worker.held
    assert [(one.id, one.queue, one.body) for one in other.deliveries] == [("t1", "r", b"else")]
    assert other.deliveries[0].call == Call(shadow="s", retries=1, turn=1, failure=WHY)


def test_a_retry_to_nowhere_fails(alone: tuple[Cluster, Client, Worker]) -> None:
    _, client, worker = alone
    client.submit("t1")
    worker.end(Outcome("t1", OutcomeKind.RETRY, messages=[Message("t1", "", "work", b"")]))
    failure = client.results()["t1"].failure
    assert failure is not None
    assert failure.type_name == "mesh.errors.Unroutable"


def test_a_retry_that_is_said_again_counts_once(alone: tuple[Cluster, Client, Worker]) -> None:
    cluster, client, worker = alone
    client.submit("t1")
    outcome = Outcome("t1", OutcomeKind.RETRY, stage=(0, 0, 1))
    worker.end(replace(outcome))
    assert turns(worker) == [("t1", 0, 1), ("t1", 1, 1)]
    worker.send(Outcomes(worker.name, 1, [outcome]))
    cluster.calm()
    worker.finish()
    assert turns(worker) == [("t1", 0, 1), ("t1", 1, 1)]


@pytest.mark.parametrize("heard", [True, False])
def test_a_retry_is_kept_through_a_takeover_and_never_early(heard: bool) -> None:
    cluster = three()
    client = cluster.client("b")
    worker = cluster.worker("c")
    client.submit("t1")
    assert worker.held
    if heard:
        worker.retry("t1", delay_ms=20_000)
    cluster.crash("a", vanish=True)
    if not heard:
        worker.retry("t1", delay_ms=20_000)
    asked_at = cluster.now
    cluster.until(lambda: len(worker.deliveries) > 1, 60.0)
    assert cluster.now - asked_at >= 19.9
    assert turns(worker)[-1][:2] == ("t1", 1)
    worker.finish()
    cluster.run(1.0)
    assert client.results()["t1"].status == Status.SUCCESS


def test_a_task_that_is_replaced_goes_on_as_others_one_of_which_has_its_id(alone: tuple[Cluster, Client, Worker]) -> None:
    cluster, client, worker = alone
    client.submit("t1")
    first = Message("t2", "q", "work", b"")
    last = Message("t1", "q", "work", b"", flow=Flow(after="t2"))
    worker.end(Outcome("t1", OutcomeKind.REPLACED, messages=[last, first]))
    assert list(worker.held) == ["t2"]
    worker.finish()
    assert list(worker.held) == ["t1"]
    worker.finish(body=b"end")
    assert client.results()["t1"].body == b"end"
    assert cluster.nodes["a"].on_disk() == {"result:t1", "result:t2"}


def test_a_task_may_not_be_replaced_by_nothing(alone: tuple[Cluster, Client, Worker]) -> None:
    _, client, worker = alone
    client.submit("t1")
    worker.end(Outcome("t1", OutcomeKind.REPLACED, messages=[Message("t2", "q", "work", b"")]))
    assert client.results()["t1"].status == Status.FAILURE


def test_members_that_a_task_adds_to_its_chord_come_after_the_others(alone: tuple[Cluster, Client, Worker]) -> None:
    _, client, worker = alone
    gather = Message("g", "q", "", b"", flow=Flow(gathers=1))
    client.send_messages(gather, Message("t1", "q", "work", b"", flow=Flow(into="g")))
    client.watch("g")
    more = [Message(id, "q", "work", b"", flow=Flow(into="g")) for id in ("t2", "t3")]
    worker.end(Outcome("t1", body=b"\x01\x01", messages=more))
    assert "g" not in client.results()
    assert [one.flow.place for one in worker.deliveries if one.flow is not None] == [0, 1]
    worker.finish(body=b"\x01\x02")
    worker.finish(body=b"\x01\x03")
    assert client.results()["g"].status == Status.SUCCESS
