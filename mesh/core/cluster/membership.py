"""Who belongs to the mesh, and who of them is alive.

Members are replicated entries; liveness is this node's own view by two-way heartbeats (R13): a peer is alive when it was heard within the
timeout and says that it hears us. A refused connection proves that a process is gone (DESIGN 5).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from mesh.config import Settings
from mesh.core.cluster.channels import Channel
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.effects import Identity
from mesh.wire.entries import Entry, Member, Scope
from mesh.wire.messages import Heartbeat

NEVER = float("-inf")
SLEEP_PENALTY_S = 60.0
"""How long a node that woke up is not electable (R14)."""


class Peer:
    """What this node knows of another node's liveness."""

    __slots__ = ("beat", "channel", "heard_at", "hears_me", "id", "lease_from", "left", "refused", "skew_ms", "spoke_at", "tells_time")

    def __init__(self, id: str, incarnation: bytes) -> None:
        self.id = id
        self.channel = Channel(incarnation)
        self.heard_at = NEVER
        self.spoke_at = NEVER
        """When the process that the channel follows was last heard, while nothing says that it is gone."""
        self.hears_me = False
        self.refused = False
        """Its host actively refused a connection since it was last heard: the process is gone."""
        self.left = False
        """It said goodbye since it was last heard."""
        self.beat: Heartbeat | None = None
        self.skew_ms = 0
        self.tells_time = False
        """A heartbeat has told this process what its wall clock shows."""
        self.lease_from = NEVER
        """When the heartbeat was sent that it echoed last as our follower."""

    @property
    def alarm(self) -> str:
        """``code: text`` while its disk or memory is over its limit, as it said last."""
        return self.beat.alarm if self.beat is not None else ""

    def heard_within(self, now: float, timeout_s: float) -> bool:
        """Whether anything came from it within the timeout."""
        return now - self.heard_at <= timeout_s

    def two_way(self, now: float, timeout_s: float) -> bool:
        """Alive: heard, and it hears us."""
        return self.hears_me and not self.refused and not self.left and now - self.heard_at <= timeout_s


