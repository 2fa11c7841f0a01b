"""A state file that survives damage: the damaged one is put aside, what can be read of it is kept for later, and an empty one takes its
place (R20). Nothing that was damaged is ever deleted.

    state.db.salvaged            the new file, while it is made
    state.db.damaged-<instant>   the damaged one; its write-ahead log beside it
    damage-<instant>.json        what was found (mesh/storage/damage.py)
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from mesh.core.effects import Batch, Gap, Restored
from mesh.errors import StateDamaged, StateRefused
from mesh.storage import damage, salvage
from mesh.storage.damage import Damage
from mesh.storage.home import sync_directory
from mesh.storage.sqlite import SqliteStore, kept_log_of, log_of

log = logging.getLogger("mesh.storage")


class HealingStore:
    """Implements :class:`mesh.storage.base.Store` on the file ``path``, as SqliteStore, but heals a damaged file instead of refusing it.

    Raises StateLocked, StateTooNew, StateRefused (not ours, not writable, or no room to salvage), DiskFull, DiskFailed.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._clock = clock
        self._fresh = path.with_name(f"{path.name}.salvaged")
        self._finish_what_was_begun()
        try:
            self._store = SqliteStore(path)
        except StateDamaged as error:
            self._heal(error)

    def load(self) -> Restored:
        """All that was committed, with the remains of a damaged file until they are dealt with. Raises DiskFull, DiskFailed.

        The going through the entries raises StateDamaged when one of them is; the file is healed then, and ``load`` tells what it has.
        """
        try:
            restored = self._store.load()
        except StateDamaged as error:
            self._store.close()
            self._heal(error)
            restored = self._store.load()
        restored.entries = self._entries(restored.entries)
        return restored

    def _entries(self, entries: Iterable[tuple[bytes, int, bytes]]) -> Iterator[tuple[bytes, int, bytes]]:
        try:
            yield from entries
        except StateDamaged as error:
            self._store.close()
            self._heal(error)
            raise

    def commit(self, batch: Batch) -> None:
        """As SqliteStore.commit."""
        self._store.commit(batch)

    def read(self, journal: bytes, sequences: Sequence[int]) -> list[bytes | None]:
        """As SqliteStore.read."""
        return self._store.read(journal, sequences)

    def get_meta(self, key: str) -> bytes | None:
        """As SqliteStore.get_meta."""
        return self._store.get_meta(key)

    def set_meta(self, key: str, value: bytes) -> None:
        """As SqliteStore.set_meta."""
        self._store.set_meta(key, value)

    def close(self) -> None:
        """Give the state directory free."""
        self._store.close()

    def recovered(self, kept: int, lost: list[Gap]) -> list[str]:
        """The node has got back what others hold: tell so in the report. Returns what nobody has, for people."""
        lines = damage.describe(lost)
        reports = [found for _, found in damage.reports(self._path.parent)]
        for found in [found for found in reports if not found.whole_at] or reports[-1:]:
            found.whole_at, found.kept, found.lost = self._clock(), kept, lines
            self._report(found)
        return lines

    # -- healing --------------------

    def _heal(self, error: StateDamaged) -> None:
        """Put the damaged file aside and open one that holds its remains."""
        now_s = self._clock()
        while self._aside(now_s).exists():
            now_s += 1
        kept_log = kept_log_of(self._path)
        try:
            remains = salvage.read(self._path, kept_log if kept_log.exists() else log_of(self._path))
            self._remove_fresh()
        except OSError as problem:
            raise StateRefused(f"{error}, and can't be read: {problem}") from problem
        store = SqliteStore(self._fresh)  # whose lock keeps a second process from doing the same
        try:
            store.seed(remains, str(error))
        finally:
            store.close()
        found = Damage(
            found_at=now_s,
            what=str(error),
            file=self._aside(now_s).name,
            salvaged=len(remains.salvage.entries),
            unreadable=damage.describe(remains.salvage.gaps),
        )
        self._report(found)
        self._exchange(now_s)
        log.error(
            "%s; it was put aside as %s; %d entries could be read, %d places could not; the node gets back what others hold",
            found.what,
            found.file,
            found.salvaged,
            len(remains.salvage.gaps),
        )
        self._store = SqliteStore(self._path)

    def _report(self, found: Damage) -> None:
        try:
            damage.write(self._path.parent, found)
        except OSError as problem:  # the log has it as well
            log.warning("the report of the damage can't be written: %s", problem)

    def _aside(self, now_s: float) -> Path:
        return self._path.with_name(f"{self._path.name}.damaged-{damage.stamp(now_s)}")

    def _exchange(self, now_s: float) -> None:
        """Each rename is one step that the next start can go on from: while the new file has its own name, it is not in use."""
        aside = self._aside(now_s)
        try:
            if self._path.exists():
                self._path.rename(aside)
            for old in (log_of(self._path), kept_log_of(self._path)):  # a log beside another file would be applied to it
                if old.exists():
                    old.rename(aside.with_name(f"{aside.name}{old.name.removeprefix(self._path.name)}"))
            sync_directory(self._path.parent)
            self._fresh.rename(self._path)
            sync_directory(self._path.parent)
        except OSError as problem:
            raise StateRefused(f"{self._path} is damaged and can't be put aside: {problem}") from problem

    def _finish_what_was_begun(self) -> None:
        """A former process may have died while it healed."""
        if self._fresh.exists():
            if self._path.exists():
                SqliteStore(self._fresh).close()  # raises StateLocked when it does so now
                self._remove_fresh()  # it may not be complete; the damaged file is where it was
            else:
                self._exchange(self._clock())

    def _remove_fresh(self) -> None:
        for path in (self._fresh, log_of(self._fresh)):
            path.unlink(missing_ok=True)
