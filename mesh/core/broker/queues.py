"""Queues of live messages at the coordinator: lanes of one kind of message within a queue, oldest first."""

from __future__ import annotations

from collections.abc import Callable, Collection

from mesh.core.broker.lanes import Lane
from mesh.core.cluster.replica import Journal
from mesh.core.kinds import Kind, kind_of, restricts
from mesh.core.states import RECORD_TRANSITIONS, RecordEvent, RecordState
from mesh.errors import LocalProtocolError
from mesh.wire.entries import Message
from mesh.wire.messages import Delivery
from mesh.wire.topology import deaths_in
from mesh.wire.working import stage_of


class Record:
    """A live message and what the coordinator does with it."""

    __slots__ = ("delivered_ms", "held", "journal", "message", "order", "presumed", "sequence", "size", "state", "worker")

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
        self.presumed = False
        """The lease was not given in this reign, but is known from what a worker or a deputy has said."""
        self.held: Delivery | None = None
        """What the worker shall get of it as soon as the deputies know the lease."""

    @property
    def is_counted(self) -> bool:
        """Whether attempts were counted of it, which are to be on the disk (R24)."""
        return self.message.attempts > 0 and not self.journal.fleeting

    def move(self, event: RecordEvent) -> None:
        """Follow the table. Raises LocalProtocolError when it has no such transition."""
        try:
            self.state = RECORD_TRANSITIONS[self.state][event]
        except KeyError:
            raise LocalProtocolError(f"message {self.message.id}: no transition from {self.state.name} by {event.name}") from None
        self.held, self.presumed = None, False

    def let_go(self) -> Delivery:
        """The delivery that was held leaves now."""
        delivery, self.held = self.held, None
        assert delivery is not None
        return delivery


def rank(message: Message, journal: Journal, sequence: int) -> tuple[int, int, int, bytes, int]:
    """Which of two entries for one id stands: one that has left a further queue as a dead letter, or else was written anew once more by its
    own wish, or else counts one more attempt, replaced the other; else the dot decides.
    """
    return *stage_of(message.properties, message.call, message.attempts), journal.name, sequence


def deaths_of(message: Message) -> int:
    """How often a message has left a queue as a dead letter."""
    return deaths_in(message.properties)


class Queue:
    """Waiting messages of one queue in lanes, as not every worker can run every task, and some are to run before others."""

    def __init__(self, name: str, lane_number: Callable[[str, Kind], int]) -> None:
        self.name = name
        self.lanes: dict[Kind, Lane] = {}
        self.shared: dict[Kind, Lane] = {}
        """Those of them that any worker with the task may take from."""
        self.aimed: dict[str, dict[Kind, Lane]] = {}
        """The others by their target: there may be many, for workers that are gone, and nobody else has to look at them."""
        self.hungry: dict[Kind, None] = {}
        """Lanes of which more should be read from the disk."""
        self.ready = 0
        self.delayed = 0
        self.leased = 0
        self.waiting = 0
        """Steps of workflows that come after what has not ended, and gathers: no part of its length, nor of its bytes."""
        self._lane_number = lane_number
        self.bytes = 0
        """Of the bodies of what waits, ready or delayed."""

    @property
    def length(self) -> int:
        """How many messages wait, ready or delayed."""
        return self.ready + self.delayed

    def lane(self, kind: Kind) -> Lane:
        """The lane of a kind."""
        lane = self.lanes.get(kind)
        if lane is None:
            lane = self.lanes[kind] = Lane(self, kind, self._lane_number(self.name, kind))
            (self.aimed.setdefault(lane.target, {}) if restricts(lane.target) else self.shared)[kind] = lane
        return lane

    def forget(self, lane: Lane) -> None:
        """A lane is used up."""
        if self.lanes.pop(lane.kind, None) is None:
            return
        self.shared.pop(lane.kind, None)
        aimed = self.aimed.get(lane.target)
        if aimed is not None:
            aimed.pop(lane.kind, None)
            if not aimed:
                del self.aimed[lane.target]

    def push(self, record: Record) -> None:
        """Append a READY record."""
        self.lane(kind_of(record.message)).records.append(record)
        self.ready += 1
        self.bytes += record.size

    def push_apart(self, record: Record) -> None:
        """Count a READY record that is in no lane: it is about to be ended."""
        self.ready += 1
        self.bytes += record.size

    def push_back(self, record: Record) -> None:
        """Return a READY record to its lane, to where it came from: before the first that is younger."""
        records = self.lane(kind_of(record.message)).records
        place = next((index for index, other in enumerate(records) if other.order > record.order), len(records))
        records.insert(place, record)
        self.ready += 1
        self.bytes += record.size

    def push_delayed(self, record: Record) -> None:
        """Count a DELAYED record; who keeps the time pushes it when it is due."""
        self.delayed += 1
        self.bytes += record.size

    def push_waiting(self, record: Record) -> None:
        """Count a READY record that has to wait for others."""
        record.move(RecordEvent.AWAITED)
        self.waiting += 1

    def leave(self, record: Record) -> None:
        """Take a record out of the counts of its state; its place in a lane is skipped when it comes up."""
        if record.state is RecordState.LEASED:
            self.leased -= 1
            return
        if record.state is RecordState.WAITING:
            self.waiting -= 1
            return
        if record.state is RecordState.READY:
            self.ready -= 1
        elif record.state is RecordState.DELAYED:
            self.delayed -= 1
        self.bytes -= record.size

    def handed_out(self, record: Record) -> None:
        """A record that was READY has left its lane, and is LEASED."""
        self.ready -= 1
        self.leased += 1
        self.bytes -= record.size

    def least_urgent(self) -> list[Lane]:
        """The lanes of the lowest priority: what they hold is dropped first."""
        lowest = min((lane.priority for lane in self.lanes.values() if not lane.empty), default=0)
        return [lane for lane in self.lanes.values() if lane.priority == lowest]

    def is_read(self, tasks: Collection[str]) -> bool:
        """Whether messages for these tasks are on the disk only, from where they are read when it is their turn."""
        return any(lane.is_partly_away for lane in self.lanes.values() if lane.task in tasks)

    def kinds_waiting(self) -> list[Kind]:
        """Kinds of which there is a READY record."""
        return [
            kind
            for kind, lane in self.lanes.items()
            if lane.is_partly_away or any(record.state is RecordState.READY for record in lane.records)
        ]

    @property
    def unsettled(self) -> int:
        """Messages that a worker holds."""
        return self.leased

    @property
    def empty(self) -> bool:
        """Whether the queue holds nothing at all."""
        return not (self.ready or self.delayed or self.leased or self.waiting)
