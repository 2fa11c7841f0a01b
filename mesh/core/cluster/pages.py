"""Which messages a node has in memory whole, and what it knows of those that lie on its disk only (decision 060).

As long as all messages fit into the window nothing is done. What comes beyond it is paged out once it is durable; the oldest stay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING

from mesh.core.cluster.paged import Header
from mesh.core.id_table import IdTable, key_of
from mesh.core.kinds import Kind, kind_of, properties_of
from mesh.wire.entries import Message

if TYPE_CHECKING:
    from mesh.core.cluster.replica import Journal

OVERHEAD_BYTES = 800
"""What a message in memory takes beside its body, about."""
LANES_MAX = 1 << 16
SEQUENCE_BITS = 40
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
SWEEP_BUCKETS = 1024
"""Looked at in one turn: a round through the table takes a few seconds, a turn a millisecond."""
CHUNKS_IN_WINDOW = 16
CHUNK_BYTES_MAX = 4 << 20

_PLAIN = ("id", "queue", "task", "body", "max_deliveries", "properties")
_special = attrgetter(*(name for name in Message.__struct_fields__ if name not in _PLAIN))
_NOTHING_SPECIAL = _special(Message("", "", "", b""))

Gone = list[tuple["Journal", int, Message]]


class Pages:
    """The window of messages in memory, and the index of what is beyond it."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.chunk_bytes = min(CHUNK_BYTES_MAX, window_bytes // CHUNKS_IN_WINDOW)
        """Read at once for a queue whose turn has come."""
        self.resident_bytes = 0
        self.lanes: list[tuple[str, Kind]] = []
        """(queue, kind) by number."""
        self.may_go: Callable[[Journal, int, Message], bool] = lambda journal, sequence, message: True
        """Whether a message is not needed in memory."""
        self.on_gone: Callable[[Gone], None] = lambda gone: None
        """Told which messages have left the memory, in the order in which they came."""
        self.on_settled: Callable[[Journal, int, Header, int], None] = lambda journal, sequence, header, size: None
        """Told of a paged message that was settled, and of the size of its body."""
        self._lane_numbers: dict[tuple[str, Kind], int] = {}
        self._ids = IdTable()
        """Ids of paged messages, to number of the journal << 40 | sequence."""
        self._journals: dict[int, Journal] = {}
        self._numbers: dict[bytes, int] = {}
        self._next_number = 1
        self._candidates: deque[tuple[int, Journal, int]] = deque()
        """(mark, journal, sequence) of messages that came while the window was full."""
        self._to_sweep = 0

    # -- messages come and go --------------------

    def came(self, journal: Journal, sequence: int, message: Message, mark: int) -> None:
        """A message is in memory, and on the disk from ``mark`` on."""
        self.resident_bytes += OVERHEAD_BYTES + len(message.body)
        if self.resident_bytes > self.window_bytes:
            self._candidates.append((mark, journal, sequence))

    def left(self, message: Message) -> None:
        """A message in memory was settled."""
        self.resident_bytes -= OVERHEAD_BYTES + len(message.body)

    def settle(self, journal: Journal, sequence: int) -> Header | None:
        """Forget a paged message; returns what was known of it."""
        place = journal.paged.pop(sequence)
        if place is None:
            return None
        header = self.header(place.lane, place.key)
        self._ids.pop(place.key)
        self.on_settled(journal, sequence, header, place.size)
        return header

    def drop(self, journal: Journal) -> None:
        """Forget all messages of a journal."""
        for entry in journal.live.values():
            if type(entry) is Message:
                self.left(entry)
        journal.live.clear()
        journal.paged.clear()
        number = self._numbers.pop(journal.name, None)
        if number is not None:
            del self._journals[number]
            self._to_sweep = 2  # rounds: of the present one a part is over

    @property
    def is_full(self) -> bool:
        """Whether what comes now has to leave again."""
        return self.resident_bytes > self.window_bytes

    # -- out and in --------------------

    def page_out(self, durable_mark: int) -> None:
        """Let go what is durable by now, as far as the window is too full."""
        candidates = self._candidates
        if not candidates or candidates[0][0] > durable_mark:
            return
        gone: Gone = []
        while candidates and candidates[0][0] <= durable_mark:
            _, journal, sequence = candidates.popleft()
            message = journal.live.get(sequence)
            if type(message) is not Message or not self.is_full or not self.may_go(journal, sequence, message):
                continue
            if self.add(journal, sequence, message):
                del journal.live[sequence]
                self.left(message)
                gone.append((journal, sequence, message))
        if gone:
            self.on_gone(gone)

    def add(self, journal: Journal, sequence: int, message: Message) -> bool:
        """Index a message that is on the disk; False when it has to stay in memory.

        One that was tried before, has a countdown or else more to it than a body and a place in line is not worth an index of its own,
        nor is a second one with the same id, of which one is about to be settled.
        """
        properties = message.properties
        stays = properties is not None and (properties.transient or properties.deaths)
        if stays or _special(message) != _NOTHING_SPECIAL or len(self.lanes) >= LANES_MAX:
            return False
        number = self._numbers.get(journal.name)
        if number is None:
            number = self._numbers[journal.name] = self._next_number
            self._journals[number] = journal
            self._next_number += 1
        key = self._ids.add(message.id, number << SEQUENCE_BITS | sequence)
        if key is None:
            return False
        journal.paged.add(sequence, key, self.lane_number(message.queue, kind_of(message)), len(message.body))
        return True

    def page_in(self, journal: Journal, sequence: int, message: Message) -> bool:
        """A paged message is in memory again; False when it was settled meanwhile."""
        place = journal.paged.pop(sequence)
        if place is None:
            return False
        self._ids.pop(place.key)
        journal.live[sequence] = message
        self.resident_bytes += OVERHEAD_BYTES + len(message.body)
        return True

    # -- questions --------------------

    def find(self, id: str) -> tuple[Journal, int] | None:
        """Where the paged message with this id is."""
        if not self._ids.may_have(id):
            return None
        found = self._ids.get(key_of(id))
        journal = self._journals.get(found >> SEQUENCE_BITS) if found is not None else None
        return (journal, found & SEQUENCE_MASK) if journal is not None and found is not None else None

    def header(self, lane: int, key: bytes) -> Header:
        """A paged message without its body."""
        queue, kind = self.lanes[lane]
        return Header(self._ids.id_of(key), queue, kind[0], b"", properties=properties_of(kind))

    def lane_number(self, queue: str, kind: Kind) -> int:
        """The number of a queue's lane."""
        lane = (queue, kind)
        number = self._lane_numbers.get(lane)
        if number is None:
            number = self._lane_numbers[lane] = len(self.lanes)
            self.lanes.append(lane)
        return number

    def sweep(self) -> None:
        """Forget, little by little, the ids of journals that were dropped."""
        if self._to_sweep:
            journals = self._journals
            if self._ids.sweep(lambda number: number >> SEQUENCE_BITS in journals, SWEEP_BUCKETS):
                self._to_sweep -= 1
