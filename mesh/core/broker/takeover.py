"""What a new reign takes over from the last one: the order of what waits, and the leases of what may be running (DESIGN 5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.replication import Replication
from mesh.core.states import RecordState
from mesh.ids import time_of
from mesh.wire.entries import DeadLetter, Entry, Message, Result

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class Takeover:
    """Fills an empty broker."""

    def __init__(
        self,
        broker: Broker,
        replica: Replica,
        replication: Replication,
        *,
        add: Callable[[Journal, int, Entry], None],
        lease: Callable[[Record, WorkerState], None],
        give_back: Callable[[Record], None],
    ) -> None:
        self._broker = broker
        self._replica = replica
        self._replication = replication
        self._add = add
        self._lease = lease
        self._give_back = give_back

    def index(self) -> None:
        """Results first, then all messages in one order, what is paged among them."""
        entries = [(journal, sequence, entry) for journal in self._replica.journals.values() for sequence, entry in journal.live.items()]
        for journal, sequence, entry in entries:
            if isinstance(entry, Result | DeadLetter):
                self._add(journal, sequence, entry)
        resident: list[tuple[int, Journal, int, Message]] = []

        def note(journal: Journal, sequence: int, message: Message, order: int) -> int:
            resident.append((order, journal, sequence, message))
            return order + 1

        # UUIDv7 ids sort by time of submission: the best order there is after a takeover (R29)
        waiting: list[tuple[str, int, Callable[[int], int]]] = [
            (entry.id, sequence, partial(note, journal, sequence, entry))
            for journal, sequence, entry in entries
            if isinstance(entry, Message)
        ]
        order, wall_ms, now = 0, self._broker.wall_ms, self._broker.now
        for id, _, place in sorted([*waiting, *self._broker.paging.runs()], key=lambda item: item[:2]):
            submitted_ms = time_of(id)
            if submitted_ms is not None:
                self._broker.ageing.came(order, min(now, now - (wall_ms - submitted_ms) / 1000))
            order = place(order)
        for at, journal, sequence, message in resident:
            if sequence in journal.live:
                self._broker.next_order = at
                self._add(journal, sequence, message)
        self._broker.next_order = order

    def restore_leases(self) -> None:
        """Of workers that have not spoken yet, what deputies knew."""
        for id in list(self._replication.leases.soft):
            if self._broker.is_live(id):
                self.restore_lease(id)
            elif id in self._broker.results:
                self._replication.leases.settled(id)

    def has_any(self, ids: Iterable[str]) -> bool:
        """Whether one of these tasks, whose message has not come, may be running."""
        return not self._replication.leases.soft.keys().isdisjoint(ids)

    def restore_lease(self, id: str, denied_by: str = "") -> None:
        """Somebody knew that this message is with a worker; unless that has said since that it isn't, it may be running.

        Where another worker holds the lease it stays known: that one may have got nothing, and then say so.
        """
        broker, leases = self._broker, self._replication.leases
        while id in leases.soft:
            worker_id, node = leases.soft[id]
            worker = broker.workers.get(worker_id)
            if worker_id == denied_by or (worker is not None and worker.synced and id not in worker.reported):
                leases.take(id)
                continue
            record = broker.record(id)
            if record is not None and record.state is RecordState.LEASED and record.worker != worker_id:
                if record.held is None:
                    return
                self._give_back(record)  # its delivery has not left, so who has it already keeps it
            leases.take(id)
            if record is not None and record.state is not RecordState.LEASED:
                self._lease(record, worker or self._orphan(worker_id, node))
            return

    def _orphan(self, worker_id: str, node: str) -> WorkerState:
        """A worker that has not been heard in this reign."""
        worker = self._broker.workers[worker_id] = WorkerState(worker_id, node)
        worker.orphaned_at = self._broker.now
        return worker

    def on_reported_leases(self, leases: list[tuple[str, str, list[str]]]) -> None:
        """What a member knows to be running from its time as coordinator or deputy; its messages may still be on their way."""
        for worker, node, ids in leases:
            for id in ids:
                if id not in self._broker.results:
                    self._replication.leases.claim(id, (worker, node))
                    if self._broker.is_live(id):
                        self.restore_lease(id)
