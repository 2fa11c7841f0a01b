"""What a coordinator keeps in order beside handing out: who is away for long, what the forgotten bring back, how long the context is."""

from __future__ import annotations

from collections.abc import Callable

from mesh.core.broker.quarantine import Quarantine
from mesh.core.cluster.absences import Absences
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.pruning import Pruning
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.turn import Turn
from mesh.wire.messages import Replicate, Report

SKEW_MAX_MS = 2000
"""Clocks further apart are told of: a countdown may be late by as much (R23)."""
SKEW_PAUSE_S = 3600.0
"""The same clock is told of again after so long."""


class Upkeep:
    """Rules R17, R19 and R23 of a reign. ``tell`` takes a line for the log."""

    def __init__(
        self,
        replica: Replica,
        membership: Membership,
        replication: Replication,
        absences: Absences,
        turn: Turn,
        tell: Callable[[str], None],
    ) -> None:
        self._membership = membership
        self._replication = replication
        self._absences = absences
        self._quarantine = Quarantine(replica, absences)
        self._pruning = Pruning(replica, membership, absences, replication, turn)
        self._tell = tell
        self._told_of_clocks: dict[str, float] = {}

    def tick(self, now: float, wall_ms: int) -> None:
        """Do what is due during a reign."""
        self._absences.watch(now, wall_ms, self._replication.reconciled_with)
        self._pruning.tick(now)
        self._watch_clocks(now)

    def _watch_clocks(self, now: float) -> None:
        for peer in self._membership.reachable():
            told_at = self._told_of_clocks.get(peer.id)
            if abs(peer.skew_ms) > SKEW_MAX_MS and (told_at is None or now - told_at > SKEW_PAUSE_S):
                self._told_of_clocks[peer.id] = now
                off = f"{abs(peer.skew_ms) / 1000:.1f} s {'ahead of' if peer.skew_ms > 0 else 'behind'}"
                self._tell(f"the clock of {self._membership.name_of(peer.id)} is {off} this machine's; set both by NTP")

    def end(self) -> None:
        """The reign is over."""
        self._absences.end()
        self._pruning.end()

    def on_report(self, sender: str, report: Report) -> None:
        """A member says what it holds."""
        self._pruning.on_report(sender, report)

    def take_in(self, sender: str, message: Replicate, wall_ms: int) -> bool:
        """A batch of a member's stream: take it over, but what a forgotten node brings. False when it does not join on."""
        self._quarantine.open(sender)
        joined_on = self._replication.on_replicate(sender, message)
        self._quarantine.close(sender, self._membership.name_of(sender), wall_ms)
        return joined_on
