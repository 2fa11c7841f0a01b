"""Tasks that go on by their own wish: to be run again later, as other tasks, or with more members in their chord.

The message that ends and those that it goes on as are one transaction, so there is no moment at which neither is there. One that goes on
with its id counts one ``turn`` more, by which it stands against the one before wherever both are (R28).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from mesh.core.broker.dead_letters import renewed
from mesh.core.broker.queues import Record
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.paged import Header
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.topology import Topology
from mesh.core.stamps import copies_for
from mesh.core.states import RecordState
from mesh.errors import Unroutable
from mesh.wire.calls import Call, Flow
from mesh.wire.entries import Failure, Message, Status
from mesh.wire.messages import Outcome, OutcomeKind
from mesh.wire.topology import Properties, QueueDeclaration

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

UNROUTABLE = "mesh.errors.Unroutable"
NO_CALL, NO_FLOW, NO_PROPERTIES = Call(), Flow(), Properties()
GOES_ON = frozenset([OutcomeKind.RETRY, OutcomeKind.REPLACED])


class Retries:
    """Writes messages anew."""

    def __init__(self, broker: Broker, replica: Replica, topology: Topology) -> None:
        self._broker = broker
        self._replica = replica
        self._topology = topology
        self._unread: list[tuple[Outcome, str]] = []
        """Outcomes of messages whose body is still to be read, with the worker."""

    def reset(self) -> None:
        """The reign is over."""
        self._unread.clear()

    def go_on(self, record: Record, outcome: Outcome, worker_id: str) -> None:
        """A task that the worker holds ends as RETRY or REPLACED."""
        if type(record.message) is Header:  # leased a moment ago, at the start of this reign: without its body it can't be written anew
            self._unread.append((outcome, worker_id))
            return
        try:
            messages = [self._retried(record, outcome)] if outcome.kind == OutcomeKind.RETRY else self._replaced(record, outcome)
        except Unroutable as error:
            self._fail(record, outcome, str(error))
            return
        self._broker.withdraw(record)
        for message in messages:
            self._replica.write(message)
        self._broker.expect_result(record.message, record.journal)
        if outcome.kind == OutcomeKind.RETRY:
            self._broker.states.asked_again(outcome.id)

    def tick(self) -> None:
        """Go on with what has been read."""
        unread, self._unread = self._unread, []
        for outcome, worker_id in unread:
            record = self._broker.records.get(outcome.id)
            if record is not None and record.state is RecordState.LEASED and record.worker == worker_id:
                self.go_on(record, outcome, worker_id)

    def _retried(self, record: Record, outcome: Outcome) -> Message:
        """The message as it is run again. Raises Unroutable."""
        before = renewed(record.message, (), self._broker.skew_ms(record.journal))
        call = before.call or NO_CALL
        eta_ms = self._broker.wall_ms + outcome.delay_ms if outcome.delay_ms else 0
        if not outcome.messages:
            said = before
        else:
            changed = outcome.messages[0]
            said = replace(self._routed(changed), max_deliveries=changed.max_deliveries or before.max_deliveries)
            said = replace(said, properties=_with_expiry(said.properties, before.properties))
            call = changed.call or NO_CALL
        known = record.message.call or NO_CALL
        call = replace(call, retries=known.retries + 1, turn=known.turn + 1, failure=outcome.failure)
        return replace(said, id=record.message.id, task=before.task, eta_ms=eta_ms, call=call, flow=before.flow)

    def _replaced(self, record: Record, outcome: Outcome) -> list[Message]:
        """The messages that it goes on as; one has its id, and its place in the workflow. Raises Unroutable."""
        id = record.message.id
        known, place = record.message.call or NO_CALL, record.message.flow
        messages: list[Message] = []
        for message in map(self._routed, outcome.messages):
            if message.id == id:
                flow = message.flow or NO_FLOW
                if place is not None and place.into and not flow.into:
                    flow = replace(flow, into=place.into, place=place.place)
                call = replace(message.call or NO_CALL, turn=known.turn + 1)
                message = replace(message, call=call, flow=flow if flow != NO_FLOW else None)
            messages.append(message)
        if all(message.id != id for message in messages):
            raise Unroutable(f"task {id} is replaced by tasks of which none has its id: nobody would get its value")
        return messages

    def _fail(self, record: Record, outcome: Outcome, why: str) -> None:
        failure = outcome.failure or Failure(UNROUTABLE, why)
        self._broker.finish(record, Outcome(record.message.id, status=Status.FAILURE, failure=failure), self._worker(record))

    def _worker(self, record: Record) -> WorkerState | None:
        return self._broker.workers.get(record.worker)

    def write_more(self, record: Record, messages: list[Message]) -> None:
        """A task that is done has added these to its chord: in the transaction that settles it the chord waits for them, too."""
        into = record.message.flow.into if record.message.flow is not None else ""
        gather = self._broker.records.get(into)
        first = gather.message.flow.gathers if gather is not None and gather.message.flow is not None else 0
        members = [message for message in messages if message.flow is not None and message.flow.into == into] if into else []
        grown = bool(members) and self._broker.flows.grow(into, len(members))
        for message in messages:
            flow = message.flow
            if flow is not None and into and flow.into == into:
                flow = replace(flow, place=first) if grown else replace(flow, into="")
                first += 1
            try:
                self._replica.write(replace(self._routed(message), flow=flow))
            except Unroutable as error:
                self._broker.fail(message.id, str(error), record.journal.owner)

    def _routed(self, message: Message) -> Message:
        """The message in the queue that it goes to, the first one if there are several. Raises Unroutable."""
        properties = message.properties or NO_PROPERTIES
        queues: tuple[str, ...] = (message.queue,)
        if not message.queue:
            queues = self._topology.routing.route(properties.exchange, properties.routing_key, properties.headers)
        if not queues:
            raise Unroutable(f"the exchange {properties.exchange!r} has no queue for the routing key {properties.routing_key!r}")
        if message.queue and message.properties is None and self._topology.queue(message.queue) is None:
            return message
        return copies_for(queues[:1], message, properties, self._declaration, self._broker.wall_ms)[0]

    def _declaration(self, queue: str) -> QueueDeclaration:
        return self._broker.arguments.of(queue).declaration


def _with_expiry(properties: Properties | None, before: Properties | None) -> Properties | None:
    """What is said anew expires when the task did."""
    expires_ms = before.expires_ms if before is not None else 0
    if expires_ms == (properties.expires_ms if properties is not None else 0):
        return properties
    return replace(properties or NO_PROPERTIES, expires_ms=expires_ms)
