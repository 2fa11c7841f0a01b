"""Dropping what waits in a queue: on demand, or with the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from mesh.core.cluster.replica import Journal, Replica
from mesh.core.states import RecordState

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

AT_ONCE = 1000
"""Messages in one turn: 40 ms. A loop that stands still for half of the heartbeat timeout steps down (R12)."""
PATIENCE_S = 3.0
"""A question is answered within this time, though not all may be dropped by then: who asked follows it (the question `purges`)."""
WAITING = (RecordState.READY, RecordState.DELAYED)
REASONS = {
    "purged": "the queue {!r} was purged before the task ran",
    "deleted": "the queue {!r} was deleted before the task ran",
}


class Purge:
    """Ends what waits. What a consumer holds is for it to end; if it comes back its queue may be gone (lost_and_found.py).

    Of a long queue the rest goes in the turns that follow, and nothing of it is handed out meanwhile. What came later stays.
    """

    def __init__(self, broker: Broker, replica: Replica) -> None:
        self._broker = broker
        self._replica = replica
        self.under_way: dict[str, tuple[str, dict[bytes, int]]] = {}
        """Queue to (what happened to it, for each journal the last sequence that is to go)."""
        self._dropped_upto: dict[str, dict[bytes, int]] = {}
        """Queue and journal to how far what is on the disk only has gone."""
        self._when_done: list[tuple[float, Callable[[], None]]] = []
        """(until when it waits, action)."""

    def drop(self, queue: str, what: str) -> None:
        """Drop all that waits in a queue, ``purged`` or ``deleted``. Tasks fail with TaskDropped: somebody may wait for them."""
        self.under_way[queue] = (what, {journal.name: journal.upto for journal in self._replica.journals.values()})
        self._dropped_upto[queue] = {}
        if what == "deleted":
            self._drop_letters(queue)
        self.go_on()

    def when_done(self, action: Callable[[], None]) -> None:
        """Run ``action`` when all that was to be dropped so far is, at once when it is, but not later than who asked waits for an answer.

        Never, when the reign ends before.
        """
        if self.under_way:
            self._when_done.append((self._broker.now + PATIENCE_S, action))
        else:
            action()

    def left(self) -> dict[str, int]:
        """The queues of which something is still to be dropped, with what waits in them."""
        queues = self._broker.queues
        return {queue: queues[queue].length if queue in queues else 0 for queue in self.under_way}

    def reset(self) -> None:
        """The reign is over: who asked did not hear that it is done, and may ask again."""
        self.under_way.clear()
        self._dropped_upto.clear()
        self._when_done.clear()

    def go_on(self) -> None:
        """Drop as much as one turn has time for."""
        left = AT_ONCE
        for queue, (what, upto) in list(self.under_way.items()):
            left -= self._drop_some(queue, REASONS[what].format(queue), upto, left)
            if left <= 0:
                break
            del self.under_way[queue], self._dropped_upto[queue]
        waiting, self._when_done = self._when_done, []
        for until, action in waiting:
            if self.under_way and self._broker.now < until:
                self._when_done.append((until, action))
            else:
                action()

    def _drop_some(self, queue: str, why: str, upto: dict[bytes, int], most: int) -> int:
        """How many were dropped: as many as wanted, unless there were fewer."""
        broker = self._broker
        waiting = (
            record
            for record in broker.records.values()
            if record.message.queue == queue and record.state in WAITING and record.sequence <= upto.get(record.journal.name, 0)
        )
        records = list(islice(waiting, most))
        for record in records:
            broker.drop(record, why)
        paged = list(islice(self._paged(queue, upto), most - len(records)))
        for journal, sequence, id, task in paged:
            self._dropped_upto[queue][journal.name] = sequence
            self._replica.settle(journal, sequence)
            if task:
                broker.fail(id, why, journal.owner)
        broker.dirty = True
        return len(records) + len(paged)

    def _paged(self, queue: str, upto: dict[bytes, int]) -> Iterator[tuple[Journal, int, str, str]]:
        """(journal, sequence, id, task) of what is on the disk only and in no consumer's hands."""
        pages = self._replica.pages
        lanes = {number: kind[0] for number, (name, kind) in enumerate(pages.lanes) if name == queue}
        for journal in list(self._replica.journals.values()) if lanes else ():
            dropped = self._dropped_upto[queue].get(journal.name, 0)
            for sequence, lane, _ in journal.paged.walk(dropped + 1, upto.get(journal.name, 0)):
                place = journal.paged.get(sequence) if lane in lanes else None
                if place is not None and not self._broker.paging.is_apart(journal, sequence):
                    yield journal, sequence, pages.header(place.lane, place.key).id, lanes[lane]

    def _drop_letters(self, queue: str) -> None:
        letters = self._broker.dead_letters
        for letter in letters.of_queue(queue):
            known = letters.get(letter.message.id)
            if known is not None:
                self._replica.settle(known[0], known[1])
