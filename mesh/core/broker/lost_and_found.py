"""Messages that were routed to a declared queue which is gone: kept in the list ``lost+found`` until somebody decides (R22).

The queue was deleted while they were on their way, or on the other side of a split. It may also be that its declaration has not come yet,
as each journal travels by itself; so they are judged when everybody who is here has told all that he has.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from mesh.core.broker.purge import WAITING
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.topology import Topology
from mesh.core.kinds import is_for_declared
from mesh.wire.entries import LOST_AND_FOUND, DeadLetter, Entry, Message

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

READ_AT_ONCE = 256
"""Messages that are read from the disk to be looked at, at once."""


class LostAndFound:
    """Watches the queues of messages that need a declaration and have none."""

    def __init__(self, broker: Broker, replica: Replica, topology: Topology, all_is_told: Callable[[], bool]) -> None:
        self._broker = broker
        self._replica = replica
        self._topology = topology
        self._all_is_told = all_is_told
        """Whether every node that is here has told all that it holds."""
        self._suspects: dict[str, None] = {}
        self.unjudged: set[str] = set()
        """Queues of which nothing is to be handed out until it is known whether they are gone."""
        self._read_upto: dict[str, dict[bytes, int]] = {}
        """By queue and journal: the last sequence on the disk that was read, to be looked at."""
        self._reading: set[str] = set()
        topology.on_queue_changed.append(self._on_queue_changed)

    def begin(self) -> None:
        """A reign has its queues: what of them is on the disk only was not told one by one."""
        for lane in self._replica.pages.declared:
            self.passed(lane)

    def reset(self) -> None:
        """The reign is over."""
        self._suspects.clear()
        self.unjudged.clear()
        self._read_upto.clear()
        self._reading.clear()

    def passed(self, lane: int) -> None:
        """Messages of a lane are on the disk only."""
        pages = self._replica.pages
        if lane in pages.declared:
            queue, _ = pages.lanes[lane]
            if self._topology.queue(queue) is None:
                self._suspect(queue)

    def _suspect(self, queue: str) -> None:
        self._suspects[queue] = None
        self.unjudged.add(queue)
        self._read_upto.pop(queue, None)

    def came(self, message: Message) -> None:
        """A message with properties was put into its queue."""
        if is_for_declared(message) and self._topology.queue(message.queue) is None:
            self._suspect(message.queue)

    def _on_queue_changed(self, queue: str) -> None:
        if self._broker.active and self._topology.queue(queue) is None:
            self._suspect(queue)

    def tick(self) -> None:
        """Put aside what waits in vain; what a consumer holds is left to it, and looked at again should it come back."""
        if not self._suspects or not self._all_is_told():
            return
        broker = self._broker
        for name in list(self._suspects):
            queue = broker.queues.get(name)
            if name in broker.purge.under_way:
                continue
            if queue is None or self._topology.queue(name) is not None:
                del self._suspects[name]
                self._judged(name)
            elif queue.length:
                self._put_aside(name)
                if not self._read(name):
                    self._judged(name)

    def _judged(self, queue: str) -> None:
        """What is left in it may be handed out."""
        self.unjudged.discard(queue)
        self._broker.dirty = True

    def _put_aside(self, queue: str) -> None:
        broker = self._broker
        for record in list(broker.records.values()):
            if record.message.queue == queue and record.state in WAITING and is_for_declared(record.message):
                broker.withdraw(record)
                self._keep(record.message)

    def _keep(self, message: Message) -> None:
        text = f"the queue {message.queue!r} was deleted while this was on its way; declare it again and requeue, or requeue it as it is"
        self._replica.write(DeadLetter(message, text, self._broker.wall_ms, held_in=LOST_AND_FOUND))

    # -- what is on the disk only --------------------

    def _read(self, queue: str) -> bool:
        """Have the next messages of a queue read; each is looked at once. False when all of them were."""
        pages = self._replica.pages
        lanes = {lane for lane in pages.declared if pages.lanes[lane][0] == queue}
        if not lanes or queue in self._reading:
            return bool(lanes)
        upto = self._read_upto.setdefault(queue, {})
        for journal in self._replica.journals.values():
            walk = journal.paged.walk(upto.get(journal.name, 0) + 1, journal.upto)
            sequences = list(islice((sequence for sequence, lane, _ in walk if lane in lanes), READ_AT_ONCE))
            if sequences:
                upto[journal.name] = sequences[-1]
                self._reading.add(queue)
                self._replica.read(journal, sequences, partial(self._come, queue, journal, sequences))
                return True
        return False

    def _come(self, queue: str, journal: Journal, sequences: list[int], entries: list[Entry | None]) -> None:
        self._reading.discard(queue)
        broker = self._broker
        if not broker.active or self._topology.queue(queue) is not None or self._replica.journals.get(journal.name) is not journal:
            return
        for sequence, entry in zip(sequences, entries, strict=True):
            on_disk_only = sequence in journal.paged and not broker.paging.is_apart(journal, sequence)
            if on_disk_only and isinstance(entry, Message) and is_for_declared(entry):
                self._replica.settle(journal, sequence)
                self._keep(entry)
