"""Queues of live messages at the coordinator: by task name within a queue, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mesh.core.broker.lanes import Lane, oldest
from mesh.core.cluster.replica import Journal
from mesh.core.states import RECORD_TRANSITIONS, RecordEvent, RecordState
from mesh.errors import LocalProtocolError
from mesh.wire.entries import Message
from mesh.wire.messages import Delivery


class Record:
    """A live message and what the coordinator does with it."""

    __slots__ = ("delivered_ms", "held", "journal", "message", "order", "sequence", "size", "state", "worker")

    def __init__(self, message: Message, journal: Journal, sequence: int, order: int) -> None:
        self.message = message
        self.journal = journal
        self.sequence = sequence
        self.size = message.size
        """Bytes of its body, as the limits of queues count them."""
        self.order = order
        """Arrival at this coordinator: the order within a queue."""
        self.state = RecordState.READY
        self.delivered_ms = 0
        """Wall clock when the last delivery left."""
        self.worker = ""
        """The worker that holds the lease while LEASED."""
        self.held: Delivery | None = None
        """What the worker shall get of it as soon as the deputies know the lease."""

    def move(self, event: RecordEvent) -> None:
        """Follow the table. Raises LocalProtocolError when it has no such transition."""
        try:
            self.state = RECORD_TRANSITIONS[self.state][event]
        except KeyError:
            raise LocalProtocolError(f"message {self.message.id}: no transition from {self.state.name} by {event.name}") from None
        self.held = None

    def let_go(self) -> Delivery:
        """The delivery that was held leaves now."""
        delivery, self.held = self.held, None
        assert delivery is not None
        return delivery


def rank(message: Message, journal: Journal, sequence: int) -> tuple[int, bytes, int]:
    """Which of two entries for one id stands: an entry that counts one more attempt replaced the other, else the dot decides."""
    return message.attempts, journal.name, sequence


class Queue:
    """Waiting messages of one queue in lanes, one for each task name, as not every worker can run every task."""

    def __init__(self, name: str, lane_number: Callable[[str, str], int]) -> None:
        self.name = name
        self.lanes: dict[str, Lane] = {}
        self.hungry: dict[str, None] = {}
        """Names of lanes of which more should be read from the disk."""
        self.ready = 0
        self.delayed = 0
        self.leased = 0
        self._lane_number = lane_number
        self.bytes = 0
        """Of the bodies of what waits, ready or delayed."""

    @property
    def length(self) -> int:
        """How many messages wait, ready or delayed."""
        return self.ready + self.delayed

    def lane(self, task: str) -> Lane:
        """The lane of a task name."""
        lane = self.lanes.get(task)
        if lane is None:
            lane = self.lanes[task] = Lane(self._lane_number(self.name, task))
        return lane

    def push(self, record: Record) -> None:
        """Append a READY record."""
        self.lane(record.message.task).records.append(record)
        self.ready += 1
        self.bytes += record.size

    def push_back(self, record: Record) -> None:
        """Return a READY record to its lane, to where it came from: before the first that is younger."""
        records = self.lane(record.message.task).records
        place = next((index for index, other in enumerate(records) if other.order > record.order), len(records))
        records.insert(place, record)
        self.ready += 1
        self.bytes += record.size

    def push_delayed(self, record: Record) -> None:
        """Count a DELAYED record; who keeps the time pushes it when it is due."""
        self.delayed += 1
        self.bytes += record.size

    def leave(self, record: Record) -> None:
        """Take a record out of the counts of its state; its place in a lane is skipped when it comes up."""
        if record.state is RecordState.LEASED:
            self.leased -= 1
            return
        if record.state is RecordState.READY:
            self.ready -= 1
        elif record.state is RecordState.DELAYED:
            self.delayed -= 1
        self.bytes -= record.size

    def take(self, tasks: Collection[str], limit: int) -> list[Record]:
        """Up to ``limit`` READY records that a worker with these tasks can run, oldest first; they are LEASED then.

        A lane whose next messages are not in memory is left out, and is in ``hungry``.
        """
        taken: list[Record] = []
        mine = {name: lane for name, lane in self.lanes.items() if name in tasks}
        lanes = [lane for lane in mine.values() if lane.available]
        while lanes and len(taken) < limit:
            lane = lanes[0] if len(lanes) == 1 else oldest(lanes)
            record = lane.records.popleft()
            if record.state is RecordState.READY:  # others stay in their lane until they come up
                record.move(RecordEvent.DELIVERED)
                taken.append(record)
                self.bytes -= record.size
            if not lane.available:
                lanes.remove(lane)
        self.ready -= len(taken)
        self.leased += len(taken)
        self.hungry.update((name, None) for name, lane in mine.items() if lane.needs_refill)
        if not self.ready:
            self.lanes = {name: lane for name, lane in self.lanes.items() if not lane.empty}
        return taken

    def is_read(self, tasks: Collection[str]) -> bool:
        """Whether messages for these tasks are on the disk only, from where they are read when it is their turn."""
        return any(lane.paged for name, lane in self.lanes.items() if name in tasks)

    def tasks_waiting(self) -> list[str]:
        """Names of tasks with a READY record."""
        return [
            name for name, lane in self.lanes.items() if lane.paged or any(record.state is RecordState.READY for record in lane.records)
        ]

    @property
    def unsettled(self) -> int:
        """Messages that a worker holds."""
        return self.leased

    @property
    def empty(self) -> bool:
        """Whether the queue holds nothing at all."""
        return not (self.ready or self.delayed or self.leased)
