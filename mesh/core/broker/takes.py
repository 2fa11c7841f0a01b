"""Consumers that want what is ready now, and do not wait for more."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.wire.messages import Take, Taken

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

Pull = Callable[[WorkerState, str, int], list[Record]]
"""(worker, queue, at most so many): lease what is next."""
Hand = Callable[[WorkerState, list[Record]], None]
"""Deliver records that were just taken from their queue."""


class Takes:
    """The Takes that are to be answered with the next dispatch, as that needs the authority to hand out."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], Take] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, take: Take) -> None:
        """A consumer wants something; one that has attached anew repeats what it wants."""
        self._waiting[take.worker, take.number] = take

    def serve(self, broker: Broker, pull: Pull, hand: Hand, tell: Callable[[str, Taken], None]) -> None:
        """Answer those that can be answered. What is on the disk only has to be read first; so is judged first what a consumer
        holds, and whether a queue that is no longer declared is gone (lost_and_found.py)."""
        for key, take in list(self._waiting.items()):
            worker = broker.workers.get(take.worker)
            if worker is None:  # it is gone, or says again what it wants when it has said what it holds
                del self._waiting[key]
            elif worker.synced:
                queue = broker.queues.get(take.queue)
                records = pull(worker, take.queue, take.count)
                if records:
                    hand(worker, records)
                elif queue is not None and (queue.is_read(worker.tasks) or broker.placement.is_withheld(take.queue)):
                    continue
                del self._waiting[key]
                ids = [record.message.id for record in records]
                ready, refusal = queue.ready if queue is not None else 0, broker.placement.refusal(worker, (take.queue,))
                tell(worker.node, Taken(take.number, take.worker, ids, ready, f"in-use: {refusal}" if refusal else ""))
