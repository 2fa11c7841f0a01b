"""How much room the disk of a state directory has, and the reserve that lets a node settle when there is none (R21)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

RESERVE = "reserve"
"""The file that is given up when the disk is full."""
RESERVE_BYTES_MAX = 16 << 20
"""Four write-ahead logs of SQLite's usual length: room for many thousands of settlements, which make room in their turn."""
RESERVE_SHARE = 4
"""The reserve takes at most one part in so many of the room that publishers have to leave."""
NEAR = 4
"""The reserve is made when less than so many times that room is free: a disk that is far from full need not give up anything."""
CLEAR = 1.1
"""Publishers are let in again when so many times that room is free, so that one file does not switch them off and on."""
_BLOCK = bytes(1 << 16)


class Usage(NamedTuple):
    """Bytes of a disk; free for this user."""

    total: int
    used: int
    free: int


def least_free(total: int, reserve_bytes: int, reserve_fraction: float) -> int:
    """How many bytes are to be free on a disk of ``total``: below that it counts as nearly full."""
    return int(min(reserve_bytes, reserve_fraction * total))


class Room:
    """Watches the disk under ``folder``.

    The disk is nearly full when less is free than ``reserve_bytes`` or than ``reserve_fraction`` of it, whichever is less: a share alone
    would shut out a large disk with much room, a number alone every small one. ``usage`` is for tests.
    """

    def __init__(
        self, folder: Path, reserve_bytes: int, reserve_fraction: float, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    ) -> None:
        self._path = folder / RESERVE
        self.reserve_bytes = reserve_bytes
        self.reserve_fraction = reserve_fraction
        self._usage = usage
        self.low = ""
        """Why the disk counts as nearly full, for people; empty while it does not."""

    def look(self) -> str:
        """Measure; returns ``low``. A disk that does not answer is as it was."""
        try:
            usage = Usage(*self._usage(self._path.parent))
        except OSError:
            return self.low
        least = least_free(usage.total, self.reserve_bytes, self.reserve_fraction)
        if usage.free < least or (self.low and usage.free < CLEAR * least):
            free = f"{readable(usage.free)} of {readable(usage.total)} are free in {self._path.parent}"
            self.low = f"{free}; nothing new is taken below {readable(least)} (disk_reserve_bytes, disk_reserve_fraction)"
        else:
            self.low = ""
        size = min(RESERVE_BYTES_MAX, least // RESERVE_SHARE)
        if 2 * size < usage.free < NEAR * least and not self._path.exists():
            self._make(size)
        return self.low

    def release(self) -> int:
        """Give up the reserve; returns how many bytes that were, 0 when there was none."""
        try:
            size = self._path.stat().st_size
            self._path.unlink()
        except OSError:
            return 0
        return size

    def _make(self, size: int) -> None:
        """Take the room for real: a hole, or zeros on a disk that compresses, would be no reserve, but do no harm."""
        try:
            with self._path.open("xb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    for _ in range(size // len(_BLOCK)):
                        file.write(_BLOCK)
        except OSError:
            self._path.unlink(missing_ok=True)


def readable(number: int) -> str:
    """A size for people."""
    for power, unit in ((30, "GiB"), (20, "MiB")):
        if number >= 1 << power:
            return f"{number / (1 << power):.1f} {unit}"
    return f"{number >> 10} KiB"
