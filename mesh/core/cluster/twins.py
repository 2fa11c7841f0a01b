"""Two live processes with one key (R3): a state directory was cloned, and its seal did not show it.

The process that the mesh heard first stands. What the other one says is not heard as long as the first one speaks, so it can't undo
anything; it finds out by knocking, at those members that it knows and at the address that its directory remembers as its own, and goes.
A process that was only restarted is told apart by time: the one before it falls silent.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.config import Settings
from mesh.core.cluster.membership import Membership, Peer
from mesh.core.effects import Identity
from mesh.wire.messages import Knock, Refused

ALARM_PAUSE_S = 60.0
"""The same alarm is raised again after so long."""
CLONED = "cloned"
"""Code of a refusal that ends the process that knocked."""
LATER = "later"
"""Code of a refusal that may be over as soon as the former process of that node counts as gone."""


class _Sighting:
    """Another process under a peer's key, beside the one that is heard."""

    __slots__ = ("alarmed_at", "first_at", "incarnation", "last_at")

    def __init__(self, incarnation: bytes, now: float) -> None:
        self.incarnation = incarnation
        self.first_at = self.last_at = now
        self.alarmed_at = float("-inf")


class Twins:
    """Notices processes that share a key, this node's own or a peer's."""

    def __init__(self, me: Identity, membership: Membership, settings: Settings, up_ms: Callable[[], int]) -> None:
        self._me = me
        self._membership = membership
        self._settings = settings
        self._up_ms = up_ms
        self._seen: dict[str, _Sighting] = {}
        self._alarms: list[str] = []
        self.fate = ""
        """Why this process has to end, empty while it need not: its twin has more to say for itself."""

    @property
    def incarnation(self) -> bytes:
        """What tells this process from others with its key."""
        return self._me.bulk_journal[:8]

    def standing(self) -> tuple[int, int]:
        """What this process has to say for itself: members that hear it, and its age in milliseconds."""
        return len(self._membership.reachable()), self._up_ms()

    def is_twin(self, peer: Peer, incarnation: bytes) -> bool:
        """Whether a message under a peer's key is of another process than the one that is heard, and that one is alive."""
        if not peer.channel.is_of_another(incarnation) or self._membership.now - peer.spoke_at > self._settings.heartbeat_timeout_s:
            return False
        self._note(peer, incarnation)
        return True

    def judge(self, knock: Knock) -> Refused | None:
        """Why a process with a known key is not let in; None when it is the only one, for all that is known."""
        if not knock.incarnation:
            return None
        if knock.member.id == self._me.id:
            return self._judge_own(knock)
        peer = self._membership.peers.get(knock.member.id)
        if peer is None or not self.is_twin(peer, knock.incarnation):
            return None
        if self._is_proved(peer):
            return Refused(CLONED, _text(self._membership.name_of(peer.id), self._address_of(peer.id)))
        return Refused(LATER, "the former process of this node was heard a moment ago")

    def take_alarms(self) -> list[str]:
        """What a person should hear of, each handed out once."""
        alarms, self._alarms = self._alarms, []
        return alarms

    def _judge_own(self, knock: Knock) -> Refused | None:
        if knock.incarnation == self.incarnation:
            return None
        address = knock.member.addresses[0] if knock.member.addresses else "an unknown address"
        if self.standing() < knock.standing:
            self.fate = _text(knock.member.name, address)
            return Refused(LATER, "this process ends, as it has the same key")
        self._alarms.append(f"a process at {address} has this node's key and was refused; its state directory is a copy of this one")
        mine = self._me.addresses[0] if self._me.addresses else "this machine"
        return Refused(CLONED, _text(self._me.name, mine))

    def _note(self, peer: Peer, incarnation: bytes) -> None:
        now, timeout_s = self._membership.now, self._settings.heartbeat_timeout_s
        seen = self._seen.get(peer.id)
        if seen is None or seen.incarnation != incarnation or now - seen.last_at > ALARM_PAUSE_S:
            seen = self._seen[peer.id] = _Sighting(incarnation, now)
        seen.last_at = now
        if peer.spoke_at - seen.first_at > timeout_s and now - seen.alarmed_at > ALARM_PAUSE_S:
            seen.alarmed_at = now
            name, address = self._membership.name_of(peer.id), self._address_of(peer.id)
            self._alarms.append(f"two processes have the key of {name}: the one at {address} is heard, the other one is not; {_ADVICE}")

    def _is_proved(self, peer: Peer) -> bool:
        """Whether the process that is heard has gone on speaking for longer than one that was restarted could have."""
        return peer.spoke_at - self._seen[peer.id].first_at > self._settings.heartbeat_timeout_s

    def _address_of(self, id: str) -> str:
        member = self._membership.members.get(id)
        return member.addresses[0] if member is not None and member.addresses else "an unknown address"


_ADVICE = "if its state directory was copied, there: mesh identity reset"


def _text(name: str, address: str) -> str:
    return f"another process with this node's key is alive: {name} at {address}; if this state directory was copied: mesh identity reset"
