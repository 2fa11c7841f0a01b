"""Journals of processes that are gone leave the context when nobody needs their lines any more (R19).

A line of the context says of each dot that is not live that it was settled. It can go when no node has such a dot: the journal is closed
and has nothing live, every node that is not forgotten has reported to this reign and has, on its disk, all that was decided since.
"""

from __future__ import annotations

from mesh.core.cluster.absences import Absences
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.turn import Turn
from mesh.wire.messages import Report

PRUNE_INTERVAL_S = 5.0
"""Pause between two looks; it takes three to prune, as settlements wait for their copies before they are sent."""


class Pruning:
    """Finds journals that nobody needs, waits until all nodes have settled what was in them, and has them dropped everywhere."""

    def __init__(self, replica: Replica, membership: Membership, absences: Absences, replication: Replication, turn: Turn) -> None:
        self._replica = replica
        self._membership = membership
        self._absences = absences
        self._replication = replication
        self._turn = turn
        self._written_now: dict[str, set[bytes]] = {}
        """Node id to the journals of its present process."""
        self._candidates: set[bytes] = set()
        self._mark = 0
        self._sent = False
        """The settlements of the candidates have been sent to who holds the entries, at ``_mark`` at the latest."""
        self._looked_at = 0.0

    def end(self) -> None:
        """The reign is over."""
        self._written_now.clear()
        self._candidates.clear()

    def on_report(self, sender: str, report: Report) -> None:
        """A member says which journals its process writes."""
        self._written_now[sender] = set(report.written)

    def tick(self, now: float) -> None:
        """Look again, when it is time."""
        if now - self._looked_at < PRUNE_INTERVAL_S:
            return
        self._looked_at = now
        closed = self._closed() if self._all_are_here() else set()
        if not self._candidates:
            self._candidates, self._mark, self._sent = closed, self._turn.mark, False
            return
        self._candidates &= closed
        if not self._sent:
            if self._replication.settlements_sent(self._mark):
                self._mark, self._sent = self._turn.mark, True
        elif self._all_have(self._mark):
            self._prune()

    def _all_have(self, mark: int) -> bool:
        """Whether this disk and those of all who follow have what was decided and sent up to ``mark``."""
        streams = self._replication.streams.values()
        return self._turn.durable_mark >= mark and all(stream.idle_mark(self._turn.mark) >= mark for stream in streams)

    def _prune(self) -> None:
        self._replication.forget_journals(sorted(self._candidates))
        for stream in self._replication.streams.values():
            stream.pruned |= self._candidates
        self._candidates = set()

    def _all_are_here(self) -> bool:
        me = self._membership.me.id
        others = [member.id for member in self._membership.members.values() if member.durable and member.id != me]
        return all(self._absences.forgotten(id) or (id in self._written_now and self._replication.has_heard_all_of(id)) for id in others)

    def _closed(self) -> set[bytes]:
        """Journals without a live entry that nobody writes any more."""
        written = {name for names in self._written_now.values() for name in names} | self._replica.written()
        known = {id for id in self._membership.members if id in self._written_now or self._absences.forgotten(id)}
        known.add(self._membership.me.id)
        return {
            journal.name
            for journal in self._replica.journals.values()
            if not journal.count and journal.owner in known and journal.name not in written and journal.name not in self._replica.forks
        }
