"""Tasks that are delivered at most once, as their publisher wants it (``acks_early``).

That such a task is handed out is written before it leaves: as an attempt, which is on the disk before the next delivery (decision 106), and
in the leases that deputies know by then. One that has such an attempt and is with nobody was lost, and fails, also under another
coordinator and after a start from the disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh.core.broker.attempts import WORKER_LOST
from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.wire.entries import Attempt, Failure, Message, Status
from mesh.wire.messages import Outcome

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

LOST = "was handed out, and nobody has it any more; it is delivered once only: acks_early"


class Early:
    """Sees to it that one delivery is all that there is."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._unbegun: set[str] = set()
        """Those with an attempt that no worker has begun, as far as this reign knows."""

    def reset(self) -> None:
        """The reign is over."""
        self._unbegun.clear()

    def sift(self, worker: WorkerState, taken: list[Record]) -> list[Record]:
        """Of what a worker is about to get, what may leave now."""
        if not any(map(_is_early, taken)):
            return taken
        return [record for record in taken if not _is_early(record) or self._may_leave(worker, record)]

    def _may_leave(self, worker: WorkerState, record: Record) -> bool:
        message = record.message
        if message.id in self._unbegun and message.attempts:
            self._unbegun.discard(message.id)
            return True
        if message.attempts:
            text = f"task {message.task}[{message.id}] {LOST}"
            self._broker.finish(record, Outcome(message.id, status=Status.FAILURE, failure=Failure(WORKER_LOST, text)), None)
            return False
        self._unbegun.add(message.id)
        self._broker.rewrite(record, self._attempted(message, record, worker))
        return False

    def _attempted(self, message: Message, record: Record, worker: WorkerState) -> Message:
        at_ms, skew_ms = self._broker.wall_ms, self._broker.skew_ms(record.journal)
        attempt = Attempt("", worker.name or worker.id, at_ms, at_ms, "it was handed out")
        properties = message.properties
        if properties is not None and properties.expires_ms:
            properties = replace(properties, expires_ms=properties.expires_ms - skew_ms)
        return replace(message, attempts=1, eta_ms=0, history=(attempt,), properties=properties)

    def given_back(self, record: Record) -> None:
        """The worker has not begun it."""
        if _is_early(record):
            self._unbegun.add(record.message.id)


def _is_early(record: Record) -> bool:
    call = record.message.call
    return call is not None and call.acks_early
