"""What a forgotten node brings back (R17): kept in the list ``quarantine`` until somebody decides, instead of being run.

The mesh may have pruned what it knew of that node's journals (R19), so it can't tell by then what of it was settled long ago.
"""

from __future__ import annotations

from mesh.core.cluster.absences import Absences, away_text
from mesh.core.cluster.replica import Journal, Replica
from mesh.wire.entries import QUARANTINE, DeadLetter, Entry, Message


class Quarantine:
    """Collects the new messages of a forgotten node's stream while it is applied, and writes them anew as dead letters."""

    def __init__(self, replica: Replica, absences: Absences) -> None:
        self._replica = replica
        self._absences = absences
        self._open = False
        self._brought: list[tuple[Journal, int, Message]] = []

    def open(self, sender: str) -> None:
        """A batch of this node's stream is about to be applied."""
        if self._absences.forgotten(sender):
            self._open = True
            self._replica.on_added.append(self._on_added)
            self._replica.inspected = True

    def close(self, sender: str, name: str, wall_ms: int) -> None:
        """The batch was applied: put aside, in the same transaction, what is new in it and not known under another dot."""
        if not self._open:
            return
        self._open = False
        self._replica.on_added.remove(self._on_added)
        self._replica.inspected = False
        brought, self._brought = self._brought, []
        since_ms = self._absences.since_ms(sender) or wall_ms
        for journal, sequence, message in brought:
            if self._replica.settle(journal, sequence):
                text = f"brought back by {name}, which was away for {away_text(since_ms, wall_ms)}, longer than forget_after_s"
                self._replica.write(DeadLetter(message, text, wall_ms, held_in=QUARANTINE))

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Message):
            self._brought.append((journal, sequence, entry))
