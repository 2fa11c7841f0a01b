"""What is told of a task that has not ended: where it is, by the one table of its states, and what it says of itself."""

from __future__ import annotations

import itertools

import pytest

from mesh.core.states import TASK_TRANSITIONS, TaskEvent, next_status
from mesh.errors import LocalProtocolError
from mesh.wire.calls import States, TaskState
from mesh.wire.entries import Status
from mesh.wire.messages import Watch
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import three
from tests.unit.core.programs import Client, Worker


def states(client: Client) -> list[tuple[str, str, bytes]]:
    return [(state.id, state.state, state.meta) for reply in client.got(States) for state in reply.states]


def say(worker: Worker, id: str, state: str, meta: bytes = b"") -> None:
    worker.send(States(worker.name, [TaskState(id, state, meta)]))
    worker.cluster.calm()


def follow(client: Client, *ids: str) -> None:
    client.send(Watch(list(ids), states=True))
    client.cluster.calm()


def test_a_state_asked_for_is_what_is_known_of_the_message_and_what_the_task_has_said() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    client = cluster.client("a")
    client.submit("t1")
    client.watch("t1")
    assert client.states()["t1"] is Status.PENDING
    worker = cluster.worker("a")
    client.watch("t1")
    assert client.states()["t1"] is Status.RECEIVED
    say(worker, "t1", "STARTED")
    client.watch("t1")
    assert client.states()["t1"] is Status.STARTED
    worker.retry("t1", delay_ms=60_000)
    client.watch("t1")
    assert client.states()["t1"] is Status.RETRY


def test_states_go_to_those_who_follow_also_at_other_nodes_and_only_to_them() -> None:
    cluster = three()
    client, other = cluster.client("b"), cluster.client("c")
    worker = cluster.worker("c")
    follow(client, "t1")
    other.submit("t1")
    cluster.until(lambda: bool(worker.held))
    say(worker, "t1", "PROGRESS", b"\x01\x05")
    cluster.until(lambda: ("t1", "PROGRESS", b"\x01\x05") in states(client))
    assert ("t1", "RECEIVED", b"") in states(client)
    assert not states(other)
    worker.finish()
    cluster.until(lambda: "t1" in client.results())


def test_what_a_worker_says_of_a_task_that_it_does_not_hold_is_not_told() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    client = cluster.client("a")
    worker, other = cluster.worker("a"), cluster.worker("a", "other", tasks=["else"])
    follow(client, "t1")
    client.submit("t1")
    assert worker.held
    say(other, "t1", "PROGRESS")
    assert states(client) == [("t1", "RECEIVED", b"")]


def test_what_was_said_is_forgotten_when_the_task_has_ended() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    client, worker = cluster.client("a"), cluster.worker("a")
    follow(client, "t1")
    client.submit("t1")
    say(worker, "t1", "PROGRESS")
    worker.finish()
    cluster.run(1.0)
    broker = cluster["a"].broker
    assert not broker.states.watchers
    assert not broker.states._said


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, TaskEvent)))
def test_a_task_follows_the_table(status: Status, event: TaskEvent) -> None:
    wanted = TASK_TRANSITIONS[status].get(event)
    if wanted is None:
        with pytest.raises(LocalProtocolError):
            next_status(status, event)
    else:
        assert next_status(status, event) is wanted


def test_what_is_over_stays_over() -> None:
    for status in (Status.SUCCESS, Status.FAILURE, Status.REVOKED):
        assert TASK_TRANSITIONS[status] == {TaskEvent.FORGOTTEN: Status.REMOVED}
