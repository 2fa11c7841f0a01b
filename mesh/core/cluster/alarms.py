"""Memory and disks over their limit: whose publishers have to wait, and who is told.

An alarm of a node that holds everything, the coordinator or a deputy, concerns the whole mesh, as whatever is accepted anywhere goes there.
That of another node concerns its own publishers. Who measures keeps some distance between setting and clearing an alarm, as RabbitMQ does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.core.cluster.election import Election
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replication import Replication
from mesh.core.effects import Identity

DISK = "disk-low"
MEMORY = "busy"
"""The codes of the errors that publishers get in the end."""


class Alarms:
    """The alarms of this node and, if it coordinates, of those that hold everything. All are ``code: text``."""

    def __init__(
        self, me: Identity, membership: Membership, replication: Replication, election: Election, tell: Callable[[str], None]
    ) -> None:
        self._me = me
        self._membership = membership
        self._replication = replication
        self._election = election
        self._tell = tell
        """Something for the log."""
        self._own: dict[str, str] = {}
        self._closed_by_others = False

    def set(self, code: str, why: str) -> None:
        """This node's disk or memory is over its limit, or with an empty ``why`` not any more."""
        if why:
            self._own[code] = why
        else:
            self._own.pop(code, None)
        self._election.disk_low = DISK in self._own

    @property
    def own(self) -> str:
        """This node's alarm: rather that of the disk, which lasts longer."""
        if self._own:
            code = DISK if DISK in self._own else MEMORY
            return f"{code}: {self._own[code]}"
        return ""

    @property
    def of_mesh(self) -> str:
        """As the coordinator: why all publishers have to wait."""
        if not self._election.is_coordinator:
            return ""
        holders = [(self._me.id, self.own)] + [(peer, self._alarm_of(peer)) for peer in self._replication.deputies]
        for holder, alarm in holders:
            if alarm:
                code, _, text = alarm.partition(": ")
                return f"{code}: on node {self._membership.name_of(holder)}: {text}"
        return ""

    @property
    def closed(self) -> str:
        """Why publishers of this node have to wait, empty when they need not."""
        if self.own or self._election.is_coordinator:
            return self.own or self.of_mesh
        peer = self._membership.peers.get(self._election.coordinator)
        return peer.beat.mesh_alarm if peer is not None and peer.beat is not None and self._election.hears_coordinator() else ""

    def tick(self) -> None:
        """Tell when other nodes' alarms close this one to publishers, and open it again; its own are told by who measures."""
        why = "" if self.own else self.closed
        if why and not self._closed_by_others:
            self._tell(f"publishers wait: {why}")
        elif self._closed_by_others and not why and not self.own:
            self._tell("publishers are let in again")
        self._closed_by_others = bool(why)

    def report(self) -> list[dict[str, Any]]:
        """All alarms that this node knows of, as ``mesh status --json`` shows them."""
        found = [(self._me.id, self.own)] + [(peer.id, self._alarm_of(peer.id)) for peer in self._membership.reachable()]
        holders = {self._election.coordinator, *self._replication.deputies}
        return [
            {
                "node": self._membership.name_of(id),
                "kind": "disk" if alarm.startswith(DISK) else "memory",
                "text": alarm.partition(": ")[2],
                "blocks": "mesh" if id in holders else "node",
            }
            for id, alarm in found
            if alarm
        ]

    def _alarm_of(self, peer: str) -> str:
        found = self._membership.peers.get(peer)
        return found.alarm if found is not None else ""
