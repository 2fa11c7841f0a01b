"""Entries whose bytes are on the disk only: the core asks for rows by their dots, and goes on when they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mesh.core.effects import Read
from mesh.core.turn import Turn
from mesh.wire.entries import Entry
from mesh.wire.frames import decode_entry

Then = Callable[[list[Entry | None]], None]
"""Gets the whole entries in the order in which they were asked for, None for one that was settled meanwhile."""


class Reads:
    """Who waits for which rows."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._waiting: dict[int, Then] = {}
        self._number = 0

    def ask(self, journal: bytes, sequences: Sequence[int], then: Then) -> None:
        """Have rows of one journal read that were committed; ``then`` is called in a later turn, with all of them."""
        self._number += 1
        self._waiting[self._number] = then
        self._turn.read(Read(self._number, journal, sequences))

    def on_read(self, number: int, rows: Sequence[bytes | None]) -> None:
        """The rows of a read have come."""
        self._waiting.pop(number)([decode_entry(row) if row is not None else None for row in rows])

    def __len__(self) -> int:
        return len(self._waiting)
