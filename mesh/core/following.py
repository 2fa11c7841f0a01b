"""The life of this node as a member: it reports to the coordinator, takes in its stream, and reports anew when something was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.wire.messages import Consumers, Reign, Release, Welcome

if TYPE_CHECKING:
    from mesh.core.machine import Machine

REPORT_INTERVAL_S = 0.5
"""Pause between reports to a coordinator that has not answered."""


class Following:
    """Between this node and the coordinator that it follows."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._reported_at = 0.0

    def begin(self) -> None:
        """Report to the coordinator; its Welcome opens the stream, and the edge's programs repeat themselves."""
        machine, election = self._machine, self._machine.election
        self._reported_at = machine.now
        machine.replication.follow(election.coordinator, election.term, list(machine.edge.workers), machine.recovery.journals())
        machine.edge.coordinator_changed()

    def tick(self) -> None:
        """Report anew where the coordinator is there and no stream to it in this term: a report was lost, or others told of the term
        first."""
        machine, election = self._machine, self._machine.election
        stream = machine.replication.streams.get(election.coordinator)
        if stream is not None and stream.term == election.term:
            return
        if election.hears_coordinator() and self._is_overdue():
            self.begin()

    def _is_overdue(self) -> bool:
        return self._machine.now - self._reported_at >= REPORT_INTERVAL_S

    # -- what the coordinator says --------------------

    def on_reign(self, sender: str, message: Reign) -> None:
        """It asks for a report, or says for the first time that it reigns."""
        machine, election = self._machine, self._machine.election
        machine.membership.peers[sender].hears_me = True  # it asks only those that it hears
        if election.coordinator == sender and election.term == message.term and not election.is_coordinator:
            # asked before it had the report that is on its way; of two in a row, the second's offers would miss what the first's brought
            if not machine.replication.awaits_welcome or self._is_overdue():
                self.begin()
        else:
            election.on_claim(sender, message.term, message.followers, message.elected_in)

    def on_welcome(self, sender: str, welcome: Welcome) -> None:
        """It answers the report."""
        if self._is_of_this_reign(sender, welcome.term):
            self._machine.replication.on_welcome(sender, welcome)
            self._machine.edge.watch_again()

    def on_release(self, sender: str, message: Release) -> None:
        """Others cover what this node holds for them."""
        if self._is_of_this_reign(sender, message.term):
            self._machine.replication.on_release()

    def on_consumers(self, sender: str, message: Consumers) -> None:
        """The queues that somebody consumes."""
        if sender == self._machine.election.coordinator:
            self._machine.edge.on_consumers(message.queues)

    def _is_of_this_reign(self, sender: str, term: int) -> bool:
        return (sender, term) == (self._machine.election.coordinator, self._machine.election.term)
