"""Messages that their queue gives up: rejected, expired, too many, or delivered too often.

With a ``dead_letter_exchange`` they are published again, as new entries in the transaction that settles the old one, and carry the history
of their deaths, as RabbitMQ's ``x-death`` does. What no queue takes then is kept in the list of dead letters: nothing is lost by a wrong
name. Copies get ids that follow from the death, so that both sides of a split give the same ones (R8).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from msgspec.structs import replace

from mesh.core.broker.arguments import QueueArguments
from mesh.core.broker.dead_letters import revived
from mesh.core.broker.queues import Record, deaths_of
from mesh.core.broker.workers import WorkerState
from mesh.core.cluster.paged import Header
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.topology import Topology
from mesh.core.stamps import copies_for
from mesh.wire.entries import DeadLetter, Failure, Message, Status
from mesh.wire.messages import Outcome
from mesh.wire.topology import Death, Properties, QueueDeclaration

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

Reason = Literal["rejected", "expired", "maxlen", "delivery_limit"]
DROPPED = "mesh.errors.TaskDropped"
REJECTED: Reason = "rejected"


class DeadLettering:
    """Ends messages for good, or sends them on."""

    def __init__(
        self, broker: Broker, replica: Replica, topology: Topology, arguments: QueueArguments, give_back: Callable[[Record], None]
    ) -> None:
        self._broker = broker
        self._replica = replica
        self._topology = topology
        self._arguments = arguments
        self._give_back = give_back

    def revive(self, letter: DeadLetter) -> None:
        """Put a dead letter back into its queue as if it was new; the failure that was its result is taken back."""
        broker, message = self._broker, letter.message
        known = broker.dead_letters.get(message.id)
        if known is not None:
            broker.results.take_back(message.id)
            broker.ended.forget(message.id)
            self._replica.settle(known[0], known[1])
            self._replica.write(revived(message, self._arguments.of(message.queue).declaration, broker.wall_ms))

    def give_up(
        self,
        record: Record,
        reason: Reason,
        why: str,
        *,
        letter: bool = False,
        last: Message | None = None,
        outcome: Outcome | None = None,
        worker: WorkerState | None = None,
    ) -> None:
        """A queue gives a message up. ``letter``: without an exchange it is kept as a dead letter; ``last`` is how it looks then.

        ``outcome`` is how a task ends that goes nowhere, TaskDropped if nothing is said; ``worker`` had it.
        """
        message = last or record.message
        exchange = self._arguments.of(message.queue).declaration.dead_letter_exchange
        if type(message) is Header and (letter or exchange is not None):
            self._give_back(record)  # it is being read: when it is given up again it can be written anew
            return
        if exchange is not None:
            copies, trouble = self._copies(message, exchange, reason)
            if copies:
                self._republish(record, copies)
                return
            why, letter = f"{why}; {trouble}", True
        if letter:
            self._replica.write(DeadLetter(message, why, self._broker.wall_ms))
        self._broker.finish(record, outcome or dropped(message.id, why), worker)

    def _republish(self, record: Record, copies: list[Message]) -> None:
        """One transaction: settle the message, and write it anew for the queues that it goes to."""
        self._broker.withdraw(record)
        for copy in copies:
            self._replica.write(copy)
        self._broker.expect_result(record.message, record.journal)

    def _declaration(self, queue: str) -> QueueDeclaration:
        return self._arguments.of(queue).declaration

    def _copies(self, message: Message, exchange: str, reason: Reason) -> tuple[list[Message], str]:
        """The message for each queue that it goes to; for none, why."""
        properties = _with_death(message, reason, self._broker.wall_ms)
        own_key = self._arguments.of(message.queue).declaration.dead_letter_routing_key
        key = own_key if own_key is not None else properties.deaths[0].routing_key
        queues = self._topology.routing.route(exchange, key, properties.headers)
        if not queues:
            return [], f"its dead_letter_exchange {exchange!r} has no queue for the routing key {key!r}"
        queues = tuple(queue for queue in queues if not _is_cycle(queue, properties.deaths))
        if not queues:
            return [], f"it would go in circles through its dead_letter_exchange {exchange!r}, and nobody has rejected it"
        dead = replace(message, attempts=0, eta_ms=0, history=())
        properties = replace(properties, exchange=exchange, routing_key=key, expires_ms=0)
        return copies_for(queues, dead, properties, self._declaration, self._broker.wall_ms, f"/{deaths_of(dead) + 1}"), ""


def _with_death(message: Message, reason: Reason, at_ms: int) -> Properties:
    """The message's properties with one more death, the latest first. As in RabbitMQ, time and place are those of the first of its kind."""
    properties = message.properties or Properties()
    known = next((death for death in properties.deaths if (death.queue, death.reason) == (message.queue, reason)), None)
    if known is not None:
        latest = replace(known, count=known.count + 1)
    else:
        key = properties.routing_key if properties.exchange else message.queue
        latest = Death(message.queue, reason, 1, at_ms, properties.exchange, key)
    return replace(properties, deaths=(latest, *(death for death in properties.deaths if death is not known)))


def _is_cycle(queue: str, deaths: tuple[Death, ...]) -> bool:
    """Whether a message comes back to a queue, and no consumer has rejected it on the way: it would go round for ever by itself."""
    for place, death in enumerate(deaths):
        if death.queue == queue:
            return all(passed.reason != REJECTED for passed in deaths[: place + 1])
    return False


def dropped(id: str, why: str) -> Outcome:
    """How a task ends that was dropped before it ran."""
    return Outcome(id, status=int(Status.FAILURE), failure=Failure(DROPPED, why))
