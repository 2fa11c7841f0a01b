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

    Python gives memory back to the system late or never, and uses it again. So of what the process took at its most, only the share
    counts that is in use by as many entries as it still holds: else a queue that was once long would shut publishers out for ever.
    """

    def __init__(self, measure: Callable[[], int] = resident_bytes, total: Callable[[], int] = total_bytes) -> None:
        self._measure = measure
        self._total_bytes = total()
        self._empty_bytes = self._most_bytes = measure()
        self._entries_at_most = 0
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
        if taken >= self._most_bytes or entries >= self._entries_at_most:
            self._most_bytes, self._entries_at_most = max(taken, self._most_bytes), entries
            return taken
        grown = self._most_bytes - self._empty_bytes
        return min(taken, self._empty_bytes + grown * entries // max(1, self._entries_at_most))
