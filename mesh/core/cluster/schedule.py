"""When which messages of a journal are due whose bodies are on the disk only (decision 081): 8 bytes for each."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable

BUCKET_BITS = 12
"""Instants within 4 s share a bucket: few are put in order at once."""
BUCKET_MASK = (1 << BUCKET_BITS) - 1
SEQUENCE_BITS = 40
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


class Schedule:
    """Sequences by their instant, in ms. Only the bucket that is next is a heap."""

    __slots__ = ("_buckets", "_next", "_numbers", "_opened")

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}
        """Instant within the bucket << 40 | sequence."""
        self._numbers: list[int] = []
        """Of the buckets, as a heap."""
        self._opened: int | None = None
        """The number of the bucket that is in ``next``."""
        self._next: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._numbers or self._next)

    def add(self, sequence: int, at_ms: int) -> None:
        """Note when a message is due."""
        number, place = at_ms >> BUCKET_BITS, (at_ms & BUCKET_MASK) << SEQUENCE_BITS | sequence
        if number == self._opened:
            heapq.heappush(self._next, place)
            return
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = array("Q")
            heapq.heappush(self._numbers, number)
        bucket.append(place)

    def add_many(self, sequences: Iterable[int], instants_ms: Iterable[int]) -> None:
        """As ``add`` for those that have an instant, which is not 0."""
        for sequence, at_ms in zip(sequences, instants_ms, strict=True):
            if at_ms:
                self.add(sequence, at_ms)

    def take(self, until_ms: int, limit: int) -> list[int]:
        """Forget what is due by then, at most so many, earliest first; returns the sequences."""
        taken: list[int] = []
        while self._open(until_ms >> BUCKET_BITS) and len(taken) < limit:
            assert self._opened is not None
            heap, last = self._next, until_ms - (self._opened << BUCKET_BITS)
            while heap and len(taken) < limit and heap[0] >> SEQUENCE_BITS <= last:
                taken.append(heapq.heappop(heap) & SEQUENCE_MASK)
            if heap:
                break
        return taken

    def _open(self, until: int) -> bool:
        """Have the first bucket in ``next``, if its number is at most this one."""
        numbers = self._numbers
        if self._next and self._opened is not None:
            if not numbers or numbers[0] > self._opened:
                return self._opened <= until
            # one that came later is earlier
            self._buckets[self._opened] = array("Q", self._next)
            heapq.heappush(numbers, self._opened)
        self._next, self._opened = [], None
        if not numbers or numbers[0] > until:
            return False
        self._opened = heapq.heappop(numbers)
        self._next = list(self._buckets.pop(self._opened))
        heapq.heapify(self._next)
        return True

    def clear(self) -> None:
        """Forget all."""
        self._buckets.clear()
        self._numbers.clear()
        self._next, self._opened = [], None
