"""A link without a node, an application without a mesh, and a worker that runs in a thread of the test."""

from __future__ import annotations

import itertools
import socket
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from mesh.config import Settings
from mesh.transport.poller import Poller
from mesh.wire import bodies
from mesh.wire.entries import Status
from mesh.wire.messages import (
    Attached,
    Deliver,
    Delivery,
    Fetch,
    Fetched,
    Grant,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    SessionReply,
    SessionRequest,
    Upload,
    UploadChunk,
)
from mesh.worker.parent import Worker
from mesh.worker.slots import Slots
from mesh.worker.spec import WorkerSpec
from tests.polling import poll_until

SAMPLE = "tests.unit.worker.sample"
"""The application that most tests run (sample.py)."""
GREETING = Attached(mesh="m", mesh_id="id", node="n1", node_id="node", coordinator="n1")


class FakeLink:
    """The shape of mesh.client.link.Link; the test is the node. ``keeps`` confirms every outcome at once."""

    def __init__(self, *, keeps: bool = True) -> None:
        self.attached: Attached | None = GREETING
        self.generation = 1
        self.sent: list[SessionRequest] = []
        self.uploaded: dict[bytes, bytearray] = {}
        """Large values that came, by the body's id."""
        self.stored: dict[bytes, list[bytes]] = {}
        """The chunks of large arguments, by the body's id."""
        self.ticks = 0
        self.closed = False
        self.takes = True
        self._keeps = keeps
        self._inbox: deque[SessionReply] = deque()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)

    def register(self, poller: Poller) -> None:
        poller.register(self._ear.fileno())

    def pause_s(self) -> float:
        return 0.1

    def send(self, message: SessionRequest) -> bool:
        if self.attached is None or not self.takes:
            return False
        self.sent.append(message)
        if isinstance(message, Upload):
            self.say(Grant(message.body, -(-message.size // message.chunk_bytes)))
        elif isinstance(message, UploadChunk):
            self.uploaded.setdefault(message.body, bytearray()).extend(message.data)
        elif isinstance(message, Fetch):
            stored = self.stored.get(message.chunks.body)
            lost = f"lost: chunk {message.index} is on no disk of the mesh any more"
            self.say(Fetched(message.number, message.index, stored[message.index] if stored else b"", "" if stored else lost))
        if self._keeps and isinstance(message, Outcomes):
            self.say(
                OutcomesKept(message.worker, [outcome.id for outcome in message.outcomes], [outcome.kind for outcome in message.outcomes])
            )
        return True

    def receive(self, limit: int = 256) -> list[SessionReply]:
        try:
            self._ear.recv(1 << 16)
        except BlockingIOError:
            pass
        return [self._inbox.popleft() for _ in range(min(limit, len(self._inbox)))]

    def tick(self, now_s: float) -> None:
        self.ticks += 1

    def close(self) -> None:
        self.closed = True
        self._ear.close()
        self._bell.close()

    def say(self, *replies: SessionReply) -> None:
        """What the node says, from the test's thread."""
        self._inbox.extend(replies)
        try:
            self._bell.send(b"!")
        except BlockingIOError:
            pass

    @property
    def offers(self) -> list[Offer]:
        return [message for message in list(self.sent) if isinstance(message, Offer)]

    @property
    def outcomes(self) -> list[Outcome]:
        return [outcome for message in list(self.sent) if isinstance(message, Outcomes) for outcome in message.outcomes]

    def value(self, outcome: Outcome) -> Any:
        """What a task returned, wherever its bytes are."""
        return bodies.decode(outcome.body if outcome.chunks is None else bytes(self.uploaded[outcome.chunks.body]))


class Running:
    """A worker in a thread, with its link; leaves (by stopping twice) at the end of the ``with`` block."""

    def __init__(
        self,
        pool: str = "process",
        concurrency: int = 1,
        *,
        app: str = SAMPLE,
        link: FakeLink | None = None,
        slots: Slots | None = None,
        **settings: Any,
    ) -> None:
        self.link = link or FakeLink()
        self.ready = threading.Event()
        self.exit_code: int | None = None
        self.error: BaseException | None = None
        self._numbers = itertools.count()
        spec = WorkerSpec(app=app, concurrency=concurrency, pool=pool, name="w")
        self.worker = Worker(self.link, spec, Settings(**settings), slots=slots, on_ready=lambda info: self.ready.set())
        self._thread = threading.Thread(target=self._run, name="worker under test", daemon=True)

    def _run(self) -> None:
        try:
            self.exit_code = self.worker.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> Running:
        self._thread.start()
        assert self.ready.wait(20), "the worker was not ready in time"
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.worker.stop()
            self.worker.stop()
            self.join()

    def join(self, timeout_s: float = 10) -> int | None:
        self._thread.join(timeout_s)
        assert not self._thread.is_alive(), "the worker did not end in time"
        return self.exit_code

    def deliver(self, *deliveries: Delivery) -> None:
        self.link.say(Deliver(worker=self.worker.id, deliveries=list(deliveries)))

    def call(self, task: str, *args: Any, **kwargs: Any) -> str:
        """Deliver one call: its id."""
        id = f"{task}-{next(self._numbers)}"
        self.deliver(delivery(id, task, *args, **kwargs))
        return id

    def outcome(self, id: str, deadline_s: float = 10) -> Outcome:
        """The first outcome of an id, waited for."""
        return poll_until(lambda: next((o for o in self.link.outcomes if o.id == id), None), deadline_s, f"outcome of {id}", pause_s=0.005)

    def outcomes(self, ids: Iterable[str], deadline_s: float = 20) -> dict[str, Outcome]:
        wanted = set(ids)
        poll_until(lambda: wanted <= {o.id for o in self.link.outcomes}, deadline_s, "all outcomes", pause_s=0.005)
        return {o.id: o for o in self.link.outcomes if o.id in wanted}

    def result(self, task: str, *args: Any, **kwargs: Any) -> Any:
        """Deliver one call, and what it returned."""
        outcome = self.outcome(self.call(task, *args, **kwargs))
        assert (outcome.kind, outcome.status) == (OutcomeKind.DONE, Status.SUCCESS), outcome
        return bodies.decode(outcome.body)


def delivery(id: str, task: str, *args: Any, **kwargs: Any) -> Delivery:
    return Delivery(id=id, task=task, body=bodies.encode_call(args, kwargs), attempt=0, queue="default")
