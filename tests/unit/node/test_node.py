"""The node's loop around real sockets: what comes in wrong does no harm, what can't run is told, a failed disk ends it."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mesh import ids
from mesh.core.effects import Batch, Identity
from mesh.errors import DiskFailed
from mesh.node import Node
from mesh.storage.memory import MemoryStore
from mesh.transport.attach import LocalSocket, knock
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.zmq import ZmqTransport
from mesh.wire import frames
from mesh.wire.entries import Member, Message
from mesh.wire.messages import (
    Admitted,
    Answer,
    Attach,
    Attached,
    Confirm,
    Deliver,
    Knock,
    Leaving,
    Notice,
    Offer,
    Ping,
    Pong,
    Query,
    Submit,
)
from tests.polling import poll_until

DEADLINE_S = 10.0


class BrokenStore(MemoryStore):
    """A disk that fails after some commits."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self.good = good

    def commit(self, batch: Batch) -> None:
        self.good -= 1
        if self.good < 0:
            raise DiskFailed("no space on the test's disk")
        super().commit(batch)


class Running:
    """A node in a thread of this process, on loopback."""

    def __init__(self, directory: Path, store: MemoryStore) -> None:
        self.keys, self.secret = KeyPair.make(), FleetSecret.make()
        self.ipc = directory / "n.sock"
        id = ids.node_id(self.keys.public)
        self.transport = ZmqTransport(self.keys, self.secret, my_id=id, ipc_path=self.ipc, host="127.0.0.1")
        address = f"127.0.0.1:{self.transport.door_port}"
        identity = Identity(
            id, "node", self.keys.public, "test", self.secret.mesh_id(), ids.journal_name(), ids.journal_name(), addresses=[address]
        )
        self.node = Node(identity, store, self.transport)
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.node.run()
        except BaseException as error:
            self.error = error

    def attach(self, kind: str = "client") -> Program:
        return Program(self.ipc, kind)

    def stop(self) -> None:
        self.node.stop()
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()


class Program:
    """An attached client or worker that speaks frames."""

    def __init__(self, ipc: Path, kind: str) -> None:
        self.socket = LocalSocket(ipc, ids.session_id())
        self.replies: list[Any] = []
        self.ask(Attach(kind, "test", 1), Attached)

    def send(self, request: object) -> None:
        self.socket.send(frames.encode(request))

    def wait(self, kind: type) -> Any:
        def found() -> Any:
            frame = self.socket.recv()
            if frame is not None:
                self.replies.append(frames.decode_reply(frame))
            return next((reply for reply in self.replies if isinstance(reply, kind)), None)

        reply = poll_until(found, DEADLINE_S, kind.__name__)
        self.replies.remove(reply)
        return reply

    def ask(self, request: object, kind: type) -> Any:
        self.send(request)
        return self.wait(kind)

    def offer(self, tasks: list[str]) -> None:
        self.send(Offer("w-" + "-".join(tasks), "worker", ["q"], tasks, 1, 1, []))


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-node-") as name:
        yield Path(name)


@pytest.fixture
def running(directory: Path) -> Iterator[Running]:
    running = Running(directory, MemoryStore())
    yield running
    running.stop()


def test_malformed_frames_are_dropped_counted_and_logged_and_the_node_lives_on(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    client, vandal = running.attach(), running.attach()
    with caplog.at_level(logging.WARNING, "mesh.node"):
        for frame in (b"", b"\xc1", b"garbage", frames.encode([43, "no number", []]), frames.encode([99]), b"\x91" * 100_000):
            vandal.socket.send(frame)
        poll_until(lambda: running.node.malformed >= 6, DEADLINE_S, "all counted")
    assert 1 <= sum("malformed" in record.message for record in caplog.records) < 6
    client.ask(Ping(), Pong)
    vandal.ask(Ping(), Pong)
    for program in (client, vandal):
        program.socket.close()


def test_a_task_that_no_worker_has_waits_is_shown_and_runs_when_a_worker_that_has_it_appears(running: Running) -> None:
    client, wrong = running.attach(), running.attach("worker")
    wrong.offer(["other"])
    assert client.ask(Submit(1, [Message("id1", "q", "wanted", b"x")]), Confirm).copies == 1
    assert "'wanted'" in wrong.wait(Notice).text
    client.send(Query(1, "status"))
    status = json.loads(client.wait(Answer).body)
    assert [queue["waiting_for"] for queue in status["queues"]] == [["wanted"]]
    right = running.attach("worker")
    right.offer(["wanted"])
    assert [delivery.id for delivery in right.wait(Deliver).deliveries] == ["id1"]
    assert not [reply for reply in wrong.replies if isinstance(reply, Deliver)]
    for program in (client, wrong, right):
        program.socket.close()


def test_a_publisher_to_a_queue_without_a_consumer_is_warned(running: Running) -> None:
    client, worker = running.attach(), running.attach("worker")
    worker.offer(["t"])

    def warnings(number: int, queue: str) -> list[str]:
        confirm = client.ask(Submit(number, [Message(f"id{number}-{queue}", queue, "t", b"x")]), Confirm)
        while confirm.number != number:  # a warning to who published before it was known what is consumed has the number 0
            confirm = client.wait(Confirm)
        return list(confirm.warnings)

    numbers = iter(range(1, 1_000))
    poll_until(lambda: warnings(next(numbers), "nobody") == ["nobody"], DEADLINE_S, "a warning")
    assert warnings(next(numbers), "q") == []
    for program in (client, worker):
        program.socket.close()


def test_a_knock_for_another_key_than_the_proved_one_lets_nobody_in(running: Running) -> None:
    mine, other = KeyPair.make(), KeyPair.make()
    lobby = f"127.0.0.1:{running.transport.lobby_port}"

    def answer(member: Member) -> object:
        payload = knock(lobby, running.secret, mine, frames.encode(Knock(member)), 1.0)
        return None if payload is None else frames.decode_lobby(payload)

    stolen = Member(ids.node_id(other.public), "thief", other.public, [], durable=False)
    assert answer(stolen) is None
    honest = Member(ids.node_id(mine.public), "guest", mine.public, [], durable=False)
    admitted = answer(honest)
    assert isinstance(admitted, Admitted)
    members = running.node.machine.membership.members
    poll_until(lambda: honest.id in members, DEADLINE_S, "the honest one is a member")
    assert stolen.id not in members


def test_r7_a_disk_that_fails_ends_the_node(directory: Path) -> None:
    running = Running(directory, BrokenStore(good=1))
    client = running.attach()
    client.send(Submit(1, [Message("id1", "q", "t", b"x")]))
    running.thread.join(DEADLINE_S)
    assert isinstance(running.error, DiskFailed)
    client.socket.close()


def test_a_stopping_node_tells_its_programs_and_ends_soon(directory: Path) -> None:
    running = Running(directory, MemoryStore())
    client = running.attach()
    began = time.monotonic()
    running.stop()
    assert time.monotonic() - began < 5.0
    assert running.error is None
    assert client.wait(Leaving)
    client.socket.close()
