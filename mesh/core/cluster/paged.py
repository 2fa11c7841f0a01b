"""The live messages of one journal whose bodies are on the disk only: what has to be known of them without reading it.

Decision 060. A queue's tail is paged out once it is durable, and read again when its turn comes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mesh.core.id_table import KEY_BYTES
from mesh.wire.entries import Message

CHUNK_BITS = 10
CHUNK_MASK = (1 << CHUNK_BITS) - 1


class Header(Message, array_like=True, tag=1, gc=False):
    """A message whose body is not in memory: for those who need its id, queue and kind (mesh/core/kinds.py)."""


class Place(NamedTuple):
    """What is known of a paged message."""

    key: bytes
    """Of its id (mesh/core/id_table.py)."""
    lane: int
    """Number of its (queue, kind)."""
    size: int
    """Bytes of its body."""


class Stretch(NamedTuple):
    """The paged messages of one lane between two sequences of a journal."""

    lane: int
    first: int
    last: int
    messages: int
    size: int
    """Bytes of their bodies."""
    key: bytes
    """Of the first."""


class _Chunk:
    """Paged messages within 1,024 sequences: 24 bytes each, ascending."""

    __slots__ = ("keys", "lanes", "offsets", "sizes")

    def __init__(self) -> None:
        self.offsets = array("H")
        self.keys = bytearray()
        self.lanes = array("H")
        self.sizes = array("I")

    def insert(self, offset: int, key: bytes, lane: int, size: int) -> None:
        at = bisect_left(self.offsets, offset)
        self.offsets.insert(at, offset)
        self.keys[at * KEY_BYTES : at * KEY_BYTES] = key
        self.lanes.insert(at, lane)
        self.sizes.insert(at, size)

    def find(self, offset: int) -> int:
        offsets = self.offsets
        at = bisect_left(offsets, offset)
        return at if at < len(offsets) and offsets[at] == offset else -1

    def place(self, at: int) -> Place:
        return Place(bytes(self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]), self.lanes[at], self.sizes[at])

    def remove(self, at: int, end: int) -> bytes:
        """Take out what lies between two places; returns the keys."""
        keys = bytes(self.keys[at * KEY_BYTES : end * KEY_BYTES])
        del self.offsets[at:end], self.lanes[at:end], self.sizes[at:end], self.keys[at * KEY_BYTES : end * KEY_BYTES]
        return keys


class Paged:
    """The paged messages of one journal, by sequence."""

    __slots__ = ("_chunks", "_count")

    def __init__(self) -> None:
        self._chunks: dict[int, _Chunk] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, sequence: int) -> bool:
        chunk = self._chunks.get(sequence >> CHUNK_BITS)
        return chunk is not None and chunk.find(sequence & CHUNK_MASK) >= 0

    def add(self, sequence: int, key: bytes, lane: int, size: int) -> None:
        """Note a message that is not here yet."""
        number, offset = sequence >> CHUNK_BITS, sequence & CHUNK_MASK
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = _Chunk()
        self._count += 1
        if chunk.offsets and chunk.offsets[-1] > offset:
            chunk.insert(offset, key, lane, size)
            return
        chunk.offsets.append(offset)
        chunk.keys += key
        chunk.lanes.append(lane)
        chunk.sizes.append(size)

    def extend(self, sequences: Sequence[int], keys: bytes, lanes: Sequence[int], sizes: Sequence[int]) -> None:
        """Note messages, ascending, that come after all that are here."""
        start = 0
        while start < len(sequences):
            number = sequences[start] >> CHUNK_BITS
            chunk = self._chunks.get(number)
            if chunk is None:
                chunk = self._chunks[number] = _Chunk()
            end = bisect_left(sequences, (number + 1) << CHUNK_BITS, start)
            chunk.offsets.extend([sequence & CHUNK_MASK for sequence in sequences[start:end]])
            chunk.keys += keys[start * KEY_BYTES : end * KEY_BYTES]
            chunk.lanes.extend(lanes[start:end])
            chunk.sizes.extend(sizes[start:end])
            start = end
        self._count += len(sequences)

    def get(self, sequence: int) -> Place | None:
        """What is known of a message, None when it is not here."""
        chunk = self._chunks.get(sequence >> CHUNK_BITS)
        at = chunk.find(sequence & CHUNK_MASK) if chunk is not None else -1
        return chunk.place(at) if chunk is not None and at >= 0 else None

    def pop(self, sequence: int) -> Place | None:
        """Forget a message; returns what was known of it."""
        number = sequence >> CHUNK_BITS
        chunk = self._chunks.get(number)
        at = chunk.find(sequence & CHUNK_MASK) if chunk is not None else -1
        if chunk is None or at < 0:
            return None
        place = chunk.place(at)
        self._cut(number, at, at + 1)
        return place

    def take(self, sequences: Sequence[int]) -> tuple[list[int], bytes]:
        """Forget messages, ascending; returns which of them were here, and their keys."""
        found: list[int] = []
        keys = bytearray()
        start = 0
        while start < len(sequences):
            number = sequences[start] >> CHUNK_BITS
            end = bisect_left(sequences, (number + 1) << CHUNK_BITS, start)
            chunk = self._chunks.get(number)
            if chunk is not None:
                wanted = array("H", [sequence & CHUNK_MASK for sequence in sequences[start:end]])
                at = bisect_left(chunk.offsets, wanted[0])
                if chunk.offsets[at : at + len(wanted)] == wanted:  # as a rule: a run is read from its beginning
                    found += sequences[start:end]
                    keys += self._cut(number, at, at + len(wanted))
                else:
                    for sequence in sequences[start:end]:
                        place = self.pop(sequence)
                        if place is not None:
                            found.append(sequence)
                            keys += place.key
            start = end
        return found, bytes(keys)

    def _cut(self, number: int, at: int, end: int) -> bytes:
        chunk = self._chunks[number]
        keys = chunk.remove(at, end)
        self._count -= end - at
        if not chunk.offsets:
            del self._chunks[number]
        return keys

    def move(self, sequence: int, lane: int) -> None:
        """A message that is here belongs to another lane from now on."""
        chunk = self._chunks[sequence >> CHUNK_BITS]
        chunk.lanes[chunk.find(sequence & CHUNK_MASK)] = lane

    def clear(self) -> None:
        """Forget all."""
        self._chunks.clear()
        self._count = 0

    def walk(self, first: int, last: int) -> Iterator[tuple[int, int, int]]:
        """(sequence, lane, size) of each from ``first`` to ``last``, ascending; nothing may be changed on the way."""
        for number in self._numbers(first, last):
            chunk = self._chunks[number]
            base = number << CHUNK_BITS
            start = bisect_left(chunk.offsets, first - base) if first > base else 0
            end = bisect_right(chunk.offsets, last - base) if last < base + CHUNK_MASK else len(chunk.offsets)
            for at in range(start, end):
                yield base + chunk.offsets[at], chunk.lanes[at], chunk.sizes[at]

    def sequences(self, first: int, last: int) -> Iterator[int]:
        """As ``walk``, the sequences only."""
        for sequence, _, _ in self.walk(first, last):
            yield sequence

    def ranges(self) -> list[int]:
        """All sequences as [first, last, first, last, ...]."""
        ranges: list[int] = []
        for number in sorted(self._chunks):
            base, offsets = number << CHUNK_BITS, self._chunks[number].offsets
            if offsets[-1] - offsets[0] + 1 == len(offsets):  # as a rule: a queue's tail has no holes
                _extend(ranges, base + offsets[0], base + offsets[-1])
            else:
                for offset in offsets:
                    _extend(ranges, base + offset, base + offset)
        return ranges

    def runs(self) -> Iterator[Stretch]:
        """For each chunk and lane what is paged of it, in one."""
        for number in sorted(self._chunks):
            chunk, base = self._chunks[number], number << CHUNK_BITS
            for lane in sorted(set(chunk.lanes)):
                at = chunk.lanes.index(lane)
                sizes = [size for size, of in zip(chunk.sizes, chunk.lanes, strict=True) if of == lane]
                yield Stretch(lane, base + chunk.offsets[at], base + chunk.offsets[-1], len(sizes), sum(sizes), chunk.place(at).key)

    def _numbers(self, first: int, last: int) -> list[int]:
        low, high = first >> CHUNK_BITS, last >> CHUNK_BITS
        if high - low < len(self._chunks):
            return [number for number in range(low, high + 1) if number in self._chunks]
        return sorted(number for number in self._chunks if low <= number <= high)


def _extend(ranges: list[int], first: int, last: int) -> None:
    if ranges and ranges[-1] == first - 1:
        ranges[-1] = last
    else:
        ranges += (first, last)
