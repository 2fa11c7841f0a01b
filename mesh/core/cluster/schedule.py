"""When which messages of a journal are due whose bodies are on the disk only (decision 081): 8 bytes for each."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable

BUCKET_BITS = 14
"""Instants within 16 s share a bucket, so that a year of them is not a million buckets."""
BUCKET_MASK = (1 << BUCKET_BITS) - 1
SEQUENCE_BITS = 40
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1


class Schedule:
    """Sequences by their instant, in ms. Only the bucket that is next is kept in order."""

    __slots__ = ("_buckets", "_heap", "_ordered")

    def __init__(self) -> None:
        self._buckets: dict[int, array[int]] = {}
        """Instant within the bucket << 40 | sequence."""
        self._heap: list[int] = []
        self._ordered: int | None = None
        """The bucket whose last is the earliest."""

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, sequence: int, at_ms: int) -> None:
        """Note when a message is due."""
        number = at_ms >> BUCKET_BITS
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = array("Q")
            heapq.heappush(self._heap, number)
        bucket.append((at_ms & BUCKET_MASK) << SEQUENCE_BITS | sequence)
        if number == self._ordered:
            self._ordered = None

    def add_many(self, sequences: Iterable[int], instants_ms: Iterable[int]) -> None:
        """As ``add`` for those that have an instant, which is not 0."""
        for sequence, at_ms in zip(sequences, instants_ms, strict=True):
            if at_ms:
                self.add(sequence, at_ms)

    def take(self, until_ms: int, limit: int) -> list[int]:
        """Forget what is due by then, at most so many, earliest first; returns the sequences."""
        taken: list[int] = []
        while self._heap and self._heap[0] << BUCKET_BITS <= until_ms and len(taken) < limit:
            number = self._heap[0]
            if number != self._ordered:
                self._buckets[number] = array("Q", sorted(self._buckets[number], reverse=True))
                self._ordered = number
            bucket, last = self._buckets[number], until_ms - (number << BUCKET_BITS)
            while bucket and len(taken) < limit and bucket[-1] >> SEQUENCE_BITS <= last:
                taken.append(bucket.pop() & SEQUENCE_MASK)
            if bucket:
                break
            heapq.heappop(self._heap)
            del self._buckets[number]
        return taken

    def clear(self) -> None:
        """Forget all."""
        self._buckets.clear()
        self._heap.clear()
        self._ordered = None
