"""What went wrong at the doors: counted always, logged with a rate limit."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

WINDOW_S = 30.0
LINES_PER_WINDOW = 20
"""A stranger decides how often a door is shaken, so it must not decide how fast the log grows."""

log = logging.getLogger("mesh.transport")


@dataclass(slots=True)
class Counters:
    """Plain numbers since the start, read by status."""

    refused_keys: int = 0
    """Handshakes at the member door with a key that is not admitted."""
    failed_handshakes: int = 0
    """Other handshakes that failed at a door or the lobby: wrong secret, no CURVE, garbage, silence."""
    frames_not_admitted: int = 0
    """Messages on open connections whose key is no longer admitted."""
    frames_malformed: int = 0
    """Messages with the wrong number of frames, or under another member's name."""
    frames_unsent: int = 0
    """Messages to a peer that was not connected or whose buffer was full."""
    connects: int = 0
    disconnects: int = 0
    knocks_dropped: int = 0
    """Knocks of our own beyond the number that may be under way."""


class Notices:
    """At most one line per subject and 20 lines in all each half minute."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._seen: set[tuple[str, str]] = set()
        self._hidden = 0

    def warn(self, what: str, subject: str) -> None:
        """Log ``what`` about ``subject`` (an address or a key), unless that was said or too much was said lately."""
        now = time.monotonic()
        if now - self._since > WINDOW_S:
            if self._hidden:
                log.warning("%d more lines about refused connections or frames were left out", self._hidden)
            self._since, self._hidden = now, 0
            self._seen.clear()
        if (what, subject) in self._seen or len(self._seen) >= LINES_PER_WINDOW:
            self._hidden += 1
            return
        self._seen.add((what, subject))
        log.warning("%s: %s", what, subject)
