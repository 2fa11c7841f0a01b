"""Nodes that are away for long (R17): the coordinator writes down since when, and after ``forget_after_s`` that they are forgotten.

The mark is replicated, as it has to outlive reigns and processes. It goes when the node is back and all that it held has been taken in.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.config import Settings
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal, Replica
from mesh.wire.entries import Absence, Entry, Scope

ABSENCE_NOTED_S = 60.0
"""A node that is unreachable for longer is written down as absent; shorter ones are restarts and cuts."""
CLOCKS_AGREE_MS = 3_600_000
"""While the clock of a reachable node is further off nobody is forgotten: one of the two is wrong by more than any drift."""


class Absences:
    """Who is away since when, and who is forgotten."""

    def __init__(self, replica: Replica, membership: Membership, settings: Settings) -> None:
        self._replica = replica
        self._membership = membership
        self._settings = settings
        self._marks: dict[str, dict[tuple[bytes, int], tuple[Journal, Absence]]] = {}
        """Node id to its marks by dot; more than one only after a split."""
        self._missing_since: dict[str, float] = {}
        self._overdue_since: dict[str, float] = {}
        replica.on_added.append(self._on_added)
        replica.on_settled.append(self._on_settled)

    def load(self) -> None:
        """Index what the replica has restored."""
        self._replica.tell_restored(self._on_added)

    def forgotten(self, id: str) -> bool:
        """Whether a node was away for so long that what it holds is not run by itself any more."""
        return any(mark.forgotten for _, mark in self._marks.get(id, {}).values())

    def since_ms(self, id: str) -> int | None:
        """Since when a node is away (wall clock), None when it is not known to be away for long."""
        return min((mark.since_ms for _, mark in self._marks.get(id, {}).values()), default=None)

    def watch(self, now: float, wall_ms: int, is_back: Callable[[str], bool]) -> None:
        """As the coordinator: note who is away for long, forget who is for too long, and take the marks of those back who ``is_back``."""
        self._settle(self._membership.me.id)
        for member in list(self._membership.members.values()):
            if not member.durable or member.id == self._membership.me.id:
                continue
            if self._membership.is_reachable(member.id):
                self._missing_since.pop(member.id, None)
                if is_back(member.id):
                    self._settle(member.id)
                continue
            missing_s = now - self._missing_since.setdefault(member.id, now)
            since_ms = self.since_ms(member.id)
            if since_ms is None:
                if missing_s >= ABSENCE_NOTED_S:
                    self._replica.write(Absence(member.id, wall_ms - int(missing_s * 1000)), Scope.SHARED)
            elif not self.forgotten(member.id) and self._overdue(member.id, now, wall_ms - since_ms):
                self._settle(member.id)
                self._replica.write(Absence(member.id, since_ms, forgotten=True), Scope.SHARED)
                self._membership.mark_left(member.id)

    def end(self) -> None:
        """The reign is over: the next coordinator counts anew."""
        self._missing_since.clear()
        self._overdue_since.clear()

    def _overdue(self, id: str, now: float, away_ms: int) -> bool:
        """Whether a node is away for too long, and the clocks have agreed on that for as long as it takes to hear of each other's."""
        if away_ms <= self._settings.forget_after_s * 1000 or not self._clocks_agree():
            self._overdue_since.pop(id, None)
            return False
        return now - self._overdue_since.setdefault(id, now) > self._settings.heartbeat_timeout_s

    def _clocks_agree(self) -> bool:
        return all(abs(peer.skew_ms) < CLOCKS_AGREE_MS for peer in self._membership.reachable())

    def _settle(self, id: str) -> None:
        for (_, sequence), (journal, _) in list(self._marks.get(id, {}).items()):
            self._replica.settle(journal, sequence)

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Absence):
            self._marks.setdefault(entry.id, {})[journal.name, sequence] = (journal, entry)

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Absence):
            marks = self._marks.get(entry.id, {})
            marks.pop((journal.name, sequence), None)
            if not marks:
                self._marks.pop(entry.id, None)


def away_text(since_ms: int, wall_ms: int) -> str:
    """How long somebody was away, for people."""
    days = max(0, wall_ms - since_ms) / 86_400_000
    return f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
