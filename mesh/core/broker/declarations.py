"""The coordinator's changes of the routing tables: what programs ask for, and what goes by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from mesh.config import Settings
from mesh.core.broker.lifetimes import Lifetimes, owner_of
from mesh.core.broker.topology_draft import Draft, Row, arguments_of
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.topology import Topology
from mesh.errors import DeclaredOtherwise, InUse, InvalidTopology, NotFound
from mesh.wire.topology_changes import DeclareQueue, TopologyChange

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

LOOK_S = 0.25
"""Pause between two looks at what goes by itself."""
_decoder = msgspec.json.Decoder(TopologyChange)


class Declarations:
    """Declares, binds and deletes during a reign."""

    def __init__(self, broker: Broker, topology: Topology, settings: Settings, everybody_is_here: Callable[[], bool]) -> None:
        self._broker = broker
        self._topology = topology
        self.lifetimes = Lifetimes(settings)
        self._everybody_is_here = everybody_is_here
        """Whether all members have told what they hold."""
        self._looked_at = 0.0

    # -- what the draft asks --------------------

    def waiting(self, queue: str) -> int:
        """Messages that wait, ready or delayed."""
        found = self._broker.queues.get(queue)
        return found.length if found is not None else 0

    def held(self, queue: str) -> int:
        """Messages that consumers hold."""
        found = self._broker.queues.get(queue)
        return found.unsettled if found is not None else 0

    def consumers(self, queue: str) -> int:
        """Programs that consume it."""
        return sum(queue in worker.queues for worker in self._broker.workers.values())

    # -- changes --------------------

    def change(self, argument: str, term: int) -> list[Row]:
        """Make the changes of a question, all of them in one transaction; returns what became of each.

        Raises InvalidTopology, NotFound, DeclaredOtherwise or InUse: nothing is changed then.
        """
        try:
            asked = _decoder.decode(argument)
        except msgspec.DecodeError as error:
            raise InvalidTopology(f"a change that is not possible: {error}") from None
        draft = Draft(self._topology, self, asked.owner)
        rows: list[Row] = []
        for number, change in enumerate(asked.changes):
            try:
                rows.append(draft.make(change))
            except (InvalidTopology, NotFound, InUse, DeclaredOtherwise) as error:
                if len(asked.changes) > 1:
                    error.args = (f"{error} (change {number + 1} of {len(asked.changes)}; none of them was made)",)
                raise
        if not asked.dry:
            self._carry_out(draft, term)
            for change in asked.changes:
                if isinstance(change, DeclareQueue):
                    self.lifetimes.touch(change.name)
                    if change.exclusive:
                        self._broker.workforce.tell_closed(change.name)
        return rows

    def _carry_out(self, draft: Draft, term: int) -> None:
        for queue, what in draft.dropped.items():
            self._broker.purge.drop(queue, what)
            if what == "deleted":
                self.lifetimes.forget(queue)
        for name, entry in draft.entries.items():
            if entry is None:
                self._topology.remove(name)
            else:
                self._topology.put(entry, term)

    # -- what goes by itself --------------------

    def reset(self) -> None:
        """The reign is over."""
        self.lifetimes.reset()

    def consumer_left(self, worker: WorkerState, *, by_itself: bool) -> None:
        """A worker or consumer is gone; ``by_itself``: it will not come back."""
        if self._topology.temporary:
            self.lifetimes.left(worker.id, worker.queues, self._broker.now, by_itself=by_itself)

    def tick(self, now: float, term: int, *, authority: bool) -> None:
        """Delete what has outlived its time. Without authority nothing does: owners and consumers may be on the other side of a cut."""
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        if not authority:
            self.lifetimes.reset()
            return
        draft = Draft(self._topology, self, "")
        for name in self._topology.unbound:
            draft.drop_if_unbound(name)
        self._topology.unbound.clear()
        if self._topology.loose and self._everybody_is_here():
            draft.unbind(self._topology.take_loose())
        if self._topology.temporary or self._broker.arguments.expiring():
            self._look_at_temporary(draft, now, term)
        self._broker.workforce.left.clear()
        if draft.entries or draft.dropped:
            self._carry_out(draft, term)

    def _look_at_temporary(self, draft: Draft, now: float, term: int) -> None:
        workers = self._broker.workers.values()
        owners = {owner_of(worker.id) for worker in workers}
        consumed_now = {name for worker in workers for name in worker.queues}
        consumed = consumed_now | self._broker.workforce.left
        for name in dict.fromkeys([*self._topology.temporary, *self._broker.arguments.expiring()]):
            queue = self._topology.queue(name)
            assert queue is not None
            if self.lifetimes.is_over(self._broker.arguments.of(name).declaration, owners, consumed, now):
                draft.drop_queue(name)
            elif queue.auto_delete and not queue.used and name in consumed:
                self._topology.put(replace(queue, used=True), term)
        self.lifetimes.looked(owners, consumed_now, now)

    # -- what there is --------------------

    def report(self) -> Row:
        """All exchanges, queues and bindings, as the question ``topology`` answers."""
        routing = self._topology.routing
        return {
            "exchanges": [arguments_of(exchange) for _, exchange in sorted(routing.exchanges.items())],
            "queues": [
                {**arguments_of(queue), "messages": self.waiting(name), "unsettled": self.held(name), "consumers": self.consumers(name)}
                for name, queue in sorted(self._topology.queues.items())
            ],
            "bindings": sorted((arguments_of(binding) for binding in routing.bindings.values()), key=_order),
        }


def _order(row: Row) -> list[str]:
    return [str(value) for value in row.values()]