class Membership:
    """The roster of members, and the peers' liveness."""

    def __init__(self, me: Identity, replica: Replica, settings: Settings) -> None:
        self.me = me
        self._replica = replica
        self._settings = settings
        self.members: dict[str, Member] = {}
        self._admitted: list[Member] | None = None
        """Made anew when the roster has changed: every turn of the loop asks for it several times."""
        self._dots: dict[str, tuple[Journal, int]] = {}
        self.peers: dict[str, Peer] = {}
        self.changed = True
        """The roster changed since the loop last looked: whom to dial and whom to let in."""
        self.now = 0.0
        replica.on_added.append(self._on_added)

    # -- the roster --------------------

    def load(self) -> None:
        """Index what the replica has restored."""
        self._replica.tell_restored(self._on_added)

    def admit(self, member: Member) -> Member:
        """Write a member's entry unless the roster already says the same; returns the entry that stands."""
        known = self.members.get(member.id)
        if known is not None and _same(known, member):
            return known
        member.revision = known.revision + 1 if known is not None else 1
        self._replica.write(member, Scope.SHARED)
        return member

    def let_in(self, member: Member) -> None:
        """Admit who knocks. A program does so with the key of its home, which may be its node's too: that stays a node."""
        known = self.members.get(member.id)
        if member.durable or known is None or not known.durable:
            self.admit(member)

    def introduce(self, member: Member) -> None:
        """Know a member before its entry has come, or where it is by now.

        Of one that is heard its own entry alone says where it is: a process with its key elsewhere would have us talk to that one (R3).
        """
        known = self.members.get(member.id)
        if member.id == self.me.id or (known is not None and (known.revision >= member.revision or self.is_heard(member.id))):
            return
        self.members[member.id] = member
        self._watch(member)

    def announce_me(self, at_ms: int) -> None:
        """Make this node's own entry say what is true now: present, where, which version."""
        self.admit(self.me.member(at_ms))

    def knows_me(self) -> bool:
        """Whether the roster has this node as what it is: one that is here, and not a program of its home, nor one that left."""
        mine = self.members.get(self.me.id)
        return mine is not None and mine.present and mine.durable

    def mark_left(self, id: str) -> None:
        """Write down that a member left politely: it no longer counts for majorities and copies (R6)."""
        known = self.members.get(id)
        if known is not None and known.present:
            fields = {name: getattr(known, name) for name in known.__struct_fields__}
            self.admit(Member(**{**fields, "present": False}))

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if not isinstance(entry, Member):
            return
        known = self.members.get(entry.id)
        old = self._dots.get(entry.id)
        if known is not None and old is not None:
            mine = (known.revision, old[0].name, old[1])
            if (entry.revision, journal.name, sequence) < mine:
                self._replica.settle(journal, sequence)
                return
        self._dots[entry.id] = (journal, sequence)
        if old is not None and old != (journal, sequence):
            self._replica.settle(*old)
        if known is None or entry.revision >= known.revision:
            self.members[entry.id] = entry
            self._watch(entry)

    def _watch(self, member: Member) -> None:
        self._admitted = None
        if member.id != self.me.id and member.durable and member.id not in self.peers:
            self.peers[member.id] = Peer(member.id, self.me.bulk_journal[:8])
        self.changed = True

    def admitted(self) -> Sequence[Member]:
        """Durable members that have not left: those that majorities and copies count over, this node included."""
        if self._admitted is None:
            self._admitted = [member for member in self.members.values() if member.durable and member.present]
        return self._admitted

    def name_of(self, id: str) -> str:
        """A node's name, or its id when it is not a member."""
        member = self.members.get(id)
        return member.name if member is not None else id

    # -- liveness --------------------

    def reachable(self) -> list[Peer]:
        """Peers that are alive both ways."""
        timeout_s = self._settings.heartbeat_timeout_s
        return [peer for peer in self.peers.values() if peer.two_way(self.now, timeout_s)]

    def is_reachable(self, id: str) -> bool:
        """Whether a peer is alive both ways."""
        peer = self.peers.get(id)
        return peer is not None and peer.two_way(self.now, self._settings.heartbeat_timeout_s)

    def skew_ms(self, id: str) -> int:
        """How far a node's wall clock was ahead of this one's at its last heartbeat, its way included; 0 when that is not known."""
        peer = self.peers.get(id)
        return peer.skew_ms if peer is not None else 0

    def knows_clock_of(self, id: str) -> bool:
        """Whether ``skew_ms`` was measured; also of who is no peer, whose clock nobody will tell."""
        peer = self.peers.get(id)
        return peer is None or peer.tells_time

    def is_heard(self, id: str) -> bool:
        """Whether a peer speaks to this node, whether or not it hears it."""
        peer = self.peers.get(id)
        return peer is not None and not (peer.refused or peer.left) and peer.heard_within(self.now, self._settings.heartbeat_timeout_s)

    def gone_for_sure(self, id: str) -> bool:
        """Whether a peer said goodbye or its host refuses connections."""
        peer = self.peers.get(id)
        return peer is None or peer.left or peer.refused

    def missing(self, timeout_s: float) -> Iterator[Member]:
        """Admitted members other than this node that are not alive both ways within the timeout."""
        for member in self.admitted():
            if member.id != self.me.id:
                peer = self.peers.get(member.id)
                if peer is None or not peer.two_way(self.now, timeout_s):
                    yield member

    def has_lease_of_majority(self) -> bool:
        """partition="strict": a majority follows this node and promised, so short a time ago that none may have followed another since."""
        promised = 1 + sum(self.has_lease_of(member.id) for member in self.admitted())
        return 2 * promised > len(self.admitted())

    def has_lease_of(self, id: str) -> bool:
        """Whether a peer has heard this node as its coordinator so short a time ago that it can't have followed another since."""
        peer = self.peers.get(id)
        return peer is not None and self.now - peer.lease_from < self._settings.authority_timeout_s

    def has_authority_now(self) -> bool:
        """Clauses (a) and (b) of authority to dispatch (DESIGN 5): a majority is reachable, or every missing member is gone for sure."""
        missing = list(self.missing(self._settings.authority_timeout_s))
        reachable = len(self.admitted()) - len(missing)
        return 2 * reachable > len(self.admitted()) or all(self.gone_for_sure(member.id) for member in missing)

    def others_may_rule(self, knowing: Iterable[str]) -> bool:
        """Whether a majority of the members is possible without this node, those that know what it does, and those that are gone."""
        admitted = self.admitted()
        if len(admitted) <= 2:  # all but this node are no majority
            return False
        known = {self.me.id, *knowing}
        others = sum(member.id not in known and not self.gone_for_sure(member.id) for member in admitted)
        return 2 * others > len(admitted)


def _same(a: Member, b: Member) -> bool:
    return all(getattr(a, name) == getattr(b, name) for name in a.__struct_fields__ if name not in ("revision", "at_ms"))
