"""The whole core as one state machine: events and the time go in, effects come out (see effects.py for the contract)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from mesh.config import Settings
from mesh.core.broker.arguments import QueueArguments
from mesh.core.broker.bodies import LargeBodies
from mesh.core.broker.broker import Broker
from mesh.core.broker.dispatch import Dispatcher
from mesh.core.broker.gathering import Gathering
from mesh.core.broker.inspection import Inspection
from mesh.core.cluster.absences import Absences
from mesh.core.cluster.alarms import Alarms
from mesh.core.cluster.bodies import Bodies
from mesh.core.cluster.channels import Arrival
from mesh.core.cluster.election import Election
from mesh.core.cluster.membership import NEVER, Membership
from mesh.core.cluster.policies import Policies
from mesh.core.cluster.recovery import Recovery
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.cluster.topology import Topology
from mesh.core.cluster.twins import Twins
from mesh.core.coordinator import Coordinator
from mesh.core.edge.sessions import Edge
from mesh.core.effects import Batch, Identity, Restored, Sends
from mesh.core.following import Following
from mesh.core.pulse import Pulse
from mesh.core.relay import Relay
from mesh.core.states import Role
from mesh.core.turn import Turn
from mesh.core.upkeep import Upkeep
from mesh.wire.calls import Cancel, States
from mesh.wire.entries import Member
from mesh.wire.frames import Envelope
from mesh.wire.messages import (
    PROTOCOL_VERSION,
    Abdicate,
    Answer,
    Consume,
    Consumers,
    Deliver,
    Fetch,
    Fetched,
    Goodbye,
    Heartbeat,
    Knock,
    LeasesHeard,
    Notice,
    Offer,
    Outcomes,
    OutcomesKept,
    PeerMessage,
    PreVote,
    PreVoted,
    Query,
    Recall,
    Reign,
    Release,
    Replicate,
    Replicated,
    Report,
    Reserve,
    Reserved,
    Reset,
    Results,
    SessionRequest,
    Take,
    Taken,
    Vote,
    Voted,
    Watch,
    Welcome,
    WorkerGone,
)

PATIENCE_S = 0.02
"""How long an acknowledged message may stay on the disk: with a publish that follows that is one transaction (decision 099)."""

SLEEP_S = 60.0
"""A machine that stood still for so long slept; shorter pauses are those of a busy or paused process."""


class Machine:
    """One node. Every ``on_`` method takes an event; call :meth:`at` first in each turn, :meth:`flush` last."""

    def __init__(self, me: Identity, settings: Settings, restored: Restored) -> None:
        self.me = me
        self.settings = settings = dataclasses.replace(settings)  # mesh-wide settings change it in place
        self.turn = Turn()
        self.replica = Replica(self.turn, me.id, me.bulk_journal, me.shared_journal, settings.window_bytes)
        self.replica.restore(restored)
        self.bodies = Bodies(self.replica, self.turn)
        self.bodies.load()
        self.membership = Membership(me, self.replica, settings)
        self.absences = Absences(self.replica, self.membership, settings)
        self.replication = Replication(me, self.replica, self.membership, self.turn, settings)
        self.election = Election(
            me,
            self.membership,
            self.turn,
            settings,
            on_elected=lambda: self.reign.begin(),
            on_yield=lambda: self.reign.end(),
            on_follow=lambda: self.following.begin(),
            on_renewed=lambda: self.reign.renew(),
            is_complete=self.replication.is_complete,
            is_forgotten=self.absences.forgotten,
        )
        self.election.restore(restored.term, restored.voted_for)
        self.recovery = Recovery(restored.salvage, self.replica, self.replication, self.election, self.turn)
        self.twins = Twins(me, self.membership, settings, self.election.up_ms)
        self.policies = Policies(self.replica, settings)
        self.topology = Topology(self.replica)
        self.arguments = QueueArguments(self.policies, self.topology)
        self.relay = Relay(self)
        self.pulse = Pulse(self)
        self.following = Following(self)
        self.large_bodies = LargeBodies(
            self.bodies,
            self.replica,
            self.membership,
            self.replication,
            self.turn,
            is_over=lambda id: id in self.broker.results or id in self.broker.ended,
        )
        self.news: list[str] = []
        """Lines for the log, until the loop has written them."""
        self.alarms = Alarms(me, self.membership, self.replication, self.election, self.news.append)
        self.broker = self._make_broker()
        self.inspection = Inspection(self.broker, self.replica, self.topology)
        self.upkeep = Upkeep(self.replica, self.membership, self.replication, self.absences, self.turn, self.news.append)
        self.dispatcher = Dispatcher(self.broker, self.replication, settings, self.relay.to_edge)
        self.edge = self._make_edge()
        self.reign = self._make_reign()
        self.now = 0.0
        self.wall_ms = 0
        self.former_addresses: list[str] = []
        """Where this node was according to its state directory: a copy of it finds the original there (R3)."""
        self.left = False
        """This node has said goodbye: nothing more will come."""
        self._started = False
        self._last_at = 0.0
        self._patient_until: float | None = None
        """When what nobody waits for is committed; None while there is nothing, or something that is waited for."""
        self._beat_at = 0.0
        self._reachable_before: set[str] = set()
        self._handlers = self._make_handlers()

    def _make_broker(self) -> Broker:
        return Broker(
            self.me,
            self.replica,
            self.membership,
            self.replication,
            self.topology,
            self.arguments,
            self.large_bodies,
            Gathering(self.replica, self.bodies, self.turn, self.settings.piece_bytes),
            self.settings,
            self.relay.to_edge,
            self.news.append,
        )

    def _make_edge(self) -> Edge:
        return Edge(
            self.me,
            self.replica,
            self.membership,
            self.replication,
            self.bodies,
            self.turn,
            self.settings,
            self.topology,
            self.arguments,
            self.alarms,
            to_coordinator=self.relay.to_coordinator,
            coordinator=lambda: (self.election.coordinator, self.election.term),
            local_answer=self.relay.answer_alone,
        )

    def _make_reign(self) -> Coordinator:
        return Coordinator(
            self.election,
            self.membership,
            self.replication,
            self.broker,
            self.dispatcher,
            self.edge,
            self.upkeep,
            self.turn,
            self.settings,
            answer=self.relay.answer,
        )

    def _make_handlers(self) -> dict[type, Callable[[str, Any], None]]:
        to_broker: dict[type, Callable[[str, Any], None]]
        to_broker = dict.fromkeys((Offer, WorkerGone, Outcomes, Watch, Query, Reserve, Take), self.reign.on_broker_message)
        to_edge: dict[type, Callable[[str, Any], None]]
        for_edge = (Deliver, OutcomesKept, Results, Answer, Notice, Reserved, Fetched, Taken, Recall, Consume, Cancel)
        to_edge = dict.fromkeys(for_edge, self.relay.on_edge_message)
        return {
            Heartbeat: self.pulse.on_heartbeat,
            Goodbye: self._on_goodbye,
            PreVote: self.election.on_pre_vote,
            PreVoted: self.election.on_pre_voted,
            Vote: self.election.on_vote,
            Voted: self.election.on_voted,
            Reign: self.following.on_reign,
            Report: self.reign.on_report,
            Welcome: self.following.on_welcome,
            Replicate: self._on_replicate,
            Replicated: self.replication.on_replicated,
            LeasesHeard: self.replication.on_leases_heard,
            Release: self.following.on_release,
            Abdicate: lambda sender, message: self.election.take_over(message.term),
            Consumers: self.following.on_consumers,
            Fetch: self.edge.fetches.on_peer,
            States: self._on_states,
            **to_broker,
            **to_edge,
        }

    def _on_states(self, sender: str, message: States) -> None:
        """From a worker's node to the coordinator, or from there to those that watch."""
        (self.reign.on_broker_message if message.worker else self.relay.on_edge_message)(sender, message)

    # -- time --------------------

    def at(self, now: float, wall_s: float) -> None:
        """A turn of the loop begins at this monotonic and wall time, seconds."""
        gap_s = now - self._last_at
        self.now = self._last_at = self.membership.now = self.edge.now = self.edge.gate.now = self.reign.now = now
        self.wall_ms = self.broker.wall_ms = self.edge.wall_ms = int(wall_s * 1000)
        if not self._started:
            self._started = True
            self.election.start(now)
            self.membership.load()
            self.policies.load()
            self.topology.load()
            self.absences.load()
            self.introduce(self.recovery.members())
            former = self.membership.members.get(self.me.id)
            self.former_addresses = former.addresses if former is not None else []
            self.me.sleeps = self.me.sleeps or (former is not None and former.sleeps)
            self.membership.announce_me(self.wall_ms)
        elif gap_s > self.settings.heartbeat_timeout_s / 2:
            self.election.woke_up(gap_s)
            if gap_s >= SLEEP_S and not self.me.sleeps:
                self.me.sleeps = True
                self.membership.announce_me(self.wall_ms)

    def tick(self) -> None:
        """Do what is due; call at least every 50 ms."""
        self._watch_reachability()
        self.election.tick()
        if self.now - self._beat_at >= self.settings.heartbeat_interval_s:
            self._beat_at = self.now
            for peer in self.membership.peers.values():
                self.pulse.send(peer)
        self.edge.tick()
        self.alarms.tick()
        self.recovery.tick()
        self.replica.pages.sweep()
        if self.election.is_coordinator:
            self.reign.tick()
            self.large_bodies.tick(self.now)
            if self.election.disk_low:
                self._hand_over()
        else:
            self.following.tick()

    @property
    def alone(self) -> bool:
        """Whether this node is the whole mesh: no other machine counts its heartbeats."""
        return len(self.membership.admitted()) <= 1

    @property
    def calm(self) -> bool:
        """Whether nothing here depends on the next few dozen milliseconds."""
        settled = self.election.role in (Role.FOLLOWER, Role.REIGNING) and self.election.hears_coordinator()
        return settled and not self.replication.copies.waited_for and not self.broker.line.has_delayed

    def flush(self) -> None:
        """The end of a turn: dispatch what may be dispatched, stream what was decided, let go what has its copies."""
        gate = self.edge.gate
        if self.election.is_coordinator:
            gate.tell_spent()  # what was let in is in the queue by now; a member's messages are still to leave
        self.reign.dispatch()
        gate.advance()
        self.broker.flush()
        self.replication.flush(self.now)
        if self.edge.pass_on_copied():
            self.flush()  # what the coordinator, if it is here, makes of them belongs to this turn
        gate.tell_spent()

    def take_sends(self) -> Sends:
        """What may leave now, with envelopes for peers."""
        peers, sessions = self.turn.take_messages()
        known = self.membership.peers
        enveloped: list[tuple[str, Envelope, PeerMessage]] = []
        for peer_id, message in peers:
            peer = known.get(peer_id)
            if peer is not None:
                enveloped.append((peer_id, peer.channel.next_envelope(), message))
        return Sends(enveloped, sessions)

    def take_batch(self) -> Batch | None:
        """The next transaction, when the last one is done; one that nobody waits for is held until something joins it, for a moment."""
        if not self.turn.patient or self.left:
            self._patient_until = None
        elif self._patient_until is None:
            self._patient_until = self.now + PATIENCE_S
        if self._patient_until is not None and self.now < self._patient_until:
            return None
        return self.turn.take_batch()

    def on_committed(self, number: int) -> None:
        """The batch of that number is on the disk."""
        self.turn.committed(number)
        self.bodies.cool()
        self.replica.on_durable(self.turn.durable_mark)

    def on_read(self, number: int, rows: Sequence[bytes | None]) -> None:
        """The rows that a read of ``turn.take_reads`` has named, None for one that is no longer there."""
        self.replica.reads.on_read(number, rows)

    # -- events from outside --------------------

    def on_session(self, session: bytes, request: SessionRequest) -> None:
        """A message from an attached program."""
        self.edge.on_request(session, request)

    def on_session_closed(self, session: bytes) -> None:
        """An attached program can't be reached any more."""
        self.edge.close(session)

    def on_refused(self, peer_id: str) -> None:
        """The peer's host actively refused a connection: its process is gone."""
        peer = self.membership.peers.get(peer_id)
        if peer is not None:
            peer.refused = True
            peer.hears_me = False
            peer.spoke_at = NEVER

    def on_connected(self, peer_id: str) -> None:
        """The connection to a peer is up: greet it at once."""
        peer = self.membership.peers.get(peer_id)
        if peer is not None:
            self.pulse.send(peer)

    def on_knock(self, member: Member) -> list[Member]:
        """A newcomer that proved to hold the fleet secret is admitted; returns the members that it should know."""
        self.membership.let_in(member)
        return [known for known in self.membership.members.values() if known.durable]

    def refuses(self, knock: Knock) -> str:
        """Why a newcomer can't be let in, or nothing."""
        if knock.protocol != PROTOCOL_VERSION:
            return f"this mesh speaks protocol {PROTOCOL_VERSION}, you speak {knock.protocol}: install the same version of mesh"
        known = self.membership.members.get(knock.member.id)
        if known is not None and known.key != knock.member.key:
            return "that node id belongs to another key"
        return ""

    def introduce(self, members: list[Member]) -> None:
        """Members that this node has heard of outside the replicated state: whom to dial until their entries come."""
        for member in members:
            self.membership.introduce(member)

    def on_unsent(self, peer_id: str, envelope: Envelope) -> None:
        """A message could not be sent: the peer is not connected, so it does not hear us; the channel begins anew when it does."""
        peer = self.membership.peers.get(peer_id)
        if peer is not None and peer.channel.reset(envelope.incarnation, envelope.epoch):
            peer.hears_me = False
            self.replication.forget_peer(peer_id)

    def settled_to_leave(self) -> bool:
        """After :meth:`leave`: whether all that was to be said and kept is out of the core's hands."""
        return self.left and self.turn.idle

    def on_peer(self, peer_id: str, envelope: Envelope, message: PeerMessage) -> None:
        """A message from an admitted node."""
        peer = self.membership.peers.get(peer_id)
        if peer is None or self.twins.is_twin(peer, envelope.incarnation):
            return
        newly_heard = not peer.heard_within(self.now, self.settings.heartbeat_timeout_s)
        arrival = peer.channel.arrive(envelope)
        if not peer.channel.is_of_another(envelope.incarnation):
            peer.spoke_at = self.now
        if isinstance(message, Reset) and peer.channel.reset(message.incarnation, message.epoch):
            self._channel_broke(peer_id)  # whatever its own place in the stream: what it says is true
        if arrival is Arrival.STALE:
            return
        peer.heard_at = self.now
        peer.refused = False
        if arrival is Arrival.NEXT_OF_NEW_PROCESS:
            peer.beat = None
            peer.lease_from = NEVER
            peer.left = False  # what a process still says after its goodbye, such as its vote for a successor, does not undo it
        if arrival in (Arrival.GAP, Arrival.KNOWN_GAP):
            if arrival is Arrival.GAP:
                self.turn.to_peer(peer_id, Reset(envelope.incarnation, envelope.epoch))
            return
        if arrival is Arrival.NEXT_OF_NEW_PROCESS:
            self.replication.forget_peer(peer_id)
            self.broker.node_lost(peer_id, self.now)
        if newly_heard:
            self.pulse.send(peer)
        if not isinstance(message, Reset):
            self._handlers[type(message)](peer_id, message)

    def leave(self) -> None:
        """Leave politely: hand the reign over, then say goodbye. ``left`` is true once all has been said."""
        if self.election.leaving:
            return
        self.election.leaving = True
        self.edge.leave()
        if self.election.is_coordinator:
            self._step_down_for(self.reign.successor())
        for peer in self.membership.reachable():
            self.turn.to_peer_after_commit(peer.id, Goodbye())
        self.left = True

    def _step_down_for(self, successor: str) -> None:
        """End the reign; the successor, if there is one, stands at once."""
        term = self.election.term
        self.replication.flush(self.now)
        self.election.yield_()
        for peer in self.membership.reachable():
            self.pulse.send(peer)
        if successor:
            self.turn.to_peer_after_commit(successor, Abdicate(term))

    def _hand_over(self) -> None:
        """Let a node with room lead. Where there is none, this one goes on: nobody else could settle what is running."""
        successor = self.reign.successor(willing=True)
        if successor and self.election.role == Role.REIGNING:
            self._step_down_for(successor)

    # -- peers that come and go --------------------

    def _on_goodbye(self, sender: str, message: Goodbye) -> None:
        peer = self.membership.peers[sender]
        peer.left = True
        peer.hears_me = False
        peer.spoke_at = NEVER
        if self.election.coordinator == sender:
            self.election.coordinator = ""

    def _watch_reachability(self) -> None:
        """Notice peers that were alive and are not any more."""
        reachable = {peer.id for peer in self.membership.reachable()}
        for id in sorted(self._reachable_before - reachable):
            self.replication.forget_peer(id)
            self.broker.node_lost(id, self.now)
            self.reign.forget(id)
            self.membership.peers[id].beat = None  # whom it follows when it is back is for it to say
        self._reachable_before = reachable

    def _channel_broke(self, peer_id: str) -> None:
        """Messages between this node and a peer were lost: reconcile with it anew."""
        self.replication.forget_peer(peer_id)
        self.pulse.send(self.membership.peers[peer_id])
        if self.election.is_coordinator:
            self.reign.ask(peer_id)
        elif self.election.coordinator == peer_id:
            self.following.begin()

    # -- streams --------------------

    def _on_replicate(self, sender: str, message: Replicate) -> None:
        if message.term != self.election.term or (sender != self.election.coordinator and not self.election.is_coordinator):
            return
        if self.election.is_coordinator:
            joined_on = self.upkeep.take_in(sender, message, self.wall_ms)
        else:
            joined_on = self.replication.on_replicate(sender, message)
        if not joined_on:
            self._channel_broke(sender)
            return
        if not self.left and not self.membership.knows_me():
            self.membership.announce_me(self.wall_ms)
        self.reign.on_replicated_in()
