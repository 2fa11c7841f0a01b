"""A node's state in memory, for embedded nodes: it lasts as long as the object."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.core.effects import Batch, Restored
from mesh.wire.messages import HeadState


class MemoryStore:
    """Implements :class:`mesh.storage.base.Store` without a disk. ``close`` forgets nothing: the same object can be loaded again."""

    def __init__(self) -> None:
        self._journals: dict[bytes, dict[int, bytes]] = {}
        self._heads: dict[bytes, HeadState] = {}
        self._vote = (0, "")
        self._meta: dict[str, bytes] = {}

    def load(self) -> Restored:
        """All that was committed; the entries of one journal lie together, ascending."""
        entries = [(journal, sequence, live[sequence]) for journal, live in self._journals.items() for sequence in sorted(live)]
        return Restored(term=self._vote[0], voted_for=self._vote[1], heads=list(self._heads.values()), entries=entries)

    def commit(self, batch: Batch) -> None:
        """Apply the batch; one that was applied before changes nothing."""
        for journal in batch.dropped:
            self._journals.pop(journal, None)
            self._heads.pop(journal, None)
        for journal, sequence, blob in batch.entries:
            self._journals.setdefault(journal, {})[sequence] = blob
        for journal, sequence in batch.settled:
            self._journals.get(journal, {}).pop(sequence, None)
        self._heads.update(batch.heads)
        if batch.vote is not None:
            self._vote = batch.vote

    def read(self, journal: bytes, sequences: Sequence[int]) -> list[bytes | None]:
        """The rows of committed entries, None for one that is not there."""
        return [self._journals.get(journal, {}).get(sequence) for sequence in sequences]

    def get_meta(self, key: str) -> bytes | None:
        """A small value kept beside the entries, or None."""
        return self._meta.get(key)

    def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small value."""
        self._meta[key] = value

    def close(self) -> None:
        """Nothing to give free."""
