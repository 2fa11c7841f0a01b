"""Kept results at the coordinator: by task id, the oldest go first (promise 7: bounded)."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator

from mesh.config import Settings
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.id_table import IdTable, key_of
from mesh.wire.entries import Entry, Failure, Result, Status

OVERHEAD_BYTES = 300
"""What a kept result costs beyond its body, roughly."""


REMOVED_MAX = 50_000
"""Ids of removed results that a node remembers, at least half as many, the last ones; about 1.5 MB."""
REMOVED = "mesh.errors.ResultRemoved"


class Removed:
    """Ids whose result was removed, as far as this node has seen it: a deputy sees it too, and can say so after a takeover.

    Two tables, the older of which goes as a whole: to forget one id for each that comes costs more.
    """

    def __init__(self, replica: Replica) -> None:
        self._last = IdTable()
        self._before = IdTable()
        replica.on_settled.append(self._on_settled)

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Result):
            if len(self._last) >= REMOVED_MAX // 2:
                self._last, self._before = IdTable(), self._last
            self._last.add_key(key_of(entry.id), 0)

    def __len__(self) -> int:
        return len(self._last) + len(self._before)

    def __contains__(self, id: str) -> bool:
        key = key_of(id)
        return self._last.get(key) is not None or self._before.get(key) is not None

    @staticmethod
    def result(id: str) -> Result:
        """What is told of such a task instead of its result."""
        text = f"task {id} is over, and its result was removed: results are kept for result_expires_s, the newest max_results_bytes of them"
        return Result(id, int(Status.REMOVED), failure=Failure(REMOVED, text))


class Results:
    """Results with their dots, bounded by age and by bytes."""

    def __init__(
        self, settings: Settings, settle: Callable[[Journal, int], object], is_held: Callable[[Result], bool] = lambda result: False
    ) -> None:
        self._settings = settings
        self._settle = settle
        self._by_id: dict[str, tuple[Journal, int, Result]] = {}
        self._oldest: list[tuple[int, str, int]] = []
        """A heap of (time, id, sequence): after a takeover or a merge results do not come in the order of their time."""
        self.bytes = 0
        """Of all but those that were set aside."""
        self.evicted = 0
        """Results that had to go before their time."""
        self._is_held = is_held
        """Whether a workflow still needs a result."""
        self._aside: dict[str, tuple[int, str, int]] = {}
        """Results that would have gone, and are held: as in the heap. There are no more of them than live messages that need them."""
        self._unwanted: set[str] = set()
        """Results that nobody but a workflow needs: they go when it does not, either."""

    def get(self, id: str) -> Result | None:
        """The result of a task, or None."""
        found = self._by_id.get(id)
        return found[2] if found is not None else None

    def __contains__(self, id: str) -> bool:
        return id in self._by_id

    def all(self) -> Iterator[Result]:
        """Every result; nothing may be changed on the way."""
        return (result for _, _, result in self._by_id.values())

    def has_any(self, ids: Iterable[str]) -> bool:
        """Whether there is a result of one of these tasks."""
        return not self._by_id.keys().isdisjoint(ids)

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, result: Result, journal: Journal, sequence: int) -> None:
        """Keep a result. Of two for one task the one with the lowest (time, dot) stands on every side of a split (R28)."""
        known = self._by_id.get(result.id)
        if known is not None:
            if (known[2].at_ms, known[0].name, known[1]) <= (result.at_ms, journal.name, sequence):
                self._settle(journal, sequence)
                return
            self._drop(result.id)
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
            too_much = self.bytes > self._settings.max_results_bytes
            if not too_much and at_ms + self._settings.result_expires_s * 1000 > wall_ms:
                return
            oldest = heapq.heappop(self._oldest)
            if self._is_held(known[2]):
                self._aside[id] = oldest
                self.bytes -= _size(known[2])
                continue
            self.evicted += too_much
            self.take_back(id)

    def release(self, id: str) -> None:
        """A workflow may need this result no more."""
        if id not in self._aside and id not in self._unwanted:
            return
        known = self._by_id.get(id)
        if known is None or self._is_held(known[2]):
            return
        if id in self._unwanted:
            self.take_back(id)
        elif id in self._aside:
            heapq.heappush(self._oldest, self._aside.pop(id))
            self.bytes += _size(known[2])

    def forget(self, id: str) -> bool:
        """Nobody asks for this result any more: settle it, as soon as no workflow needs it; False when there is none."""
        known = self._by_id.get(id)
        if known is not None and self._is_held(known[2]):
            self._unwanted.add(id)
            return True
        return self.take_back(id)

    def take_back(self, id: str) -> bool:
        """Settle one result, whoever needs it; False when there is none."""
        known = self._by_id.get(id)
        if known is None:
            return False
        self._drop(id)
        self._settle(known[0], known[1])
        return True

    def _drop(self, id: str) -> None:
        _, _, result = self._by_id.pop(id)
        self._unwanted.discard(id)
        if self._aside.pop(id, None) is None:
            self.bytes -= _size(result)

    def lost(self, journal: Journal, sequence: int, id: str) -> None:
        """The entry was settled elsewhere."""
        known = self._by_id.get(id)
        if known is not None and known[0] is journal and known[1] == sequence:
            self._drop(id)


def _size(result: Result) -> int:
    large = result.chunks.size if result.chunks is not None else 0
    return OVERHEAD_BYTES + len(result.body) + large + (len(result.failure.traceback) if result.failure is not None else 0)
