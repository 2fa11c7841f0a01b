"""Deliveries that end without ending the task, as the worker was lost with it: each is counted, up to a limit (R24)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.core.broker.dead_letters import renewed
from mesh.core.broker.queues import Record
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.paged import Header
from mesh.wire.entries import Attempt, Failure, Status
from mesh.wire.messages import Outcome

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

EXHAUSTED = "mesh.errors.DeliveriesExhausted"
WORKER_LOST = "mesh.errors.WorkerLostError"


class Attempts:
    """Counts them, durably, by writing the message anew."""

    def __init__(self, broker: Broker, membership: Membership, give_back: Callable[[Record], None]) -> None:
        self._broker = broker
        self._membership = membership
        self._give_back = give_back

    def lose(self, record: Record, how: str) -> None:
        """The worker died with it: it is to be delivered again, or has been often enough. One that wants it fails at once."""
        broker, message = self._broker, record.message
        # one that had not left, or that was leased a moment ago, at the start of this reign: without its body it can't be written anew
        if record.held is not None or type(message) is Header:
            self._give_back(record)
            return
        worker = broker.workers.get(record.worker)
        if message.call is not None and message.call.acks_early:
            text = f"the worker that ran {message.task}[{message.id}] was lost ({how}), and it is delivered once only: acks_early"
            broker.finish(record, Outcome(message.id, status=Status.FAILURE, failure=Failure(WORKER_LOST, text)), worker)
            return
        broker.redelivered += 1
        node = self._membership.name_of(worker.node) if worker is not None else ""
        name = (worker.name or worker.id) if worker is not None else record.worker
        attempt = Attempt(node, name, record.delivered_ms, broker.wall_ms, how)
        again = renewed(message, (*message.history, attempt), broker.skew_ms(record.journal))
        limit = message.max_deliveries or broker.arguments.of(message.queue).max_deliveries
        if again.attempts >= limit:
            text = f"delivered {again.attempts} times and lost each time, the last time as {how}; the limit is max_deliveries = {limit}"
            outcome = Outcome(message.id, status=Status.FAILURE, failure=Failure(EXHAUSTED, text))
            broker.dead_lettering.give_up(record, "delivery_limit", text, letter=True, last=again, outcome=outcome, worker=worker)
            return
        broker.rewrite(record, again)
