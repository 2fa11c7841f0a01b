"""The two clocks: monotonic for timeouts and leases, wall for instants that people name (rule R23)."""

from __future__ import annotations

import time
from typing import Protocol

_CLOCK = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""One that goes on while the machine sleeps: CLOCK_MONOTONIC does so on macOS, and stands still on Linux (clock_gettime(2))."""


class Clock(Protocol):
    """What the node's loop reads once per turn and hands to the pure core."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant, those that the machine slept included; never goes back."""

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC, as this machine believes."""


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Seconds since some fixed instant; never goes back."""
        return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)

    def wall(self) -> float:
        """Seconds since 1970-01-01 UTC, as this machine believes."""
        return time.time()
