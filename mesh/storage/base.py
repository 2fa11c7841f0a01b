"""What a node needs of a disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mesh.core.effects import Batch, Restored


class Store(Protocol):
    """One node's state. ``load`` and ``commit`` run in different threads, never at once."""

    def load(self) -> Restored:
        """All that was committed. Raises StateDamaged, StateTooNew; so may the going through its entries: then try once more."""

    def commit(self, batch: Batch) -> None:
        """Make the batch durable as one transaction; returns after fsync.

        Raises DiskFailed on any error of the disk: the process must then end, as a failed fsync may have dropped pages that a
        second one reports as written (Rebello et al., "Can Applications Recover from fsync Failures?", 2020; rule R7).
        """

    def read(self, journal: bytes, sequences: Sequence[int]) -> list[bytes | None]:
        """The rows of committed entries, asked for in ascending order, None for one that is not there; in the thread that commits.

        Raises StateDamaged, DiskFailed.
        """

    def get_meta(self, key: str) -> bytes | None:
        """A small value kept beside the entries, or None."""

    def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small value; durable on return."""

    def close(self) -> None:
        """Give the state directory free."""
