"""Work that waits at one worker while a slot of another is idle is called back, as much as that slot can take (decision 097)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.core.kinds import Kind, kind_of
from mesh.wire.consuming import Recall

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

SETTLED_IN_MS = 50
"""What was delivered a shorter while ago is left where it is: a worker holds about so much work ready (``prefetch_target_s``)."""
AGAIN_S = 1.0
"""Pause after a recall by which not as much has come back as was asked for: it runs, or the worker does not answer."""


class Asked(NamedTuple):
    """A recall that is under way."""

    at: float
    ids: list[str]
    wanted: int


class Recalls:
    """Looks for idle slots and for what they could run."""

    def __init__(self, broker: Broker, send: Callable[[str, Recall], None]) -> None:
        self._broker = broker
        self._send = send
        self._asked: dict[str, Asked] = {}
        """By worker, the last recall."""

    def tick(self) -> None:
        """Call back what idle slots can take. To be called after a dispatch: nothing is ready for these slots."""
        workers = [worker for worker in self._broker.workers.values() if worker.synced]
        laden = [worker for worker in workers if len(worker.leases) > worker.slots]
        self._asked = {worker.id: self._asked[worker.id] for worker in laden if worker.id in self._asked}
        room = {worker.id: worker.free_slots for worker in workers if worker.free_slots > 0} if laden else {}
        if not room:
            return
        able: dict[tuple[str, Kind], list[str]] = {}
        for worker in sorted(laden, key=lambda worker: worker.slots - len(worker.leases)):
            if self._may_be_asked(worker):
                self._recall(worker, room, able)

    def _may_be_asked(self, worker: WorkerState) -> bool:
        asked = self._asked.get(worker.id)
        if asked is None or self._broker.now - asked.at >= AGAIN_S:
            return True
        return sum(id not in worker.leases for id in asked.ids) >= asked.wanted

    def _recall(self, worker: WorkerState, room: dict[str, int], able: dict[tuple[str, Kind], list[str]]) -> None:
        """Some of the youngest may be running, but no more than there are slots: so many more are named than are wanted."""
        spare, count, ids = len(worker.leases) - worker.slots, 0, list[str]()
        before_ms = self._broker.wall_ms - SETTLED_IN_MS
        for id, record in reversed(worker.leases.items()):
            if record.delivered_ms > before_ms or record.held is not None:
                continue
            other = next((other for other in self._others(record, able) if room.get(other)), None)
            if other is not None and count < spare:
                room[other] -= 1
                count += 1
                ids.append(id)
            elif count and self._others(record, able):
                ids.append(id)
            if len(ids) >= count + worker.slots and (count == spare or not any(room.values())):
                break
        if count:
            self._asked[worker.id] = Asked(self._broker.now, ids, count)
            self._send(worker.node, Recall(worker.id, ids, count))

    def _others(self, record: Record, able: dict[tuple[str, Kind], list[str]]) -> list[str]:
        """The workers with an idle slot that could run it: few kinds, so they are looked up once for each."""
        queue, kind = record.message.queue, kind_of(record.message)
        found = able.get((queue, kind))
        if found is None:
            placement = self._broker.placement
            found = able[queue, kind] = [
                worker.id for worker in self._broker.workers.values() if worker.free_slots > 0 and placement.can_run(worker, queue, kind)
            ]
        return found

    def reset(self) -> None:
        """A new reign."""
        self._asked.clear()
