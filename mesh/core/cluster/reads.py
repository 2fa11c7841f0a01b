"""Entries whose bytes are on the disk only: the core asks for a row by its dot, and goes on when the row comes."""

from __future__ import annotations

from collections.abc import Callable

from mesh.core.turn import Turn
from mesh.wire.entries import Dot, Entry
from mesh.wire.frames import decode_entry

Then = Callable[[Entry | None], None]
"""Gets the whole entry, or None when it was settled meanwhile."""


class Reads:
    """Who waits for which row. A row that several wait for is read once."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._waiting: dict[Dot, list[Then]] = {}

    def ask(self, dot: Dot, then: Then) -> None:
        """Have a row read that was committed; ``then`` is called in a later turn."""
        waiting = self._waiting.get(dot)
        if waiting is None:
            waiting = self._waiting[dot] = []
            self._turn.read(dot)
        waiting.append(then)

    def on_read(self, dot: Dot, blob: bytes | None) -> None:
        """The row has come, or is no longer there."""
        entry = decode_entry(blob) if blob is not None else None
        for then in self._waiting.pop(dot, ()):
            then(entry)

    def __len__(self) -> int:
        return len(self._waiting)
