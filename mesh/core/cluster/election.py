"""Who coordinates: Raft's discipline (durable terms and votes, pre-vote) over the peers that are reachable.

Unlike in Raft a coordinator needs no majority to exist, only to dispatch: a minority elects one that accepts and keeps messages
(DESIGN 5, R11). Entries merge, so completeness decides who stands first, not who may win.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.config import Settings
from mesh.core.cluster.membership import SLEEP_PENALTY_S, Membership, Peer
from mesh.core.effects import Identity
from mesh.core.states import Role, RoleEvent, next_role
from mesh.core.turn import Turn
from mesh.wire.messages import Heartbeat, PeerMessage, PreVote, PreVoted, Vote, Voted

STAGGER_S = 0.15
"""Head start of each rank over the next, so that the best candidate is alone in the field (Raft randomises; ranks are quicker)."""
ROUND_TIMEOUT_S = 0.4
"""A round of votes that takes longer is lost."""
SLEEP_PENALTY_MAX_S = 3600.0
STABILITY_BUCKET_MS = 5_000
"""Uptimes this close count as equal, as peers' uptimes are known only to a heartbeat."""


class Election:
    """This node's role, term and vote, and the coordinator that it follows."""

    def __init__(
        self,
        me: Identity,
        membership: Membership,
        turn: Turn,
        settings: Settings,
        *,
        on_elected: Callable[[], None],
        on_yield: Callable[[], None],
        on_follow: Callable[[], None],
        on_renewed: Callable[[], None],
        is_complete: Callable[[], bool],
        is_forgotten: Callable[[str], bool],
    ) -> None:
        self._me = me
        self._membership = membership
        self._turn = turn
        self._settings = settings
        self._on_elected = on_elected
        self._on_yield = on_yield
        self._on_follow = on_follow
        self._on_renewed = on_renewed
        self._is_complete = is_complete
        self._is_forgotten = is_forgotten
        self.role = Role.FOLLOWER
        self.term = 0
        self.voted_for = ""
        self.coordinator = ""
        self.leaving = False
        self.damaged = False
        """This node's state directory was damaged, and it has not got back yet what the others hold (R20)."""
        self.disk_low = False
        """This node's disk is nearly full (R21)."""
        self.started_at = 0.0
        self.elections = 0
        """Rounds of votes that this node has begun; a figure for status and tests."""
        self._votes: set[str] = set()
        self._round_began_at = 0.0
        self._leaderless_since: float | None = None
        self._renewal: tuple[int, int] | None = None
        """(term, mark): the term that this reign goes on in once it is on the disk."""
        self._elected_in = 0
        self._deserted_since: float | None = None
        """As the coordinator: since when reachable nodes have followed a better one that is not heard here."""
        self._echoed_at = 0.0
        self._promised_until = 0.0
        """A promise to an earlier coordinator: until then this node gives no other one a lease (partition="strict")."""
        self._woke_at = 0.0
        self._asleep_until = 0.0
        self._sleep_penalty_s = SLEEP_PENALTY_S

    # -- questions --------------------

    @property
    def now(self) -> float:
        """Monotonic time of this turn, seconds."""
        return self._membership.now

    @property
    def is_coordinator(self) -> bool:
        """Whether this node is elected, reconciling or reigning."""
        return self.role >= Role.RECONCILING

    def hears_coordinator(self) -> bool:
        """Whether this node is, or is alive both ways with, the coordinator that it follows."""
        return self.is_coordinator or (self.coordinator != "" and self._membership.is_reachable(self.coordinator))

    def standing(self) -> tuple[int, int]:
        """What speaks for the coordinator that this node is or follows: (nodes that follow it, term it was elected in), as known here."""
        if self.is_coordinator:
            return 1 + sum(self._follows_me(peer) for peer in self._membership.reachable()), self._elected_in
        peer = self._membership.peers.get(self.coordinator)
        if peer is None or peer.beat is None or not self.hears_coordinator():
            return 0, 0
        return peer.beat.followers, peer.beat.elected_in

    def _follows_me(self, peer: Peer) -> bool:
        return peer.beat is not None and (peer.beat.coordinator == self._me.id or (not peer.beat.coordinator and peer.id in self._votes))

    def _outranked_by(self, coordinator: str, followers: int, elected_in: int) -> bool:
        """Of two coordinators the one with more followers stays, so that a node that was away alone does not end the reign of the others;
        of equals the one that was elected in the lower term, as its reign is the older one. One that was forgotten gives way (R17).
        """
        forgot_it, peer = self._is_forgotten(coordinator), self._membership.peers.get(coordinator)
        forgot_me = peer is not None and peer.beat is not None and peer.beat.forgot_you
        if forgot_it != forgot_me:
            return forgot_me
        mine = self.standing()
        return (followers, -elected_in, coordinator) > (mine[0], -mine[1], self.coordinator)

    def echo_ms(self, peer: Peer) -> int:
        """What to echo to a peer: its last heartbeat's time when it is the coordinator that this node follows, and no promise stands."""
        if peer.id != self.coordinator or peer.beat is None or self.now < self._promised_until:
            return -1
        self._echoed_at = self.now
        return peer.beat.up_ms

    @property
    def promised(self) -> bool:
        """Whether this node still owes an earlier coordinator its promise."""
        return self.now < self._promised_until

    def asleep(self) -> bool:
        """Whether this node woke so recently that it shall not be elected (R14)."""
        return self.now < self._asleep_until

    def reluctant(self) -> bool:
        """Whether this node stands only if nobody better does: it has just woken (R14), is not whole (R20) or has no room (R21)."""
        return self.asleep() or self.damaged or self.disk_low

    def up_ms(self) -> int:
        """Age of this process in milliseconds."""
        return int((self.now - self.started_at) * 1000)

    # -- time --------------------

    def restore(self, term: int, voted_for: str) -> None:
        """Take over the durable term and vote of a former process."""
        self.term, self.voted_for = term, voted_for

    def start(self, now: float) -> None:
        """The process begins; what a former one has promised a moment ago may still stand (partition="strict")."""
        self.started_at = now
        self._promised_until = now + self._settings.authority_timeout_s

    def tick(self) -> None:
        """Stand for election when it is this node's turn; give up rounds that take too long."""
        if self.role in (Role.CANDIDATE, Role.ELECTING):
            if self.now - self._round_began_at > ROUND_TIMEOUT_S:
                self._lose_round()
        elif self.role == Role.FOLLOWER:
            if self.hears_coordinator():
                self._leaderless_since = None
            else:
                self._leaderless_since = self.now if self._leaderless_since is None else self._leaderless_since
                if self.coordinator and not self._membership.is_heard(self.coordinator):
                    self.coordinator = ""
            if self._may_stand():
                self._stand()
        else:
            self._renew_when_durable()
            self._give_way_when_deserted()

    def woke_up(self, gap_s: float) -> None:
        """The process was not running for a while: step down, say so, and prove oneself anew (R12, R14)."""
        self._woke_at = self.now
        if len(self._membership.admitted()) > 1 and self.role != Role.FOLLOWER:
            self.yield_()
        if gap_s > self._settings.heartbeat_timeout_s:
            self._sleep_penalty_s = self._next_penalty_s()
            self._asleep_until = self.now + self._sleep_penalty_s

    def _next_penalty_s(self) -> float:
        """Twice the last one after less time awake than that, otherwise half of it for each such time (as BGP damps flaps, RFC 2439)."""
        last_s = self._sleep_penalty_s
        if not self._asleep_until:
            return last_s
        times_awake = int((self.now - self._asleep_until) // last_s)
        if times_awake < 1:
            return min(2 * last_s, SLEEP_PENALTY_MAX_S)
        return float(max(last_s / 2 ** min(times_awake, 10), SLEEP_PENALTY_S))

    # -- rounds --------------------

    def _may_stand(self) -> bool:
        if self._leaderless_since is None or self._me.never_coordinate or self.leaving:
            return False
        timeout_s = self._settings.heartbeat_timeout_s
        if self.now - max(self.started_at, self._woke_at) < timeout_s and not self._membership.has_authority_now():
            return False  # peers may be about to answer: a node that sees nobody is not a mesh of one
        if self.damaged and self.now - self._leaderless_since < self._settings.takeover_patience_s:
            return False  # somebody may still come who is whole; after that it goes on with what it has, alone in the world
        return self.now - self._leaderless_since >= self._rank() * STAGGER_S

    def _rank(self) -> int:
        """How many reachable nodes should stand before this one."""
        mine = (self.reluctant(), not self._is_complete(), -self._me.weight, -(self.up_ms() // STABILITY_BUCKET_MS), self._me.id)
        better = 0
        for peer in self._membership.reachable():
            beat = peer.beat
            if beat is not None and not beat.never_coordinate:
                theirs = (beat.asleep, not beat.complete, -beat.weight, -(beat.up_ms // STABILITY_BUCKET_MS), peer.id)
                better += theirs < mine
        return better

    def _stand(self) -> None:
        self._move(RoleEvent.STAND)
        self._round_began_at = self.now
        self._votes = {self._me.id}
        self._broadcast(PreVote(self.term + 1))
        self._count_pre_votes()

    def _count_pre_votes(self) -> None:
        if self._has_majority_of_reachable():
            self._move(RoleEvent.PRE_VOTES_WON)
            self._call_election(handover=False)

    def _call_election(self, *, handover: bool) -> None:
        self._set_term(self.term + 1, self._me.id)
        self.elections += 1
        self._round_began_at = self.now
        self._votes = {self._me.id}
        for peer in self._membership.reachable():
            self._turn.to_peer_after_commit(peer.id, Vote(self.term, handover))
        self._count_votes()

    def _count_votes(self) -> None:
        if self._has_majority_of_reachable():
            self._move(RoleEvent.VOTES_WON)
            self._change_to(self._me.id)
            self._elected_in = self.term
            self._leaderless_since = None
            self._on_elected()

    def reconciled(self) -> None:
        """All reachable members have reported, or their time is over: the reign begins (R9)."""
        self._move(RoleEvent.RECONCILED)

    def _lose_round(self) -> None:
        self._move(RoleEvent.ROUND_LOST)
        self._leaderless_since = self.now
        self._votes = set()

    def _has_majority_of_reachable(self) -> bool:
        voters = {peer.id for peer in self._membership.reachable()} | {self._me.id}
        return 2 * len(self._votes & voters) > len(voters)

    # -- messages --------------------

    def on_pre_vote(self, sender: str, message: PreVote) -> None:
        """Would this node vote for the sender? Not while it hears a coordinator (R13), and not for one that was forgotten (R17)."""
        granted = message.term > self.term and not self.hears_coordinator() and not self._is_forgotten(sender)
        self._turn.to_peer(sender, PreVoted(self.term, granted))

    def on_pre_voted(self, sender: str, message: PreVoted) -> None:
        """An answer to this node's pre-vote. One refusal ends the round: somebody hears a coordinator."""
        if self.role != Role.CANDIDATE:
            return
        if not message.granted:
            if message.term > self.term:
                self._set_term(message.term, "")
            self._lose_round()
            return
        self._votes.add(sender)
        self._count_pre_votes()

    def on_vote(self, sender: str, message: Vote) -> None:
        """Vote once per term, durably before the answer leaves."""
        free = message.term > self.term or (message.term == self.term and self.voted_for in ("", sender))
        granted = free and (message.handover or not self.hears_coordinator() or self.coordinator == sender)
        if granted and self._settings.partition == "strict" and self.now - self.started_at < self._settings.heartbeat_timeout_s:
            granted = message.handover  # a promise from before a restart may still stand
        if granted:
            if self.role != Role.FOLLOWER:
                self.yield_()
            self.coordinator = ""
            self._set_term(message.term, sender)
        self._turn.to_peer_after_commit(sender, Voted(message.term if granted else self.term, granted))

    def on_voted(self, sender: str, message: Voted) -> None:
        """An answer to this node's call for votes."""
        if self.role != Role.ELECTING:
            return
        if not message.granted:
            if message.term > self.term:
                self._set_term(message.term, "")
            self._lose_round()
        elif message.term == self.term:
            self._votes.add(sender)
            self._count_votes()

    def on_heartbeat(self, sender: str, beat: Heartbeat) -> None:
        """Learn of coordinators and terms from a peer that hears us."""
        if beat.coordinator == sender:
            self.on_claim(sender, beat.term, beat.followers, beat.elected_in)
        elif sender == self.coordinator:
            self.coordinator = ""  # it stepped down and says so (R12)
        elif beat.term > self.term:
            if not self.is_coordinator:
                self._set_term(beat.term, "")
            elif not beat.coordinator or not self._outranked_by(beat.coordinator, beat.followers, beat.elected_in):
                self._renew(beat.term)  # that peer can't follow a lower term

    def on_claim(self, sender: str, term: int, followers: int, elected_in: int) -> bool:
        """The sender says that it coordinates in this term, and what speaks for it. True when this node (now) follows it."""
        if sender == self.coordinator and term == self.term and not self.is_coordinator:
            return True
        outranked = sender == self.coordinator or not self.hears_coordinator() or self._outranked_by(sender, followers, elected_in)
        if term < self.term or not outranked:
            if self.is_coordinator and not outranked and term > self.term:
                self._renew(term)  # so that it can follow: it gives way when it hears us
            return False
        if self.role != Role.FOLLOWER:
            self.yield_()
        if term > self.term:
            self._set_term(term, sender)
        self._change_to(sender)
        self._leaderless_since = None
        self._on_follow()
        return True

    def take_over(self, term: int) -> None:
        """The coordinator leaves and asks this node to follow it: stand at once, without a pre-vote."""
        if term == self.term and self.role == Role.FOLLOWER and not self._me.never_coordinate:
            self.coordinator = ""
            self._move(RoleEvent.STAND)
            self._move(RoleEvent.PRE_VOTES_WON)
            self._call_election(handover=True)

    # -- a reign goes on, or gives way --------------------

    def _renew(self, above: int) -> None:
        """Go on in a term above this one: others are in it, who can't follow a lower one, and whose reign is not the better one."""
        if self._renewal is None or self._renewal[0] <= above:
            self._renewal = (above + 1, self._turn.mark)
            self._turn.vote(above + 1, self._me.id)

    def _renew_when_durable(self) -> None:
        """R9: a term is told only when it is on the disk."""
        if self._renewal is not None and self._turn.durable_mark >= self._renewal[1]:
            (self.term, _), self.voted_for, self._renewal = self._renewal, self._me.id, None
            self._on_renewed()

    def _give_way_when_deserted(self) -> None:
        """Nodes that are reachable go on following a better coordinator that is not heard here: two would hand out with the same majority.

        Only after a while, as they may not have noticed yet that theirs is gone.
        """
        rivals = [peer.beat for peer in self._membership.reachable() if peer.beat is not None]
        deserted = any(
            beat.coordinator not in ("", self._me.id)
            and not self._membership.is_heard(beat.coordinator)
            and self._outranked_by(beat.coordinator, beat.followers, beat.elected_in)
            for beat in rivals
        )
        if not deserted:
            self._deserted_since = None
        elif self._deserted_since is None:
            self._deserted_since = self.now
        elif self.now - self._deserted_since > self._settings.heartbeat_timeout_s:
            self.yield_()

    def yield_(self) -> None:
        """Step down to follower; votes of a round under way are dropped."""
        was_coordinator = self.is_coordinator
        if self._renewal is not None:
            self.term, self.voted_for, self._renewal = self._renewal[0], self._me.id, None
        self._deserted_since = None
        self._move(RoleEvent.YIELD)
        self._votes = set()
        if was_coordinator:
            self.coordinator = ""
            self._leaderless_since = self.now
            self._on_yield()

    def _change_to(self, coordinator: str) -> None:
        """Follow, or be, another coordinator; what was promised to the last one runs out first."""
        if coordinator != self.coordinator and self._echoed_at:
            self._promised_until = self._echoed_at + self._settings.authority_timeout_s
        self.coordinator = coordinator

    # -- details --------------------

    def _broadcast(self, message: PeerMessage) -> None:
        for peer in self._membership.reachable():
            self._turn.to_peer(peer.id, message)

    def _set_term(self, term: int, voted_for: str) -> None:
        self.term, self.voted_for = term, voted_for
        self._turn.vote(term, voted_for)

    def _move(self, event: RoleEvent) -> None:
        self.role = next_role(self.role, event)
