"""What a coordinator keeps in order beside handing out: who is away for long, what the forgotten bring back, how long the context is."""

from __future__ import annotations

from mesh.core.broker.quarantine import Quarantine
from mesh.core.cluster.absences import Absences
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.pruning import Pruning
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.turn import Turn
from mesh.wire.messages import Replicate, Report


class Upkeep:
    """Rules R17 and R19 of a reign."""

    def __init__(self, replica: Replica, membership: Membership, replication: Replication, absences: Absences, turn: Turn) -> None:
        self._membership = membership
        self._replication = replication
        self._absences = absences
        self._quarantine = Quarantine(replica, absences)
        self._pruning = Pruning(replica, membership, absences, replication, turn)

    def tick(self, now: float, wall_ms: int) -> None:
        """Do what is due during a reign."""
        self._absences.watch(now, wall_ms, self._replication.reconciled_with)
        self._pruning.tick(now)

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
