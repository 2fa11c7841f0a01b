"""One line of waiting messages, oldest first: those in memory as records, those that are on the disk only as runs of them."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from mesh.core.cluster.replica import Journal
from mesh.core.kinds import Kind
from mesh.core.states import RecordState

if TYPE_CHECKING:
    from mesh.core.broker.queues import Queue, Record

RUN_SPAN = 1024
"""Messages of several nodes may pass each other by so many places while they are on the disk: else each would need a run of its own."""
CHUNK_MESSAGES = 1024
"""Read at once, unless their bytes are too many."""
NEVER = 1 << 62


class Segment(NamedTuple):
    """Messages of one journal to be read, ascending, and their places in the line."""

    journal: Journal
    sequences: list[int]
    orders: list[int]


class Run:
    """Paged messages of one journal between two sequences, as far as they are of this lane."""

    __slots__ = ("first", "journal", "last", "number", "order")

    def __init__(self, order: int, journal: Journal, first: int, last: int, number: int) -> None:
        self.order = order
        """Of the first; each further one comes at least one place later."""
        self.journal = journal
        self.first = first
        self.last = last
        self.number = number
        """Of this lane in the index of paged messages: one for what was due from the first, another one for what came to be due."""


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
        self._open: dict[tuple[bytes, int], Run] = {}
        """The latest run of each journal and number."""
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
    def is_partly_away(self) -> bool:
        """Whether some of it is not in line: on the disk only, or read while the rest of its chunk is not."""
        return self.paged > 0 or self._expected > 0

    @property
    def available(self) -> bool:
        """Whether the first message in line is in memory."""
        return bool(self.records) and (not self.is_partly_away or self.records[0].order < self.next_paged)

    @property
    def needs_refill(self) -> bool:
        """Whether the next messages should be read now: before the last in memory is gone, so that nobody waits for the disk."""
        return self.paged > 0 and not self._expected and (len(self.records) <= self.refill_at or not self.available)

    @property
    def empty(self) -> bool:
        """Whether nothing waits here, nor is about to when all segments of a chunk have been read."""
        return not self.records and not self.is_partly_away

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
        self._index_run(Run(order, journal, sequence, sequence, self.number))

    def _index_run(self, new: Run) -> None:
        key = (new.journal.name, new.number)
        run = self._open.get(key)
        if run is not None and run.last < new.first and run.order <= new.order < run.order + RUN_SPAN:
            run.last = new.last
            return
        self.insert_run(new)
        if run is None or run.last < new.first:
            self._open[key] = new

    def come(self, order: int, journal: Journal, sequences: Sequence[int], number: int) -> None:
        """Messages, ascending, that are on the disk or on their way there, come behind all others."""
        self.paged += len(sequences)
        for start in range(0, len(sequences), RUN_SPAN):
            piece = sequences[start : start + RUN_SPAN]
            self._index_run(Run(order + start, journal, piece[0], piece[-1], number))

    def insert_run(self, run: Run) -> None:
        """Note a run at its place in the line."""
        if not self.runs or self.runs[-1].order <= run.order:
            self.runs.append(run)
        else:
            self.runs.insert(bisect_right([other.order for other in self.runs], run.order), run)

    def next_chunk(self, budget_bytes: int) -> list[Segment]:
        """The next messages to be read; each segment has to be answered with :meth:`arrive`, in any order."""
        chunk: list[Segment] = []
        messages = 0
        while self.runs and messages < CHUNK_MESSAGES and (budget_bytes > 0 or not chunk):
            run = self.runs[0]
            order = run.order
            sequences: list[int] = []
            for sequence, lane, size in run.journal.paged.walk(run.first, run.last):
                if lane != run.number:
                    continue
                if messages == CHUNK_MESSAGES or (messages and budget_bytes <= 0):
                    run.first, run.order = sequence, order
                    break
                sequences.append(sequence)
                order += 1
                messages += 1
                budget_bytes -= size
            else:
                self.runs.popleft()
                key = (run.journal.name, run.number)
                if self._open.get(key) is run:
                    del self._open[key]
            if sequences:
                chunk.append(Segment(run.journal, sequences, list(range(order - len(sequences), order))))
        if chunk:
            self._under_way = min(segment.orders[0] for segment in chunk)
            self._expected = len(chunk)
            self.refill_at = messages
        elif not self.runs:
            self._under_way = NEVER
        return chunk

    def arrive(self, records: list[Record]) -> bool:
        """A segment was read, and these of it are to be handed out; True with the last of the chunk."""
        self._arrived += records
        self._expected -= 1
        if self._expected:
            return False
        arrived, self._arrived = self._arrived, []
        self._under_way = NEVER
        if arrived:
            arrived.sort(key=attrgetter("order"))
            self._merge(arrived)
        return True

    def _merge(self, arrived: list[Record]) -> None:
        lane, newer = self.records, []
        while lane and lane[-1].order > arrived[0].order:
            newer.append(lane.pop())
        if newer and newer[-1].order < arrived[-1].order:
            arrived = sorted([*arrived, *newer], key=attrgetter("order"))
            newer = []
        lane.extend(arrived)
        lane.extend(reversed(newer))
