"""Giving ready messages to workers with room: fair by free slots first, then the margin for short tasks."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from mesh.config import Settings
from mesh.core.broker.broker import Broker, Post
from mesh.core.broker.flows import delivery_of
from mesh.core.broker.placement import HasRoom
from mesh.core.broker.queues import Record
from mesh.core.broker.recalls import Recalls
from mesh.core.broker.selection import take
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.leases import Told
from mesh.core.cluster.replication import Replication
from mesh.wire.messages import Consumers, Deliver, Delivery, Notice

CONSUMERS_GRACE_S = 2.0
"""A reign younger than this does not warn publishers that nobody consumes, nor does one that has lost a queue's consumer for less."""


class Held(NamedTuple):
    """Deliveries to one worker that leave as soon as the deputies know the leases."""

    told: Told
    worker: WorkerState
    records: list[Record]
    deliveries: list[Delivery]


class Dispatcher:
    """Hands due, runnable messages to workers, and tells about those that nobody can run."""

    def __init__(self, broker: Broker, replication: Replication, settings: Settings, post: Post) -> None:
        self._broker = broker
        self._replication = replication
        self._settings = settings
        self._post = post
        self._first = 0
        self._noticed: set[tuple[str, str]] = set()
        self.held: deque[Held] = deque()
        """Leased, and not on the way: a successor that did not know of it would hand it out once more (R10)."""
        self.consumed: set[str] | None = None
        """The consumed queues as they were told last; None before they were."""
        self._lost_at_s: dict[str, float] = {}
        """Told as consumed and not consumed now: since when."""
        self.delivered = 0
        self.recalls = Recalls(broker, lambda node, recall: post(node, recall, False))

    def dispatch(self) -> None:
        """Deliver as much as the workers have room for. The caller has checked the authority to do so."""
        if self.held:
            self._let_go()
        broker = self._broker
        if not broker.dirty:
            return
        broker.dirty = False
        if broker.takes:
            broker.takes.serve(broker, self._pull, self._hand, lambda node, taken: self._post(node, taken, False))
        workers = [worker for worker in broker.workers.values() if worker.synced and worker.room > 0]
        if not workers:
            return
        self._first = (self._first + 1) % len(workers)
        workers = workers[self._first :] + workers[: self._first]
        self._fill(workers)
        ready = sum(queue.ready for queue in broker.queues.values())
        share = -(-ready // len(workers))
        for worker in workers:
            if ready and worker.room > 0:
                self._give(worker, min(worker.room, max(share, 1)), _has_room)

    def _fill(self, workers: list[WorkerState]) -> None:
        """Give work to slots that have none; what is near a node first to those there, and what they leave to all."""
        placement = self._broker.placement
        placement.deferred = False
        for worker in workers:
            if worker.free_slots > 0:
                self._give(worker, worker.free_slots, _has_free_slot)
        if placement.deferred:
            for worker in workers:
                if worker.free_slots > 0:
                    self._give(worker, worker.free_slots, _has_free_slot)

    def _give(self, worker: WorkerState, limit: int, has_room: HasRoom) -> None:
        lanes = self._broker.placement.lanes(worker, worker.queues, has_room)
        records = take(lanes, limit, self._broker.ageing, self._broker.expiry.put_aside) if lanes else []
        if records:
            self._hand(worker, records)

    def _pull(self, worker: WorkerState, queue: str, count: int) -> list[Record]:
        """What a consumer gets that asks for so many now."""
        lanes = self._broker.placement.lanes(worker, (queue,), _never)
        return take(lanes, count, self._broker.ageing, self._broker.expiry.put_aside)

    def _hand(self, worker: WorkerState, taken: list[Record]) -> None:
        """Lease what was taken from its queue, and send it in frames that are not too large."""
        wall_ms, leases, limit = self._broker.wall_ms, worker.leases, self._settings.max_frame_bytes // 2
        deliveries: list[Delivery] = []
        records: list[Record] = []
        size = 0
        for record in self._broker.early.sift(worker, taken):
            message = record.message
            record.worker = worker.id
            record.delivered_ms = wall_ms
            leases[message.id] = record
            delivery = delivery_of(message, self._broker.flows)
            size += len(message.body) + 100
            if delivery.input is not None:
                size += len(delivery.input.body)
            if size > limit and deliveries:
                self._send(worker, records, deliveries)
                records, deliveries, size = [], [], len(message.body)
            records.append(record)
            deliveries.append(delivery)
        if records:
            self._send(worker, records, deliveries)

    def _send(self, worker: WorkerState, records: list[Record], deliveries: list[Delivery]) -> None:
        if self._replication.leases.is_counting:  # only what was tried before waits for that
            for again in (False, True):
                part = [pair for pair in zip(records, deliveries, strict=True) if pair[0].is_counted is again]
                self._send_part(worker, [record for record, _ in part], [delivery for _, delivery in part], again=again)
        else:
            self._send_part(worker, records, deliveries)

    def _send_part(self, worker: WorkerState, records: list[Record], deliveries: list[Delivery], *, again: bool = False) -> None:
        if not records:
            return
        owners = {record.message.id: record.journal.owner for record in records}
        told = self._replication.leases.note(worker.id, worker.node, owners, again=again)
        if self._replication.leases.are_known(told):
            self._deliver(worker, deliveries)
            return
        for record, delivery in zip(records, deliveries, strict=True):
            record.held = delivery
        self.held.append(Held(told, worker, records, deliveries))

    def _deliver(self, worker: WorkerState, deliveries: list[Delivery]) -> None:
        self.delivered += len(deliveries)
        if self._broker.states.watchers:
            self._broker.states.delivered(deliveries)
        self._post(worker.node, Deliver(worker.id, deliveries), False)

    def _let_go(self) -> None:
        """Deliver what the deputies know by now, as far as the lease still stands."""
        waiting, self.held = self.held, deque()
        for held in waiting:
            standing = [record for record, delivery in zip(held.records, held.deliveries, strict=True) if record.held is delivery]
            # what a worker is about to say that it holds is judged before more is on its way
            if standing and (not held.worker.synced or not self._replication.leases.are_known(held.told)):
                self.held.append(held)
            elif standing:
                self._deliver(held.worker, [record.let_go() for record in standing])

    # -- what people should know --------------------

    def waiting_for(self, queue_name: str) -> list[str]:
        """Names of ready tasks of a queue that no live worker on it can run."""
        queue = self._broker.queues.get(queue_name)
        if queue is None:
            return []
        able = {task for worker in self._broker.workers.values() if queue_name in worker.queues for task in worker.tasks}
        return sorted({task for task, _, _ in queue.kinds_waiting()} - able)

    def waiting_for_targets(self, queue_name: str) -> list[str]:
        """Targets of ready messages of a queue that no live worker can serve: no such node or worker, or none there that can run them."""
        queue = self._broker.queues.get(queue_name)
        return [] if queue is None else sorted({target for _, _, target in self._broker.placement.unserved(queue) if target})

    def notice(self) -> None:
        """Tell the workers of a queue about messages there that none of them can run; once for each."""
        for queue in list(self._broker.queues.values()):
            if not queue.ready:
                continue
            consumers = [worker for worker in self._broker.workers.values() if queue.name in worker.queues and worker.synced]
            if consumers:
                unserved = sorted({(task, target) for task, _, target in self._broker.placement.unserved(queue)})
                self._tell(consumers, [_nobody_runs(queue.name, task, target) for task, target in unserved])

    def _tell(self, consumers: list[WorkerState], texts: list[str]) -> None:
        for text in texts:
            for worker in consumers:
                if (worker.id, text) not in self._noticed:
                    self._noticed.add((worker.id, text))
                    self._post(worker.node, Notice(worker.id, text), False)

    def consumers_changed(self, reigning_s: float) -> Consumers | None:
        """The consumed queues, when they are not what was told last.

        That a queue has no consumer is not said at once: workers may be on their way, and one whose slots have died has no capacity
        until they are replaced.
        """
        consumed = {name for worker in self._broker.workers.values() if worker.capacity for name in worker.queues}
        lost = (self.consumed or set()) - consumed
        self._lost_at_s = {name: self._lost_at_s.get(name, reigning_s) for name in lost}
        consumed |= {name for name in lost if reigning_s - self._lost_at_s[name] < CONSUMERS_GRACE_S}
        if consumed == self.consumed or (not consumed and reigning_s < CONSUMERS_GRACE_S):
            return None
        self.consumed = consumed
        return Consumers(sorted(consumed))

    def reset(self) -> None:
        """A new reign: nothing has been told yet."""
        self.held.clear()
        self.recalls.reset()
        self.consumed = None
        self._lost_at_s = {}
        self._noticed = set()


def _nobody_runs(queue: str, task: str, target: str) -> str:
    if target:
        what = f"task {task!r}" if task else "plain messages"
        return f"queue {queue!r} holds {what} for {target}, and no worker there can run that; it waits for one that does"
    if not task:
        return f"queue {queue!r} holds plain messages, which no worker takes; they wait for a consumer (mesh consume {queue})"
    return f"queue {queue!r} holds task {task!r}, which no worker on it has; it waits for one that does"


def _has_free_slot(worker: WorkerState) -> bool:
    return worker.free_slots > 0


def _has_room(worker: WorkerState) -> bool:
    return worker.room > 0


def _never(worker: WorkerState) -> bool:
    return False
