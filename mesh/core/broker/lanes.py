"""One line of waiting messages, oldest first: those in memory as records, those that are on the disk only as runs of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from mesh.core.cluster.replica import Journal
from mesh.core.kinds import Kind
from mesh.core.states import RecordState

if TYPE_CHECKING:
    from mesh.core.broker.queues import Queue, Record

RUN_SPAN = 1024
"""Messages of several nodes may pass each other by so many places while they are on the disk: else each would need a run of its own."""
CHUNK_MESSAGES = 4096
"""Read at once, unless their bytes are too many."""
NEVER = 1 << 62


class Waiting(NamedTuple):
    """A message to be read, and its place in the line."""

    order: int
    journal: Journal
    sequence: int


class Run:
    """Paged messages of one journal between two sequences, as far as they are of this lane."""

    __slots__ = ("first", "journal", "last", "order")

    def __init__(self, order: int, journal: Journal, first: int, last: int) -> None:
        self.order = order
        """Of the first; each further one comes at least one place later."""
        self.journal = journal
        self.first = first
        self.last = last


class Lane:
    """The waiting messages of one kind in a queue."""

    __slots__ = (
        "_arrived",
        "_expected",
        "_open",
        "_under_way",
        "kind",
        "number",
        "paged",
        "priority",
        "queue",
        "records",
        "refill_at",
        "runs",
        "target",
        "task",
    )

    def __init__(self, queue: Queue, kind: Kind, number: int) -> None:
        self.queue = queue
        self.kind = kind
        self.task, self.priority, self.target = kind
        self.number = number
        """Of this queue and kind, in the index of paged messages."""
        self.records: deque[Record] = deque()
        self.runs: deque[Run] = deque()
        self.paged = 0
        """How many messages are on the disk only, or being read."""
        self.refill_at = 0
        """The next are read when no more than so many are left in memory."""
        self._open: dict[bytes, Run] = {}
        """The latest run of each journal."""
        self._under_way = NEVER
        """Order of the first of the messages that are being read."""
        self._expected = 0
        self._arrived: list[Record] = []

    # -- taking --------------------

    @property
    def next_paged(self) -> int:
        """Order of the first message that is not in memory."""
        return min(self._under_way, self.runs[0].order) if self.runs else self._under_way

    @property
    def available(self) -> bool:
        """Whether the first message in line is in memory."""
        return bool(self.records) and (not self.paged or self.records[0].order < self.next_paged)

    @property
    def needs_refill(self) -> bool:
        """Whether the next messages should be read now: before the last in memory is gone, so that nobody waits for the disk."""
        return self.paged > 0 and not self._expected and (len(self.records) <= self.refill_at or not self.available)

    @property
    def empty(self) -> bool:
        """Whether nothing waits here."""
        return not (self.records or self.paged)

    # -- to the disk and back --------------------

    def page_out(self, records: list[Record]) -> None:
        """These, in order, are no longer in memory."""
        lane, first, newer = self.records, records[0].order, []
        while lane and lane[-1].order >= first:
            record = lane.pop()
            if record.state is RecordState.READY:
                newer.append(record)
        lane.extend(reversed(newer))
        self.paged += len(records)
        for record in records:
            self._index(record.order, record.journal, record.sequence)

    def _index(self, order: int, journal: Journal, sequence: int) -> None:
        run = self._open.get(journal.name)
        if run is not None and run.last < sequence and run.order <= order < run.order + RUN_SPAN:
            run.last = sequence
            return
        self._open[journal.name] = self.insert_run(Run(order, journal, sequence, sequence))

    def insert_run(self, run: Run) -> Run:
        """Note a run at its place in the line."""
        if not self.runs or self.runs[-1].order <= run.order:
            self.runs.append(run)
        else:
            self.runs.insert(bisect_right([other.order for other in self.runs], run.order), run)
        return run

    def next_chunk(self, budget_bytes: int) -> list[Waiting]:
        """The next messages to be read; each has to be answered with :meth:`arrive`, in any order."""
        chunk: list[Waiting] = []
        while self.runs and len(chunk) < CHUNK_MESSAGES and (budget_bytes > 0 or not chunk):
            run = self.runs[0]
            order = run.order
            for sequence, lane, size in run.journal.paged.walk(run.first, run.last):
                if lane != self.number:
                    continue
                if len(chunk) == CHUNK_MESSAGES or (chunk and budget_bytes <= 0):
                    run.first, run.order = sequence, order
                    break
                chunk.append(Waiting(order, run.journal, sequence))
                order += 1
                budget_bytes -= size
            else:
                self.runs.popleft()
                if self._open.get(run.journal.name) is run:
                    del self._open[run.journal.name]
        if chunk:
            self._under_way = min(waiting.order for waiting in chunk)
            self._expected = len(chunk)
            self.refill_at = len(chunk) // 2
        elif not self.runs:
            self._under_way = NEVER
        return chunk

    def arrive(self, record: Record | None) -> bool:
        """One of the chunk was read, or (None) is not to be handed out any more; True with the last of it."""
        if record is not None:
            self._arrived.append(record)
        self._expected -= 1
        if self._expected:
            return False
        arrived, self._arrived = sorted(self._arrived, key=lambda record: record.order), []
        self._under_way = NEVER
        if arrived:
            self._merge(arrived)
        return True

    def _merge(self, arrived: list[Record]) -> None:
        lane, newer = self.records, []
        while lane and lane[-1].order > arrived[0].order:
            newer.append(lane.pop())
        if newer and newer[-1].order < arrived[-1].order:
            arrived = sorted([*arrived, *newer], key=lambda record: record.order)
            newer = []
        lane.extend(arrived)
        lane.extend(reversed(newer))
