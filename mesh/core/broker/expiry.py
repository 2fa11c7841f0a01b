"""Messages that were not begun in time: by their own ``expires_ms``, or by the ``message_ttl`` of their queue, whichever came first.

An instant was named by the wall clock of the node that accepted the message (R23), as a countdown's is (delayed.py). What expires is ended
at the head of its lane, at each tick, and in no case handed out; behind one that does not expire it waits its turn, as in RabbitMQ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.config import Settings
from mesh.core.broker.lanes import Lane
from mesh.core.broker.queues import Record
from mesh.core.broker.selection import leave
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.paged import Header
from mesh.core.cluster.replica import Replica
from mesh.core.kinds import Kind, expires, kind_of
from mesh.core.states import RecordState
from mesh.wire.entries import Failure, Message, Status
from mesh.wire.messages import Outcome

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

EXPIRED = "mesh.errors.TaskExpired"


class Expiry:
    """Watches the lanes with messages that expire. Ending one takes the authority to hand out: others may be running it."""

    def __init__(self, broker: Broker, replica: Replica, membership: Membership, settings: Settings) -> None:
        self._broker = broker
        self._pages = replica.pages
        self._membership = membership
        self._settings = settings
        self._lanes: dict[tuple[str, Kind], None] = {}
        """Those that may hold such a message."""
        self._over: list[Record] = []
        """Out of their lanes, READY, to be ended in this turn or when their clock is known."""
        self._began_at = 0.0
        self.expired = 0
        """How many in this reign."""

    def __bool__(self) -> bool:
        return bool(self._lanes or self._over)

    # -- the reign --------------------

    def begin(self) -> None:
        """A reign has its queues: what of them is on the disk only was not told one by one."""
        self._began_at = self._broker.now
        for lane in self._pages.mortal:
            self.passed(lane)

    def reset(self) -> None:
        """The reign is over."""
        self._lanes.clear()
        self._over.clear()
        self.expired = 0

    def came(self, message: Message) -> None:
        """A message was put into its lane; of one that was not read yet it is not known whether it expires."""
        if expires(message) or type(message) is Header:
            self._lanes[message.queue, kind_of(message)] = None

    def passed(self, lane: int) -> None:
        """Messages of a lane are on the disk only."""
        if lane in self._pages.mortal:
            self._lanes[self._pages.lanes[lane]] = None

    # -- what is over --------------------

    def is_over(self, record: Record) -> bool:
        """Whether a message has expired, as far as it is known what the clock shows that it goes by."""
        properties = record.message.properties
        if properties is None or not properties.expires_ms:
            return False
        return properties.expires_ms - self._broker.skew_ms(record.journal) <= self._broker.wall_ms

    def _is_sure(self, record: Record) -> bool:
        """Whether that clock is known, or was waited for long enough."""
        patient = self._broker.now - self._began_at < self._settings.takeover_patience_s
        return not patient or self._membership.knows_clock_of(record.journal.owner)

    def put_aside(self, record: Record) -> bool:
        """Whether a READY message, out of its lane, has expired; it is ended at the end of the turn, or when that is sure."""
        if not self.is_over(record):
            return False
        self._over.append(record)
        return True

    def tick(self) -> None:
        """End what has expired at the heads of the lanes; what follows there on the disk is read."""
        broker = self._broker
        for name, kind in list(self._lanes):
            queue = broker.queues.get(name)
            lane = queue.lanes.get(kind) if queue is not None else None
            if lane is None or lane.empty:
                del self._lanes[name, kind]
            elif not broker.placement.is_withheld(name):
                self._look_at(lane)
        self.end()

    def _look_at(self, lane: Lane) -> None:
        records = lane.records
        while lane.available:
            head = records[0]
            if head.state is RecordState.READY and not self.put_aside(head):
                return
            records.popleft()
        leave(lane)

    def end(self) -> None:
        """End what was put aside; what has not expired after all goes back to its place."""
        over, self._over = self._over, []
        for record in over:
            if record.state is not RecordState.READY:
                continue
            if not self._is_sure(record):
                self._over.append(record)
            elif self.is_over(record):
                self.expired += 1
                self._broker.dead_lettering.give_up(record, "expired", _why(record.message), outcome=_outcome(record.message))
            else:
                self._return(record)

    def _return(self, record: Record) -> None:
        queue = self._broker.queues[record.message.queue]
        queue.leave(record)
        queue.push_back(record)
        self.came(record.message)
        self._broker.dirty = True


def _why(message: Message) -> str:
    what = f"task {message.task}[{message.id}]" if message.task else f"message {message.id}"
    return f"{what} had waited in the queue {message.queue!r} until it expired; give it more time, or the queue more workers"


def _outcome(message: Message) -> Outcome:
    return Outcome(message.id, status=int(Status.REVOKED), failure=Failure(EXPIRED, _why(message)))
