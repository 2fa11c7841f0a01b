"""Workers as they come, say what they hold, and go; what they held is judged by that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.config import Settings
from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState, lost_for_good
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replication import Replication
from mesh.core.states import RecordState
from mesh.wire.messages import Notice, Offer, Taken

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker, Post


class Workforce:
    """Keeps the broker's workers."""

    def __init__(
        self,
        broker: Broker,
        membership: Membership,
        replication: Replication,
        settings: Settings,
        *,
        lease: Callable[[Record, WorkerState], None],
        give_back: Callable[[Record], None],
        lose: Callable[[Record, str], None],
        post: Post,
    ) -> None:
        self._broker = broker
        self._membership = membership
        self._replication = replication
        self._settings = settings
        self._lease = lease
        self._give_back = give_back
        self._lose = lose
        self._post = post
        self.left: set[str] = set()
        """Queues of workers that went, or consume others now, since somebody looked: some live for less than the time between two looks."""

    # -- what workers say --------------------

    def on_offer(self, node: str, offer: Offer) -> None:
        """A worker says what it takes; a full offer also says what it holds, which settles what was lost on the way."""
        broker = self._broker
        worker = broker.workers.get(offer.worker)
        if worker is None:
            worker = broker.workers[offer.worker] = WorkerState(offer.worker, node)
        elif offer.generation < worker.generation:
            return  # by way of the node that it was attached to before, and overtaken
        if worker.queues != offer.queues:
            self.left.update(worker.queues)
        worker.update(node, offer)
        if offer.active is not None:
            worker.reported = set(offer.active)
            if broker.active and (not worker.synced or offer.generation > worker.generation):
                self._judge(worker)
            elif broker.active:
                self._end_presumed(worker)
            for id in offer.active:
                if not broker.is_live(id) and id not in broker.results:
                    self._replication.leases.soft[id] = (worker.id, node)  # its message may still be on its way
            worker.synced = True
            worker.generation = offer.generation
            self._tell_closed(worker)
        broker.dirty = True

    def tell_closed(self, queue: str) -> None:
        """A queue is one program's from now on: those that consume it and are others hear so."""
        for worker in self._broker.workers.values():
            if queue in worker.queues:
                self._tell_closed(worker)

    def _tell_closed(self, worker: WorkerState) -> None:
        """Say so when it would wait in vain, as a queue is another program's."""
        refusal = self._broker.placement.refusal(worker, worker.queues)
        if refusal and worker.is_consumer:
            self._post(worker.node, Taken(0, worker.id, [], error=f"in-use: {refusal}"), False)
        elif refusal:
            self._post(worker.node, Notice(worker.id, refusal), False)

    def judge_synced(self) -> None:
        """A reign has its records: what workers have said that they hold counts from here on."""
        for worker in self._broker.workers.values():
            if worker.synced:
                self._judge(worker)

    def _judge(self, worker: WorkerState) -> None:
        broker = self._broker
        for id, record in reversed(list(worker.leases.items())):
            if id not in worker.reported:
                self._give_back(record)
                if id in self._replication.leases.soft:
                    broker.takeover.restore_lease(id, worker.id)
        for id in sorted(worker.reported):
            held = broker.record(id)
            if held is not None and held.held is not None:  # its delivery has not left, so who has it already keeps it
                self._give_back(held)
            if held is not None and held.state is not RecordState.LEASED:
                self._lease(held, worker)
            elif held is not None and held.worker != worker.id and held.worker not in broker.workers:
                held.worker = worker.id
                worker.leases[id] = held

    def _end_presumed(self, worker: WorkerState) -> None:
        """What it does not hold after all. Of what was given to it in this reign a full offer says nothing: that may be on the way."""
        for id, record in reversed(list(worker.leases.items())):
            if record.presumed and id not in worker.reported:
                self._give_back(record)

    def on_worker_gone(self, node: str, worker_id: str, *, by_itself: bool = False) -> None:
        """A node lost a worker, or it left ``by_itself``; void unless it has attached elsewhere since."""
        worker = self._broker.workers.get(worker_id)
        if worker is not None and worker.node == node:
            self._broker.declarations.consumer_left(worker, by_itself=by_itself)
            self._drop(worker, "its worker was gone")

    def _drop(self, worker: WorkerState, how: str) -> None:
        for record in reversed(list(worker.leases.values())):  # the youngest first: each then goes to the front of its lane
            self._lose(record, how)
        for id in worker.reported:
            self._replication.leases.soft.pop(id, None)
        self._broker.workers.pop(worker.id, None)
        self.left.update(worker.queues)
        self._broker.dirty = True

    # -- what their nodes say, or don't --------------------

    def hold_back(self, node: str) -> None:
        """The node is asked to report anew: give its workers nothing until their full offers come."""
        for worker in self._broker.workers.values():
            if worker.node == node:
                worker.synced = False

    def on_attached(self, node: str, attached: set[str], now: float) -> None:
        """Workers that were on this node and are not: the leases stay valid for a while, as they may attach to another."""
        for worker in self._broker.workers.values():
            if worker.node == node and worker.orphaned_at is None and worker.id not in attached:
                worker.synced = False
                worker.orphaned_at = now

    def tick(self, now: float) -> None:
        """Leases of workers that did not come back are void."""
        for worker in lost_for_good(self._broker.workers.values(), self._membership, self._settings, now):
            self._drop(worker, "its worker did not come back after its node was lost")
