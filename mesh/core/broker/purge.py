"""Dropping what waits in a queue: on demand, or with the queue."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mesh.core.cluster.replica import Journal, Replica
from mesh.core.states import RecordState

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

WAITING = (RecordState.READY, RecordState.DELAYED)
REASONS = {
    "purged": "the queue {!r} was purged before the task ran",
    "deleted": "the queue {!r} was deleted before the task ran",
}


class Purge:
    """Ends what waits. What a consumer holds is for it to end; if it comes back its queue may be gone (lost_and_found.py)."""

    def __init__(self, broker: Broker, replica: Replica) -> None:
        self._broker = broker
        self._replica = replica

    def drop(self, queue: str, what: str) -> int:
        """Drop all that waits in a queue, ``purged`` or ``deleted``; returns how much. Tasks fail with TaskDropped: somebody may wait."""
        broker, why = self._broker, REASONS[what].format(queue)
        records = [record for record in broker.records.values() if record.message.queue == queue and record.state in WAITING]
        for record in records:
            broker.drop(record, why, False)
        paged = list(self._paged(queue))
        for journal, sequence, id, task in paged:
            self._replica.settle(journal, sequence)
            if task:
                broker.fail(id, why, journal.owner)
        if what == "deleted":
            for letter in broker.dead_letters.of_queue(queue):
                known = broker.dead_letters.get(letter.message.id)
                if known is not None:
                    self._replica.settle(known[0], known[1])
        return len(records) + len(paged)

    def _paged(self, queue: str) -> Iterator[tuple[Journal, int, str, str]]:
        """(journal, sequence, id, task) of what is on the disk only and in no consumer's hands."""
        pages = self._replica.pages
        lanes = {number: kind[0] for number, (name, kind) in enumerate(pages.lanes) if name == queue}
        for journal in list(self._replica.journals.values()):
            for sequence in list(journal.paged.sequences(1, journal.upto)) if lanes else ():
                place = journal.paged.get(sequence)
                if place is not None and place.lane in lanes and not self._broker.paging.is_apart(journal, sequence):
                    yield journal, sequence, pages.header(place.lane, place.key).id, lanes[place.lane]
