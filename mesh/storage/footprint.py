"""How much memory this process takes, and how much it may: the counterpart of room.py, which watches the disk."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from mesh.storage.room import readable

CLEAR = 0.9
"""Publishers are let in again below this share of the limit, so that one task does not switch them off and on."""
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""What a container may take (cgroups, version 2 and 1)."""
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def resident_bytes() -> int:
    """What this process takes now; where the system does not say that, the most that it took."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def total_bytes() -> int:
    """The memory of this machine, or of the container if that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * _PAGE_BYTES
    for path in CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            continue
    return total


class Footprint:
    """Judges the memory of this process; make it before the process loads what it is to hold.

    Python gives memory back to the system late or never, and uses it again. So when the process holds fewer entries than when it grew
    last, what is in use is reckoned by their number: else a queue that was once long would shut publishers out for ever.
    """

    def __init__(self, measure: Callable[[], int] = resident_bytes, total: Callable[[], int] = total_bytes) -> None:
        self._measure = measure
        self._total_bytes = total()
        self._empty_bytes = self._most_bytes = measure()
        self._entry_bytes = 0.0
        """What an entry took when the process grew last."""
        self.high = ""
        """Why too much is taken, for people; empty while it is not."""

    def look(self, entries: int, limit_bytes: int, limit_fraction: float) -> str:
        """Measure, while the process holds so many entries; returns ``high``."""
        limit = int(min(limit_bytes, limit_fraction * self._total_bytes))
        used = self._used_bytes(entries)
        if used > limit or (self.high and used > CLEAR * limit):
            self.high = (
                f"the node takes {readable(used)} of memory for {entries} entries; nothing new is taken above {readable(limit)} "
                "(memory_limit_bytes, memory_limit_fraction)"
            )
        else:
            self.high = ""
        return self.high

    def _used_bytes(self, entries: int) -> int:
        taken = self._measure()
        grown = max(0, taken - self._most_bytes)
        used = min(taken, int(self._empty_bytes + self._entry_bytes * entries) + grown)
        if grown:
            self._most_bytes = taken
            if entries:
                self._entry_bytes = max(0, used - self._empty_bytes) / entries
            else:
                self._empty_bytes = used
        return used
