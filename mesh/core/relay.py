"""Between the edge of a node and the coordinator, which may be in the same process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.core.questions import NO_COORDINATOR, TOPOLOGY_CHANGE, answer, answer_later
from mesh.wire.messages import Answer, Deliver, PeerMessage, Query

if TYPE_CHECKING:
    from mesh.core.machine import Machine


class Relay:
    """Hands messages over in memory where both are here, and sends them to a peer otherwise."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def to_coordinator(self, message: PeerMessage) -> bool:
        """From this node's edge to the coordinator; False when none is heard."""
        machine = self._machine
        election = machine.election
        if election.is_coordinator:
            machine.reign.on_broker_message(machine.me.id, message)
            return True
        if election.coordinator:  # also while it is not heard: what is lost on the way is noticed and made good
            machine.turn.to_peer(election.coordinator, message)
        return election.hears_coordinator()

    def to_edge(self, node: str, message: PeerMessage, after_commit: bool) -> None:
        """From the broker to a node's edge."""
        machine = self._machine
        if node == machine.me.id:
            machine.edge.from_coordinator(message, after_commit)
        elif after_commit:
            machine.turn.to_peer_after_commit(node, message)
        else:
            machine.turn.to_peer(node, message)

    def on_edge_message(self, sender: str, message: PeerMessage) -> None:
        """From the coordinator, which is elsewhere, to this node's edge."""
        machine = self._machine
        if sender != machine.election.coordinator or (isinstance(message, Deliver) and machine.replication.awaits_welcome):
            return  # a delivery from before our report: the offers that follow that do not name it, so it will come again
        machine.edge.from_coordinator(message, False)

    def answer(self, sender: str, message: PeerMessage) -> None:
        """A question to the coordinator, which this node is."""
        if isinstance(message, Query):
            number, what = message.number, message.what
            answer_later(self._machine, what, message.argument, lambda body, error: self._tell(sender, what, Answer(number, body, error)))

    def _tell(self, node: str, what: str, reply: Answer) -> None:
        if what == TOPOLOGY_CHANGE and not reply.error:  # what is published anywhere after the answer is routed by it
            everywhere = self._machine.replication.copies.when_everywhere
            self._machine.broker.purge.when_done(lambda: everywhere(lambda: self.to_edge(node, reply, False)))
        else:
            self.to_edge(node, reply, True)

    def answer_alone(self, what: str, argument: str) -> tuple[bytes, str]:
        """Without a coordinator this node can say what it knows, and do nothing."""
        if what in ("status", "config", "topology", "route"):
            return answer(self._machine, what, argument)
        return b"null", NO_COORDINATOR
