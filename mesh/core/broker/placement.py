"""Which worker may run what: by its queues and tasks, by the target of a message, and one consumer at a time where a queue says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mesh.core.broker.lanes import Lane
from mesh.core.broker.lifetimes import EXCLUSIVE, owner_of
from mesh.core.broker.queues import Queue
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.topology import Topology
from mesh.core.kinds import NEAR, NODE, WORKER, Kind, restricts

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

HasRoom = Callable[[WorkerState], bool]
"""Whether a worker of a message's own node shall get it rather than others."""


class Placement:
    """Matches workers and lanes."""

    def __init__(self, broker: Broker, membership: Membership, topology: Topology) -> None:
        self._broker = broker
        self._membership = membership
        self._topology = topology
        self.single: set[str] = set()
        """Queues that were declared with ``single_active_consumer``."""
        self._owners: dict[str, str] = {}
        """Of exclusive queues, the program that alone may consume it."""
        self.is_withheld: Callable[[str], bool] = lambda queue: False
        """Whether nothing of a queue is handed out now."""
        topology.on_queue_changed.append(self._look_at)
        self._active: dict[str, str] = {}
        """By queue, its one consumer."""
        self.deferred = False
        """Some lane was left to the workers of its own node since this was set to False."""

    def _look_at(self, queue: str) -> None:
        declared = self._topology.queue(queue)
        self._owners.pop(queue, None)
        if declared is not None and declared.exclusive:
            self._owners[queue] = declared.exclusive
        if declared is not None and declared.single_active_consumer:
            self.single.add(queue)
        elif queue in self.single:
            self.single.discard(queue)
            self._active.pop(queue, None)
        self._broker.dirty = True

    def lanes(self, worker: WorkerState, queues: Iterable[str], has_room: HasRoom) -> list[Lane]:
        """Where a worker may take something now."""
        known, tasks, single = self._broker.queues, worker.tasks, self.single
        lanes: list[Lane] = []
        for name in queues:
            queue = known.get(name)
            if queue is None or not queue.ready or (name in single and self.consumer(name) is not worker):
                continue
            if self.is_withheld(name) or not self._is_open_to(worker, name):
                continue
            for lane in queue.shared.values():
                if lane.task in tasks and (not lane.target or self._is_left_to(worker, lane, has_room)):
                    lanes.append(lane)
            if queue.aimed:
                for target in self._targets(worker):
                    lanes += [lane for lane in queue.aimed.get(target, {}).values() if lane.task in tasks]
        return lanes

    def _is_left_to(self, worker: WorkerState, lane: Lane, has_room: HasRoom) -> bool:
        """Whether what is near a node is here, or nobody there wants it now."""
        node = lane.target.removeprefix(NEAR)
        if worker.node == node:
            return True
        for other in self._broker.workers.values():
            if other.node == node and has_room(other) and self.can_run(other, lane.queue.name, lane.kind):
                self.deferred = True
                return False
        return True

    def can_run(self, worker: WorkerState, queue: str, kind: Kind) -> bool:
        """Whether a live worker may run messages of a kind of a queue; ``near`` is a preference and does not keep it from that."""
        task, _, target = kind
        able = worker.synced and queue in worker.queues and task in worker.tasks and (not target or self._suits(worker, target))
        return able and self._is_open_to(worker, queue) and (queue not in self.single or self.consumer(queue) is worker)

    def refusal(self, worker: WorkerState, queues: Iterable[str]) -> str:
        """Why a worker has nothing of one of these queues, whatever comes; empty when it may have of all."""
        for queue in queues:
            if not self._is_open_to(worker, queue):
                return EXCLUSIVE.format(queue)
        return ""

    def _is_open_to(self, worker: WorkerState, queue: str) -> bool:
        return queue not in self._owners or self._owners[queue] == owner_of(worker.id)

    def _suits(self, worker: WorkerState, target: str) -> bool:
        return not restricts(target) or target in self._targets(worker)

    def _targets(self, worker: WorkerState) -> set[str]:
        """The targets that mean this worker: by name or by id."""
        node = worker.node
        return {f"{NODE}{node}", f"{NODE}{self._membership.name_of(node)}", f"{WORKER}{worker.id}", f"{WORKER}{worker.name}"}

    # -- one consumer at a time --------------------

    def consumer(self, queue: str) -> WorkerState | None:
        """The consumer of a queue that has only one at a time: the same one until it is gone and all that it held is settled or back."""
        workers = self._broker.workers
        known = workers.get(self._active.get(queue, ""))
        if known is not None and queue in known.queues and known.capacity:
            return known
        holders = {
            worker.id for worker in workers.values() if any(record.message.queue == queue for record in worker.leases.values())
        }  # after a takeover this is how the one is known
        self._active.pop(queue, None)
        for worker in workers.values():
            if worker.synced and worker.capacity and queue in worker.queues and holders <= {worker.id} and self._is_open_to(worker, queue):
                self._active[queue] = worker.id
                return worker
        return None

    def reset(self) -> None:
        """A new reign."""
        self._active.clear()

    # -- what nobody can run --------------------

    def unserved(self, queue: Queue) -> list[Kind]:
        """Kinds of what waits in a queue that no live worker can run."""
        consumers = [worker for worker in self._broker.workers.values() if queue.name in worker.queues]
        able = {(task, target) for worker in consumers for task in worker.tasks for target in ("", *self._targets(worker))}
        return [
            (task, priority, target)
            for task, priority, target in queue.kinds_waiting()
            if (task, target if restricts(target) else "") not in able
        ]
