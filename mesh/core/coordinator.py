"""The life of this node as the coordinator: reconcile with all, then dispatch as long as it has the authority to (R9-R11)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mesh.config import Settings
from mesh.core.broker.broker import Broker
from mesh.core.broker.dispatch import Dispatcher
from mesh.core.cluster.election import Election
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replication import Replication
from mesh.core.edge.sessions import Edge
from mesh.core.states import Role
from mesh.core.turn import Turn
from mesh.core.upkeep import Upkeep
from mesh.wire.calls import States
from mesh.wire.messages import Consumers, Offer, Outcomes, PeerMessage, Reign, Report, Reserve, Take, Watch, WorkerGone

NOTICE_INTERVAL_S = 1.0
ASK_INTERVAL_S = 0.5
"""Pause between requests to a reachable member that has not reported yet."""
DEFERRED_MAX = 10_000
"""Messages for the broker kept until it begins; their senders repeat what is beyond that when they hear of the reign."""


class Coordinator:
    """From being elected to stepping down."""

    def __init__(
        self,
        election: Election,
        membership: Membership,
        replication: Replication,
        broker: Broker,
        dispatcher: Dispatcher,
        edge: Edge,
        upkeep: Upkeep,
        turn: Turn,
        settings: Settings,
        *,
        answer: Callable[[str, PeerMessage], None],
    ) -> None:
        self._election = election
        self._membership = membership
        self._replication = replication
        self._broker = broker
        self._dispatcher = dispatcher
        self._edge = edge
        self._upkeep = upkeep
        self._turn = turn
        self._settings = settings
        self._answer = answer
        edge.fetches.is_lost = broker.bodies.is_lost
        self.now = 0.0
        self._began_at = 0.0
        self._noticed_at = 0.0
        self._reconcile_until = 0.0
        self._awaited: set[str] = set()
        self._awaited_workers: set[str] = set()
        self._asked_at: dict[str, float] = {}
        self._deferred: list[tuple[str, PeerMessage]] = []
        self._without_authority_since: float | None = None
        self._regained_at = float("-inf")

    # -- begin and end --------------------

    def begin(self) -> None:
        """This node was elected: ask every reachable member to report."""
        self._replication.lead()
        self._awaited = {peer.id for peer in self._membership.reachable()}
        self._awaited_workers = set(self._edge.workers)
        self._began_at = self.now
        self._reconcile_until = self.now + self._settings.reconcile_timeout_s
        self._asked_at.clear()
        self._deferred.clear()
        self._dispatcher.reset()
        self._without_authority_since, self._regained_at = None, self.now
        self._edge.coordinator_changed()
        for id in sorted(self._awaited):  # a set's order differs between processes, and a run must follow from its seed
            self.ask(id)
        self._reconcile()

    def end(self) -> None:
        """This node stepped down."""
        self._broker.end()
        self._upkeep.end()
        self._replication.leading = False

    def renew(self) -> None:
        """The reign goes on in a higher term: streams of the last one are void, so every member reports anew.

        Others may have ruled in the term between: they are heard before the next dispatch (R9).
        """
        self._regained_at = self.now
        self._awaited = {peer.id for peer in self._membership.reachable()}
        for id in sorted(self._awaited):
            self.ask(id)

    def ask(self, peer_id: str) -> None:
        """Ask a member to report; its workers get nothing until their full offers have come."""
        self._asked_at[peer_id] = self.now
        self._broker.workforce.hold_back(peer_id)
        self._replication.reign_to(peer_id, Reign(self._election.term, *self._election.standing()))

    def forget(self, peer_id: str) -> None:
        """A member is no longer reachable."""
        self._asked_at.pop(peer_id, None)
        self._broker.early_offers.attached(peer_id, ())

    def _reconcile(self) -> None:
        """R9: dispatch only after every reachable member has reported, or the time for it is over."""
        self._awaited = {id for id in self._awaited if self._membership.is_reachable(id) and not self._replication.reconciled_with(id)}
        if (self._awaited or self._awaited_workers) and self.now < self._reconcile_until:
            return
        self._election.reconciled()
        self._broker.begin(self.now)
        self._replication.appoint()  # deliveries wait until a deputy knows of them
        deferred, self._deferred = self._deferred, []
        for sender, message in deferred:
            self.on_broker_message(sender, message)
        self._edge.watch_again()

    # -- authority --------------------

    def has_authority(self) -> bool:
        """Whether the coordinator may dispatch now (R10): majority, or proof that the missing are gone, or patience.

        With partition="strict" only a lease of a majority counts.
        """
        strict = self._settings.partition == "strict"
        if strict:
            now_so = self._membership.has_lease_of_majority() and not self._election.promised
        else:
            now_so = self._membership.has_authority_now()
        if now_so:
            if self._without_authority_since is not None:
                self._without_authority_since, self._regained_at = None, self.now
            return not self._meets_the_others()
        if self._without_authority_since is None:
            self._without_authority_since = self.now
        return not strict and self.now - self._without_authority_since >= self._settings.takeover_patience_s

    def _meets_the_others(self) -> bool:
        """R9 anew: authority came back with members that may have followed another meanwhile. Hear all of them before the next dispatch."""
        if self.now - self._regained_at >= self._settings.reconcile_timeout_s:
            return False
        return not self._replication.has_heard_all_here()

    def dispatch(self) -> None:
        """Hand out what may be handed out, drop what is too much, and let publishers in where that made room."""
        broker = self._broker
        if self._election.role != Role.REIGNING:
            return
        broker.flows.go_on()
        if (broker.dirty or self._dispatcher.held or broker.overflow.grown) and self.has_authority():
            self._dispatcher.dispatch()
            broker.overflow.trim(broker.queues, broker.records)
            broker.expiry.end()
        broker.admission.advance()

    def successor(self, *, willing: bool = False) -> str:
        """The deputy that shall take over when this node leaves, or any other reachable node that may; empty for none.

        ``willing``: only one that is not reluctant to lead.
        """
        electable = {
            peer.id
            for peer in self._membership.reachable()
            if peer.beat is not None and not peer.beat.never_coordinate and not (willing and peer.beat.asleep)
        }
        candidates = [id for id in self._replication.deputies if id in electable] or sorted(electable)
        return candidates[0] if candidates else ""

    # -- time --------------------

    def tick(self) -> None:
        """Do what is due for a coordinator."""
        if self._election.role == Role.RECONCILING:
            self._reconcile()
        self._ask_for_reports()
        self._replication.appoint()
        self._upkeep.tick(self.now, self._broker.wall_ms)
        for member in self._membership.admitted():
            peer = self._membership.peers.get(member.id)
            if peer is not None and peer.left:
                self._membership.mark_left(member.id)
        if self._election.role == Role.REIGNING:
            self._tick_broker()

    def _ask_for_reports(self) -> None:
        """Members that are reachable and have no stream: they came back, or joined."""
        for peer in self._membership.reachable():
            asked_at = self._asked_at.get(peer.id)
            if peer.id not in self._replication.streams and (asked_at is None or self.now - asked_at > ASK_INTERVAL_S):
                self.ask(peer.id)

    def _tick_broker(self) -> None:
        self._judge_early_offers()
        self._broker.tick(self.now)
        self._broker.declarations.tick(self.now, self._election.term, authority=self.has_authority())
        self._broker.overflow.look_at_all(self._broker.queues)
        if self._broker.expiry and self.has_authority():
            self._broker.expiry.tick()
        if not self._broker.dirty and self.has_authority():
            self._dispatcher.recalls.tick()
        consumers = self._dispatcher.consumers_changed(self.now - self._began_at)
        if consumers is not None:
            self._edge.on_consumers(consumers.queues)
            for peer in self._membership.reachable():
                self._turn.to_peer(peer.id, consumers)
        if self.now - self._noticed_at >= NOTICE_INTERVAL_S:
            self._noticed_at = self.now
            self._dispatcher.notice()
        if self._settings.partition == "strict" or not self._membership.has_authority_now():
            self._broker.dirty = True  # authority comes by time or by a heartbeat, not by anything that the broker sees

    # -- messages --------------------

    def on_report(self, sender: str, report: Report) -> None:
        """A member says what it holds and which workers are attached to it."""
        if not self._election.is_coordinator or report.term != self._election.term:
            return
        self._replication.on_report(sender, report)
        self._broker.admission.forget(sender)  # it asks again
        self._upkeep.on_report(sender, report)
        self._broker.takeover.on_reported_leases(report.leases)
        self._broker.workforce.hold_back(sender)
        self._broker.workforce.on_attached(sender, set(report.workers), self.now)
        self._broker.early_offers.attached(sender, report.workers)
        if self._election.role == Role.RECONCILING:
            self._awaited_workers.update(report.workers)
            return
        if all(peer.id in self._replication.streams for peer in self._membership.reachable()):
            self._replication.appoint()  # at once, as deliveries wait for it; of those that have copies already, if all have said so
        if self._dispatcher.consumed is not None:
            self._turn.to_peer(sender, Consumers(sorted(self._dispatcher.consumed)))

    def on_replicated_in(self) -> None:
        """A member's stream brought something: it may have been the last that was awaited."""
        if self._election.role == Role.RECONCILING:
            self._reconcile()
        self._judge_early_offers()

    def _judge_early_offers(self) -> None:
        for node, offer in self._broker.early_offers.take(self._replication.reconciled_with):
            self._broker.workforce.on_offer(node, offer)

    def _on_offer(self, sender: str, offer: Offer) -> None:
        can_be_judged = sender == self._membership.me.id or self._replication.reconciled_with(sender)
        if offer.active is None:
            self._broker.early_offers.changed(sender, offer)
        elif can_be_judged or self._election.role != Role.REIGNING:
            self._broker.early_offers.replaced(offer)
        else:
            self._broker.early_offers.keep(sender, offer)
            offer = msgspec.structs.replace(offer, active=None)
        self._broker.workforce.on_offer(sender, offer)

    def on_broker_message(self, sender: str, message: PeerMessage) -> None:
        """From a node's edge to the coordinator."""
        broker = self._broker
        if not self._election.is_coordinator:
            return
        if isinstance(message, Offer):
            self._on_offer(sender, message)
            if message.active is not None and self._awaited_workers:
                self._awaited_workers.discard(message.worker)
                self.on_replicated_in()
        elif isinstance(message, WorkerGone):
            broker.early_offers.worker_gone(sender, message.worker)
            broker.workforce.on_worker_gone(sender, message.worker, by_itself=message.by_itself)
        elif not broker.active:
            if len(self._deferred) < DEFERRED_MAX:
                self._deferred.append((sender, message))
        elif isinstance(message, Outcomes):
            broker.on_outcomes(sender, message)
        elif isinstance(message, Take):
            broker.takes.add(message)
            broker.declarations.lifetimes.touch(message.queue)
            broker.dirty = True
        elif isinstance(message, Watch):
            broker.pushes.on_watch(sender, message)
        elif isinstance(message, States):
            broker.states.on_states(sender, message)
        elif isinstance(message, Reserve):
            broker.admission.on_reserve(sender, message)
        else:
            self._answer(sender, message)
