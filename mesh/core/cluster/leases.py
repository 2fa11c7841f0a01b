"""Who knows what is running: leases are told to whoever may take over before the deliveries leave (docs/decisions/055, 078)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from mesh.config import Settings
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.streams import LAG_S, NOBODY, Holder, by_worker
from mesh.core.turn import Turn
from mesh.wire.entries import Message

if TYPE_CHECKING:
    from mesh.core.cluster.replication import Replication


class Told(NamedTuple):
    """Leases that others have to know before the deliveries leave."""

    mark: int
    node: str
    """Where the deliveries go."""
    accepted_by: frozenset[str]
    """Nodes that know of these messages because they accepted them; deputies are not among them."""
    at_s: float
    counted_mark: int
    """Attempts were counted until then, which has to be on this disk (R24)."""


class Leases:
    """What this node knows to be running, and as the coordinator who else knows it."""

    def __init__(self, replication: Replication, replica: Replica, membership: Membership, turn: Turn, settings: Settings) -> None:
        self._replication = replication
        self._replica = replica
        self._membership = membership
        self._turn = turn
        self._settings = settings
        self.soft: dict[str, Holder] = {}
        """By message id: what may be running, as a coordinator told its deputies, and they its successor."""
        self.present: Callable[[], dict[str, Holder]] = dict
        """As the coordinator: what is handed out now."""
        self.is_present: Callable[[str], bool] = lambda id: False
        """As the coordinator: whether that message is."""
        self._rivals: dict[str, list[Holder]] = {}
        """By message id: who has it by the word of others, of whom some may not have heard of the end of that lease."""
        self._exposed_until = 0.0
        self._counted_mark = 0

    # -- as one that is told --------------------

    def learn(self, told: Iterable[tuple[str, str, list[str]]]) -> None:
        """The coordinator hands these out now, or nobody has them any more."""
        for worker, node, ids in told:
            if (worker, node) == NOBODY:
                for id in ids:
                    self.soft.pop(id, None)
            else:
                self.soft.update(dict.fromkeys(ids, (worker, node)))

    def report(self) -> list[tuple[str, str, list[str]]]:
        """All that is known, for a new coordinator."""
        return by_worker(self.soft)

    def forget_of_others(self) -> None:
        """A node that is no deputy needs to know the leases of what it holds itself."""
        if self.soft:
            journals = self._replica.journals.values()
            held = {entry.id for journal in journals for entry in journal.live.values() if isinstance(entry, Message)}
            paged = self._replica.pages.find
            self.soft = {id: holder for id, holder in self.soft.items() if id in held or paged(id) is not None}

    def settled(self, id: str) -> None:
        """Its message is over."""
        self.soft.pop(id, None)
        self._rivals.pop(id, None)

    # -- as the coordinator --------------------

    def begin(self) -> None:
        """Another coordinator, or another reign."""
        self._exposed_until = 0.0
        self._rivals.clear()

    def claim(self, id: str, holder: Holder) -> None:
        """Somebody knows this holder. Where another one is known both are, as either may be what is left of an earlier reign."""
        known = self.soft.get(id)
        if known is not None and known != holder:
            self._rivals[id] = [*(rival for rival in self._rivals.get(id, []) if rival != holder), known]
        self.soft[id] = holder

    def take(self, id: str) -> None:
        """The holder that ``soft`` names is dealt with; the next one, if there is one, takes its place."""
        del self.soft[id]
        rivals = self._rivals.pop(id, None)
        if rivals:
            self.soft[id] = rivals.pop()
            self._rivals[id] = rivals

    def expose(self) -> None:
        """A full deputy fell silent: it may take over with what it knows, and deliveries wait until another one is full."""
        self._exposed_until = self._membership.now + LAG_S

    def note(self, worker: str, node: str, owners: dict[str, str], *, again: bool = False) -> Told:
        """Tell whoever might take over what is about to be delivered: message id to the node that accepted it.

        That is the deputies, who hold all messages. Where a majority can do without coordinator and deputies, it is also the nodes that
        hold the messages because they accepted them.
        """
        holder, streams, deputies = (worker, node), self._replication.streams, self._replication.deputies
        for peer in deputies:
            stream = streams.get(peer)
            if stream is not None:
                stream.lease(dict.fromkeys(owners, holder))
        accepted_by: frozenset[str] = frozenset()
        if 2 * (len(self._membership.admitted()) - 1 - len(deputies)) > len(self._membership.admitted()):
            accepted_by = frozenset(owners.values()) & streams.keys() - {*deputies, node}
            for id, owner in owners.items():
                if owner in accepted_by:
                    streams[owner].lease({id: holder})
        return Told(self._turn.mark, node, accepted_by, self._membership.now, self._counted_mark if again else 0)

    @property
    def is_counting(self) -> bool:
        """Whether attempts were counted that are not on this disk yet."""
        return self._turn.durable_mark < self._counted_mark

    def count(self) -> None:
        """An attempt was counted now; the next one waits until that is on this disk."""
        self._counted_mark = self._turn.mark

    def are_known(self, told: Told) -> bool:
        """Whether all who were told know it, and nobody else can take over; the node that gets the delivery itself has no need to.

        After the patience nobody is waited for: from then on others may hand out the same (R10). The own disk is, as long as it takes.
        """
        if self._turn.durable_mark < told.counted_mark:
            return False
        if self._membership.now - told.at_s >= self._settings.takeover_patience_s:
            return True
        deputies, streams = self._replication.deputies, self._replication.streams
        if not all(peer == told.node or self._has_heard(peer, told.mark) for peer in deputies):
            return False
        if not all(peer not in streams or self._has_heard(peer, told.mark) for peer in told.accepted_by):
            return False
        return self._deputies_suffice() or not (self._membership.others_may_rule(deputies) and self._membership.has_authority_now())

    def _has_heard(self, peer: str, mark: int) -> bool:
        """Nobody waits for one that is gone. A full copy is not needed for it, nor a disk: leases overtake what is to be streamed."""
        stream = self._replication.streams.get(peer)
        return self._membership.gone_for_sure(peer) or (stream is not None and stream.heard_mark >= mark)

    def _deputies_suffice(self) -> bool:
        deputies, streams = self._replication.deputies, self._replication.streams
        exposed = self._membership.now < self._exposed_until and not all(peer in streams and streams[peer].complete for peer in deputies)
        return len(deputies) >= self._settings.copies - 1 and not exposed
