"""Kept results at the coordinator: by task id, the oldest go first (promise 7: bounded)."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from mesh.core.cluster.replica import Journal
from mesh.wire.entries import Result

OVERHEAD_BYTES = 300
"""What a kept result costs beyond its body, roughly."""


class Results:
    """Results with their dots, bounded by age and by bytes."""

    def __init__(self, expires_s: float, max_bytes: int, settle: Callable[[Journal, int], object]) -> None:
        self._expires_ms = int(expires_s * 1000)
        self._max_bytes = max_bytes
        self._settle = settle
        self._by_id: dict[str, tuple[Journal, int, Result]] = {}
        self._oldest: list[tuple[int, str, int]] = []
        """A heap of (time, id, sequence): after a takeover or a merge results do not come in the order of their time."""
        self.bytes = 0
        self.evicted = 0
        """Results that had to go before their time."""

    def get(self, id: str) -> Result | None:
        """The result of a task, or None."""
        found = self._by_id.get(id)
        return found[2] if found is not None else None

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, result: Result, journal: Journal, sequence: int) -> None:
        """Keep a result. Of two for one task the one with the lowest (time, dot) stands on every side of a split (R28)."""
        known = self._by_id.get(result.id)
        if known is not None:
            if (known[2].at_ms, known[0].name, known[1]) <= (result.at_ms, journal.name, sequence):
                self._settle(journal, sequence)
                return
            del self._by_id[result.id]
            self.bytes -= _size(known[2])
            self._settle(known[0], known[1])
        self._by_id[result.id] = (journal, sequence, result)
        heapq.heappush(self._oldest, (result.at_ms, result.id, sequence))
        self.bytes += _size(result)

    def expire(self, wall_ms: int) -> None:
        """Settle what is too old or too much."""
        while self._oldest:
            at_ms, id, sequence = self._oldest[0]
            known = self._by_id.get(id)
            if known is None or known[1] != sequence:
                heapq.heappop(self._oldest)
                continue
            too_much = self.bytes > self._max_bytes
            if not too_much and at_ms + self._expires_ms > wall_ms:
                return
            self.evicted += too_much
            heapq.heappop(self._oldest)
            self.forget(id)

    def forget(self, id: str) -> bool:
        """Settle one result; False when there is none."""
        known = self._by_id.pop(id, None)
        if known is None:
            return False
        self.bytes -= _size(known[2])
        self._settle(known[0], known[1])
        return True

    def lost(self, journal: Journal, sequence: int, id: str) -> None:
        """The entry was settled elsewhere."""
        known = self._by_id.get(id)
        if known is not None and known[0] is journal and known[1] == sequence:
            del self._by_id[id]
            self.bytes -= _size(known[2])


def _size(result: Result) -> int:
    large = result.chunks.size if result.chunks is not None else 0
    return OVERHEAD_BYTES + len(result.body) + large + (len(result.failure.traceback) if result.failure is not None else 0)
