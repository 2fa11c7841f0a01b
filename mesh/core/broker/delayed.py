"""Messages that wait for their time at the coordinator.

An instant was named by the wall clock of the machine that accepted the message (R23). How far that clock is from this one is known from
its node's heartbeats, which may come later than the message, and may say something else after somebody has set a clock. A process that has
heard none yet waits for the first one, as long as it has patience.
"""

from __future__ import annotations

import heapq

from mesh.config import Settings
from mesh.core.broker.queues import Record
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal
from mesh.core.states import RecordState
from mesh.wire.entries import Message

SKEW_MOVED_MS = 250
"""A clock that is off by so much more or less than it was makes for a new look at what waits for it."""


class Delayed:
    """The records that are not due yet, by when they are."""

    def __init__(self, membership: Membership, settings: Settings) -> None:
        self._membership = membership
        self._settings = settings
        self._heap: list[tuple[int, int, int, Record]] = []
        """(when, place in the line, number, record): two records have one place while one of them that was replaced is still here."""
        self._number = 0
        self._skews_ms: dict[str, int] = {}
        """The skew by which each node's instants were last taken."""
        self._unheard: dict[str, tuple[float, list[Record]]] = {}
        """Records of nodes whose clock is not known: (since when they wait, records)."""
        self._strange: dict[str, float] = {}
        """Nodes whose clock is not known, which have named instants of messages on the disk: since when that is waited for."""

    def __bool__(self) -> bool:
        return bool(self._heap or self._unheard)

    def has_to_wait(self, message: Message, journal: Journal, wall_ms: int) -> bool:
        """Whether a message is not due yet, or that is not known."""
        if not message.eta_ms:
            return False
        return not self._membership.knows_clock_of(journal.owner) or self.eta_ms(message, journal) > wall_ms

    def eta_ms(self, message: Message, journal: Journal) -> int:
        """When a message is due by this machine's clock, wall clock in ms; 0 for at once."""
        return message.eta_ms - self._membership.skew_ms(journal.owner) if message.eta_ms else 0

    def skew_ms(self, journal: Journal) -> int:
        """How far the clock by which the instants of a journal were named is ahead of this one."""
        return self._membership.skew_ms(journal.owner)

    def knows_clock(self, owner: str) -> bool:
        """Whether instants that a node has named can be judged: its clock was heard, or has been waited for long enough."""
        if self._membership.knows_clock_of(owner):
            self._strange.pop(owner, None)
            return True
        since = self._strange.setdefault(owner, self._membership.now)
        return self._membership.now - since >= self._settings.takeover_patience_s

    def _due_ms(self, message: Message, journal: Journal) -> int:
        """When something is to be done about it: it is due, or expires before that."""
        properties = message.properties
        by_ms = properties.expires_ms if properties is not None and properties.expires_ms else message.eta_ms
        return min(message.eta_ms, by_ms) - self._membership.skew_ms(journal.owner) if message.eta_ms else 0

    def add(self, record: Record) -> None:
        """Keep a record until it is due."""
        owner = record.journal.owner
        if record.message.eta_ms and not self._membership.knows_clock_of(owner):
            self._unheard.setdefault(owner, (self._membership.now, []))[1].append(record)
            return
        self._push(owner, record)

    def _push(self, owner: str, record: Record) -> None:
        self._skews_ms.setdefault(owner, self._membership.skew_ms(owner))
        self._number += 1
        heapq.heappush(self._heap, (self._due_ms(record.message, record.journal), record.order, self._number, record))

    def take_due(self, wall_ms: int) -> list[Record]:
        """The records whose time has come, earliest first; none is handed out twice."""
        self._look_at_clocks()
        self._take_heard()
        due: list[Record] = []
        early: list[Record] = []
        seen: set[int] = set()  # one that a worker had for a moment is there twice
        while self._heap and self._heap[0][0] <= wall_ms:
            record = heapq.heappop(self._heap)[-1]
            if record.state is RecordState.DELAYED and id(record) not in seen:
                seen.add(id(record))
                (early if self._due_ms(record.message, record.journal) > wall_ms else due).append(record)
        for record in early:  # by a clock that is a little less ahead than it was
            self._push(record.journal.owner, record)
        return due

    def clear(self) -> None:
        """Forget all of them."""
        self._heap, self._skews_ms, self._unheard, self._strange = [], {}, {}, {}

    def _take_heard(self) -> None:
        for owner, (since, records) in list(self._unheard.items()):
            patient = self._membership.now - since < self._settings.takeover_patience_s
            if self._membership.knows_clock_of(owner) or not patient:
                del self._unheard[owner]
                for record in records:
                    self._push(owner, record)

    def _look_at_clocks(self) -> None:
        moved = False
        for owner, known_ms in self._skews_ms.items():
            skew_ms = self._membership.skew_ms(owner)
            if abs(skew_ms - known_ms) > SKEW_MOVED_MS:
                self._skews_ms[owner] = skew_ms
                moved = True
        if moved:
            waiting = [(number, record) for _, _, number, record in self._heap if record.state is RecordState.DELAYED]
            self._heap = [(self._due_ms(record.message, record.journal), record.order, number, record) for number, record in waiting]
            heapq.heapify(self._heap)
