"""Queues that make room by themselves when they are over their limit: what is oldest, of the lowest priority, goes, dropped or as a dead
letter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from mesh.core.broker.arguments import DEAD_LETTER, Arguments, QueueArguments, describe
from mesh.core.broker.dead_lettering import DeadLettering
from mesh.core.broker.queues import Queue, Record
from mesh.core.broker.selection import Ageing, take
from mesh.core.states import RecordState


class Overflow:
    """Trims the queues whose ``overflow`` is ``drop-head`` or ``dead-letter``."""

    def __init__(self, arguments: QueueArguments, ageing: Ageing, dead_lettering: DeadLettering, tell: Callable[[str], None]) -> None:
        self._arguments = arguments
        self._ageing = ageing
        self._dead_lettering = dead_lettering
        self._tell = tell
        """Something for the log."""
        self.dropped: dict[str, int] = {}
        """By queue, during this reign."""
        self.grown: set[str] = set()
        """Queues to look at."""
        self._delayed: dict[str, deque[Record]] = {}
        """Of queues that hold too much that is delayed: the oldest of it, to be dropped next."""

    def trim(self, queues: Mapping[str, Queue], records: Mapping[str, Record]) -> None:
        """Bring what has grown below its limit. To be called only with the authority to hand out: others may be running what is here."""
        grown, self.grown = self.grown, set()
        if not self._arguments.any_limits():
            return
        for name in sorted(grown):
            queue, limits = queues.get(name), self._arguments.limits(name)
            if queue is not None and limits is not None and not limits.rejects and _excess(queue, limits):
                self._trim(queue, limits, records)

    def look_at_all(self, queues: Mapping[str, Queue]) -> None:
        """Limits may have changed, or the reign is new."""
        if self._arguments.any_limits():
            self.grown.update(queues)

    def _trim(self, queue: Queue, limits: Arguments, records: Mapping[str, Record]) -> None:
        letters = limits.overflow == DEAD_LETTER
        why = f"the queue {queue.name!r} was over its limit, {describe(limits)}, and its overflow is {limits.overflow}"
        if queue.name not in self.dropped:
            self._tell(f"{why}: its oldest tasks {'become dead letters' if letters else 'are dropped'}, and fail with TaskDropped")
        while queue.ready and _excess(queue, limits):
            oldest = take(queue.least_urgent(), 1, self._ageing)
            if not oldest:
                self.grown.add(queue.name)  # it is being read from the disk
                return
            self._drop(oldest[0], why, letters)
        while queue.delayed and _excess(queue, limits):
            record = self._oldest_delayed(queue.name, records)
            if record is None:  # the rest was let in before there was a limit, and is on the disk only: it is dropped when it is due
                return
            self._drop(record, why, letters)

    def may_drop(self, queue: str) -> bool:
        """Whether what waits in a queue may have to make room."""
        limits = self._arguments.limits(queue) if self._arguments.any_limits() else None
        return limits is not None and not limits.rejects

    def _oldest_delayed(self, queue: str, records: Mapping[str, Record]) -> Record | None:
        """What came after the list was made is younger than all in it, so it lasts until it is used up."""
        while True:
            oldest = self._delayed.get(queue)
            if not oldest:
                waiting = (r for r in records.values() if r.state is RecordState.DELAYED and r.message.queue == queue)
                oldest = self._delayed[queue] = deque(sorted(waiting, key=_age))
                if not oldest:
                    return None
            record = oldest.popleft()
            if record.state is RecordState.DELAYED:
                return record

    def _drop(self, record: Record, why: str, letters: bool) -> None:
        queue = record.message.queue
        self.dropped[queue] = self.dropped.get(queue, 0) + 1
        self._dead_lettering.give_up(record, "maxlen", why, letter=letters)

    def reset(self) -> None:
        """The reign is over."""
        self.dropped.clear()
        self.grown.clear()
        self._delayed.clear()


def _excess(queue: Queue, limits: Arguments) -> bool:
    return bool((limits.max_length and queue.length > limits.max_length) or (limits.max_bytes and queue.bytes > limits.max_bytes))


def _age(record: Record) -> int:
    return record.order
