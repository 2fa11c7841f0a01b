"""Which messages a node has in memory whole, and what it knows of those that lie on its disk only (decision 060).

As long as all messages fit into the window nothing is done. What comes beyond it passes through: it is indexed at once, and forgotten when
it is durable. What can't, as its queue has nothing on the disk yet, is paged out once it is durable; the oldest stay.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING

from mesh.core.cluster.paged import Header
from mesh.core.id_table import IdTable, key_of
from mesh.core.kinds import Kind, expires, is_for_declared, kind_of, properties_of
from mesh.wire.entries import Message

if TYPE_CHECKING:
    from mesh.core.cluster.replica import Journal

OVERHEAD_BYTES = 800
"""What a message in memory takes beside its body, about."""
LANES_MAX = 1 << 16
SEQUENCE_BITS = 40
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1
SWEEP_IDS = 8_000
"""Looked at in one tick: a round through a million takes a few seconds, a tick a few milliseconds."""
CHUNKS_IN_WINDOW = 16
CHUNK_BYTES_MAX = 4 << 20

_PLAIN = ("id", "queue", "task", "body", "eta_ms", "max_deliveries", "properties")
_special = attrgetter(*(name for name in Message.__struct_fields__ if name not in _PLAIN))
_NOTHING_SPECIAL = _special(Message("", "", "", b""))


class Due(Enum):
    """What lies in one lane has several numbers in the index: each is a line of its own, in the order of the sequences."""

    ALWAYS = 0
    LATER = 1
    NOW = 2
    """It was delayed, and has come to be due."""


Gone = list[tuple["Journal", int, Message]]


class Pages:
    """The window of messages in memory, and the index of what is beyond it."""

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.chunk_bytes = min(CHUNK_BYTES_MAX, window_bytes // CHUNKS_IN_WINDOW)
        """Read at once for a queue whose turn has come."""
        self.resident_bytes = 0
        self.fleeting_bytes = 0
        """Of messages that are in memory only, and can't leave it."""
        self.lanes: list[tuple[str, Kind]] = []
        """(queue, kind) by number."""
        self.declared: set[int] = set()
        """Lanes of which some message was routed to a declared queue."""
        self.delayed_lanes: set[int] = set()
        """Those of what is not due yet."""
        self.mortal: set[int] = set()
        """Lanes of which some message expires."""
        self.may_go: Callable[[Journal, int, Message], bool] = lambda journal, sequence, message: True
        """Whether a message is not needed in memory."""
        self.on_gone: Callable[[Gone], None] = lambda gone: None
        """Told which messages have left the memory, in the order in which they came."""
        self.on_settled: Callable[[Journal, int, Header, int], None] = lambda journal, sequence, header, size: None
        """Told of a paged message that was settled, and of the size of its body."""
        self._lane_numbers: dict[tuple[str, Kind, Due], int] = {}
        self._ids = IdTable()
        """Ids of paged messages, to number of the journal << 40 | sequence."""
        self._journals: dict[int, Journal] = {}
        self._numbers: dict[bytes, int] = {}
        self._next_number = 1
        self.may_pass: Callable[[list[str], set[int]], bool] = lambda ids, lanes: True
        """Whether new messages with these ids, of these lanes, can do without a place in memory from the first."""
        self.on_passed: Callable[[Journal, Sequence[int], Sequence[int], Sequence[int]], None] = lambda journal, sequences, lanes, sizes: (
            None
        )
        """Told of those that do: their sequences, and for each its lane and the size of its body."""
        self._passing: deque[tuple[int, Journal, Sequence[int]]] = deque()
        """(mark, journal, sequences) of messages that are indexed and will be on the disk from the mark on."""
        self._candidates: deque[tuple[int, Journal, int]] = deque()
        """(mark, journal, sequence) of messages that came while the window was full."""
        self._to_sweep = 0

    # -- messages come and go --------------------

    def came(self, journal: Journal, sequence: int, message: Message, mark: int) -> None:
        """A message is in memory, and, unless its journal is fleeting, on the disk from ``mark`` on."""
        if journal.fleeting:
            self.fleeting_bytes += OVERHEAD_BYTES + len(message.body)
            return
        self.resident_bytes += OVERHEAD_BYTES + len(message.body)
        if self.resident_bytes > self.window_bytes:
            self._candidates.append((mark, journal, sequence))

    def pass_through(self, journal: Journal, sequences: Sequence[int], messages: Sequence[Message], mark: int) -> bool:
        """Index new messages, which are on the disk from ``mark`` on, and keep them in ``passing`` until then.

        False, and nothing is changed, when there is room, or one of them has to stay in memory.
        """
        size = OVERHEAD_BYTES * len(messages) + sum([len(message.body) for message in messages])
        if self.resident_bytes + size <= self.window_bytes or not self.add_many(journal, sequences, messages):
            return False
        journal.passing.update(zip(sequences, messages, strict=True))
        self._passing.append((mark, journal, sequences))
        return True

    def left(self, journal: Journal, message: Message) -> None:
        """A message in memory was settled."""
        if journal.fleeting:
            self.fleeting_bytes -= OVERHEAD_BYTES + len(message.body)
        else:
            self.resident_bytes -= OVERHEAD_BYTES + len(message.body)

    def settle(self, journal: Journal, sequence: int) -> Header | None:
        """Forget a paged message; returns what was known of it."""
        place = journal.paged.pop(sequence)
        if place is None:
            return None
        journal.passing.pop(sequence, None)
        header = self.header(place.lane, place.key)
        self._ids.pop(place.key)
        if not journal.paged:
            journal.delayed.clear()
        self.on_settled(journal, sequence, header, place.size)
        return header

    def drop(self, journal: Journal) -> None:
        """Forget all messages of a journal."""
        for entry in journal.live.values():
            if type(entry) is Message:
                self.left(journal, entry)
        journal.live.clear()
        journal.paged.clear()
        journal.passing.clear()
        journal.delayed.clear()
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
        passing, candidates = self._passing, self._candidates
        while passing and passing[0][0] <= durable_mark:
            _, journal, sequences = passing.popleft()
            for sequence in sequences:
                journal.passing.pop(sequence, None)
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
                self.left(journal, message)
                gone.append((journal, sequence, message))
        if gone:
            self.on_gone(gone)

    def add(self, journal: Journal, sequence: int, message: Message) -> bool:
        """Index a message that is on the disk; False when it has to stay in memory.

        One that was tried before, or else has more to it than a body, an instant and a place in line, is not worth an index of its own, nor
        is a second one with the same id, of which one is about to be settled.
        """
        if _stays(message) or len(self.lanes) >= LANES_MAX:
            return False
        key = self._ids.add(message.id, self._place(journal, sequence))
        if key is None:
            return False
        lane = self._lane(message)
        journal.paged.add(sequence, key, lane, len(message.body))
        if message.eta_ms:
            journal.delayed.add(sequence, message.eta_ms)
        self._note_traits(lane, message)
        return True

    def _note_traits(self, lane: int, message: Message) -> None:
        if is_for_declared(message):
            self.declared.add(lane)
        if expires(message):
            self.mortal.add(lane)

    def _place(self, journal: Journal, sequence: int) -> int:
        number = self._numbers.get(journal.name)
        if number is None:
            number = self._numbers[journal.name] = self._next_number
            self._journals[number] = journal
            self._next_number += 1
        return number << SEQUENCE_BITS | sequence

    def add_many(self, journal: Journal, sequences: Sequence[int], messages: Sequence[Message]) -> bool:
        """Index messages, ascending, that come after all that are indexed of their journal; False when one has to stay in memory."""
        if any(map(_stays, messages)):
            return False
        ids = [message.id for message in messages]
        lanes = [self._lane(message) for message in messages]
        if max(lanes) >= LANES_MAX or not self.may_pass(ids, set(lanes)):
            return False
        place = self._place(journal, 0)
        keys = self._ids.add_many(ids, [place | sequence for sequence in sequences])
        if keys is None:
            return False
        sizes = [len(message.body) for message in messages]
        journal.paged.extend(sequences, keys, lanes, sizes)
        for lane, message in zip(lanes, messages, strict=True):
            if message.properties is not None:
                self._note_traits(lane, message)
        if not self.delayed_lanes.isdisjoint(lanes):
            journal.delayed.add_many(sequences, [message.eta_ms for message in messages])
        self.on_passed(journal, sequences, lanes, sizes)
        return True

    def are_due(self, journal: Journal, sequences: Sequence[int], lane: int) -> int:
        """Paged messages that were in a lane have come to be due; returns the number of the lane that they are in from now on."""
        number = self.lane_number(*self.lanes[lane], Due.NOW)
        for sequence in sequences:
            journal.paged.move(sequence, number)
        for lanes in (self.declared, self.mortal):
            if lane in lanes:
                lanes.add(number)
        return number

    def page_in(self, journal: Journal, messages: dict[int, Message]) -> dict[int, Message]:
        """Paged messages, ascending, are in memory again; returns them without those that were settled meanwhile."""
        found, keys = journal.paged.take(list(messages))
        if len(found) < len(messages):
            messages = {sequence: messages[sequence] for sequence in found}
        self._ids.discard_many(keys)
        journal.live.update(messages)
        self.resident_bytes += OVERHEAD_BYTES * len(messages) + sum([len(message.body) for message in messages.values()])
        return messages

    # -- questions --------------------

    def find(self, id: str) -> tuple[Journal, int] | None:
        """Where the paged message with this id is."""
        if not self._ids.may_have(id):
            return None
        found = self._ids.get(key_of(id))
        journal = self._journals.get(found >> SEQUENCE_BITS) if found is not None else None
        return (journal, found & SEQUENCE_MASK) if journal is not None and found is not None else None

    def header(self, lane: int, key: bytes) -> Header:
        """A paged message without its body; its ``eta_ms`` is 1 while it is not due."""
        queue, kind = self.lanes[lane]
        eta_ms = 1 if lane in self.delayed_lanes else 0
        return Header(self._ids.id_of(key), queue, kind[0], b"", eta_ms=eta_ms, properties=properties_of(kind))

    def _lane(self, message: Message) -> int:
        return self.lane_number(message.queue, kind_of(message), Due.LATER if message.eta_ms else Due.ALWAYS)

    def lane_number(self, queue: str, kind: Kind, due: Due = Due.ALWAYS) -> int:
        """The number of a queue's lane."""
        lane = (queue, kind, due)
        number = self._lane_numbers.get(lane)
        if number is None:
            number = self._lane_numbers[lane] = len(self.lanes)
            self.lanes.append((queue, kind))
            if due is Due.LATER:
                self.delayed_lanes.add(number)
        return number

    def sweep(self) -> None:
        """Forget, little by little, the ids of journals that were dropped."""
        if self._to_sweep:
            journals = self._journals
            if self._ids.sweep(lambda number: number >> SEQUENCE_BITS in journals, SWEEP_IDS):
                self._to_sweep -= 1


def _stays(message: Message) -> bool:
    """Whether there is more to a message than the index can tell."""
    properties = message.properties
    if properties is not None and (properties.transient or properties.deaths or 0 < properties.expires_ms < message.eta_ms):
        return True
    return _special(message) != _NOTHING_SPECIAL
