"""Heartbeats: what this node says of itself to each peer, and what a peer's say of it (R13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.core.cluster.membership import Peer
from mesh.core.states import Role
from mesh.wire.messages import Heartbeat

if TYPE_CHECKING:
    from mesh.core.machine import Machine


class Pulse:
    """Sends and takes heartbeats."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def send(self, peer: Peer) -> None:
        """Tell a peer how this node is, and whether it hears the peer."""
        machine, election = self._machine, self._machine.election
        followers, elected_in = election.standing()
        machine.turn.to_peer(
            peer.id,
            Heartbeat(
                term=election.term,
                coordinator=election.coordinator,
                hears_you=not peer.refused and peer.heard_within(machine.now, machine.settings.heartbeat_timeout_s),
                complete=machine.replication.is_complete(),
                weight=machine.me.weight,
                never_coordinate=machine.me.never_coordinate or election.leaving or election.damaged,
                up_ms=election.up_ms(),
                wall_ms=machine.wall_ms,
                asleep=election.reluctant(),
                authority=election.role == Role.REIGNING,
                echo_ms=election.echo_ms(peer),
                followers=followers,
                elected_in=elected_in,
                alarm=machine.alarms.own,
                mesh_alarm=machine.alarms.of_mesh,
                forgot_you=machine.absences.forgotten(peer.id),
            ),
        )
        peer.channel.ask_again()

    def on_heartbeat(self, sender: str, beat: Heartbeat) -> None:
        """How a peer is, and whether it hears this node."""
        machine = self._machine
        peer = machine.membership.peers[sender]
        became_two_way = beat.hears_you and not peer.hears_me
        peer.beat = beat
        peer.skew_ms, peer.tells_time = beat.wall_ms - machine.wall_ms, True
        peer.hears_me = beat.hears_you
        if beat.echo_ms >= 0:
            peer.lease_from = machine.election.started_at + beat.echo_ms / 1000
        if beat.hears_you:
            machine.election.on_heartbeat(sender, beat)
            if became_two_way:
                self.send(peer)
