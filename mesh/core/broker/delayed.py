"""Messages that wait for their time at the coordinator.

An instant was named by the wall clock of the machine that accepted the message (R23). How far that clock is from this one is known from
its node's heartbeats, which may come later than the message, and may say something else after somebody has set a clock.
"""

from __future__ import annotations

import heapq

from mesh.core.broker.queues import Record
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal
from mesh.core.states import RecordState
from mesh.wire.entries import Message

SKEW_MOVED_MS = 250
"""A clock that is off by so much more or less than it was makes for a new look at what waits for it."""


class Delayed:
    """The records that are not due yet, by when they are."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._heap: list[tuple[int, int, Record]] = []
        self._skews_ms: dict[str, int] = {}
        """The skew by which each node's instants were last taken."""

    def __bool__(self) -> bool:
        return bool(self._heap)

    def eta_ms(self, message: Message, journal: Journal) -> int:
        """When a message is due by this machine's clock, wall clock in ms; 0 for at once."""
        return message.eta_ms - self._membership.skew_ms(journal.owner) if message.eta_ms else 0

    def add(self, record: Record) -> None:
        """Keep a record until it is due."""
        owner = record.journal.owner
        self._skews_ms.setdefault(owner, self._membership.skew_ms(owner))
        heapq.heappush(self._heap, (self.eta_ms(record.message, record.journal), record.order, record))

    def take_due(self, wall_ms: int) -> list[Record]:
        """The records whose time has come, earliest first; none is handed out twice."""
        self._look_at_clocks()
        due: list[Record] = []
        while self._heap and self._heap[0][0] <= wall_ms:
            record = heapq.heappop(self._heap)[2]
            if record.state is RecordState.DELAYED:
                due.append(record)
        return due

    def clear(self) -> None:
        """Forget all of them."""
        self._heap, self._skews_ms = [], {}

    def _look_at_clocks(self) -> None:
        moved = False
        for owner, known_ms in self._skews_ms.items():
            skew_ms = self._membership.skew_ms(owner)
            if abs(skew_ms - known_ms) > SKEW_MOVED_MS:
                self._skews_ms[owner] = skew_ms
                moved = True
        if moved:
            waiting = [record for _, _, record in self._heap if record.state is RecordState.DELAYED]
            self._heap = [(self.eta_ms(record.message, record.journal), record.order, record) for record in waiting]
            heapq.heapify(self._heap)
