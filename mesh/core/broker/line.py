"""How a message with no other to wait for takes its place in its queue: at once, or when it is due and its body is here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.core.broker.bodies import lost
from mesh.core.broker.delayed import Delayed
from mesh.core.broker.queues import Record
from mesh.core.states import RecordEvent, RecordState

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class Line:
    """Puts records into the lanes of their queues."""

    def __init__(self, broker: Broker, delayed: Delayed) -> None:
        self._broker = broker
        self._delayed = delayed

    @property
    def has_delayed(self) -> bool:
        """Whether some message waits for its time."""
        return bool(self._delayed) or self._broker.paging.has_delayed

    def reset(self) -> None:
        """The reign is over."""
        self._delayed.clear()

    def next_place(self) -> int:
        """The place of who comes now."""
        self._broker.next_order += 1
        return self._broker.next_order - 1

    def take_in(self, record: Record, place: int | None = None) -> None:
        """A READY record in no lane goes to where it belongs, if it is due to the ``place`` that it had before."""
        broker, message = self._broker, record.message
        queue = broker.queue(message.queue)
        here = broker.bodies.is_here(message)
        if not here or self._delayed.has_to_wait(message, record.journal, broker.wall_ms):
            record.move(RecordEvent.POSTPONED)
            queue.push_delayed(record)
            (self._delayed.add if here else broker.bodies.hold)(record)
        elif place is not None:
            record.order = place
            queue.push_back(record)
        else:
            queue.push(record)
        if message.properties is not None:
            broker.lost_and_found.came(message)
            broker.expiry.came(message)
        broker.overflow.grown.add(queue.name)
        broker.dirty = True

    def put_back(self, record: Record) -> None:
        """A READY record that a worker had goes to its old place. Without its body it goes, too: that may be lost, as is found out then."""
        broker, message = self._broker, record.message
        if self._delayed.has_to_wait(message, record.journal, broker.wall_ms):
            self.take_in(record)
            return
        broker.queues[message.queue].push_back(record)
        broker.lost_and_found.came(message)
        broker.overflow.grown.add(message.queue)

    def release(self, record: Record) -> None:
        """What a step has waited for has ended: it comes now, as far as the line is concerned."""
        self._broker.queues[record.message.queue].leave(record)
        record.move(RecordEvent.RUNNABLE)
        record.order = self.next_place()
        self.take_in(record)

    def tick(self) -> None:
        """What is due becomes ready, and what has its body; what will never have it ends."""
        broker = self._broker
        for record in broker.bodies.take_whole():
            self._delayed.add(record)
        for record in broker.bodies.take_lost():
            broker.finish(record, lost(record.message), None)
        for record in self._delayed.take_due(broker.wall_ms):
            if record.state is not RecordState.DELAYED:
                continue  # it was given back, or waited once more, and was kept a second time
            queue = broker.queues[record.message.queue]
            queue.leave(record)
            record.move(RecordEvent.DUE)
            record.order = self.next_place()  # it comes now, as far as the line is concerned
            (queue.push_apart if broker.expiry.put_aside(record) else queue.push)(record)
            broker.expiry.came(record.message)
            broker.dirty = True
        broker.paging.take_due(self._delayed, broker.wall_ms)
