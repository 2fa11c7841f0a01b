"""What becomes of a damaged state directory's remains (R20).

A row that is missing from a damaged file can't be told from one that was settled, so nothing of the file's context is believed: the
node starts with an empty one, which deletes nothing anywhere, and gets back by the normal stream what others hold. What could be read
lies aside meanwhile. Once the node has all that the mesh has, the mesh's context tells which of it is known there, live or settled;
the rest is written anew. The broker knows a message by its id, so one that comes back under its old dot as well still runs once.
"""

from __future__ import annotations

from mesh.core.cluster.election import Election
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.effects import Gap, Salvage
from mesh.core.states import Role
from mesh.core.turn import Turn
from mesh.wire.entries import Member
from mesh.wire.frames import decode_entry


class Recovery:
    """The remains of a damaged state directory, until the mesh has said what it knows of them."""

    def __init__(self, salvage: Salvage | None, replica: Replica, replication: Replication, election: Election, turn: Turn) -> None:
        self._salvage = salvage
        self._replica = replica
        self._replication = replication
        self._election = election
        self._turn = turn
        election.damaged = self.pending
        self.lost: list[Gap] | None = None
        """What could not be read and nobody has either; None until that is known."""
        self.kept = 0
        """Entries of the damaged file that nobody else had."""

    @property
    def pending(self) -> bool:
        """Whether this node is not whole: it does not lead, and its disk is no copy of what the mesh had before (R20)."""
        return self._salvage is not None

    def members(self) -> list[Member]:
        """Members that the damaged file knew, to find the mesh again."""
        if self._salvage is None:
            return []
        entries = [decode_entry(blob) for _, _, blob in self._salvage.entries]
        return [entry for entry in entries if isinstance(entry, Member)]

    def journals(self) -> list[bytes]:
        """The journals of the remains, for the coordinator to say how far it knows them."""
        if self._salvage is None:
            return []
        return sorted({journal for journal, _, _ in self._salvage.entries} | {gap.journal for gap in self._salvage.gaps})

    def tick(self) -> None:
        """Has this node by now all that the mesh has? Then judge the remains by the mesh's context."""
        if self._salvage is None:
            return
        if self._election.role == Role.REIGNING:
            covered = {journal.name: journal.upto for journal in self._replica.journals.values()}
        elif self._election.hears_coordinator() and self._replication.reconciled_with(self._election.coordinator):
            covered = self._replication.welcomed
        else:
            return
        salvage, self._salvage = self._salvage, None
        self._judge(salvage, covered)
        self._election.damaged = False

    def _judge(self, salvage: Salvage, covered: dict[bytes, int]) -> None:
        """Keep what ``covered``, journal to sequence, does not cover."""
        for journal, sequence, blob in salvage.entries:
            if sequence > covered.get(journal, 0):
                self._replica.write(decode_entry(blob))
                self.kept += 1
        unknown = [(gap, max(gap.first, covered.get(gap.journal, 0) + 1)) for gap in salvage.gaps]
        self.lost = [Gap(gap.journal, first, gap.last, gap.task) for gap, first in unknown if first <= gap.last]
        self._turn.recovered()
