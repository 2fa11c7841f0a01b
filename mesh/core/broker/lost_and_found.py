"""Messages that were routed to a declared queue which is gone: kept in the list ``lost+found`` until somebody decides (R22).

The queue was deleted while they were on their way, or on the other side of a split. It may also be that its declaration has not come yet,
as each journal travels by itself; so they are judged when everybody who is here has told all that he has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.core.broker.purge import WAITING
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.topology import Topology
from mesh.wire.entries import LOST_AND_FOUND, DeadLetter, Message

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class LostAndFound:
    """Watches the queues of messages that need a declaration and have none."""

    def __init__(self, broker: Broker, replica: Replica, topology: Topology, all_is_told: Callable[[], bool]) -> None:
        self._broker = broker
        self._replica = replica
        self._topology = topology
        self._all_is_told = all_is_told
        """Whether every node that is here has told all that it holds."""
        self._suspects: dict[str, None] = {}
        topology.on_queue_changed.append(self._on_queue_changed)

    def reset(self) -> None:
        """The reign is over."""
        self._suspects.clear()

    def came(self, message: Message) -> None:
        """A message with properties was put into its queue."""
        if needs_declaration(message) and self._topology.queue(message.queue) is None:
            self._suspects[message.queue] = None

    def _on_queue_changed(self, queue: str) -> None:
        if self._broker.active and self._topology.queue(queue) is None:
            self._suspects[queue] = None

    def tick(self) -> None:
        """Put aside what waits in vain; what a consumer holds is left to it, and looked at again should it come back."""
        if not self._suspects or not self._all_is_told():
            return
        broker = self._broker
        for name in list(self._suspects):
            queue = broker.queues.get(name)
            if queue is None or self._topology.queue(name) is not None:
                del self._suspects[name]
            elif queue.length:
                self._put_aside(name)

    def _put_aside(self, queue: str) -> None:
        broker = self._broker
        text = f"the queue {queue!r} was deleted while this was on its way; declare it again and requeue, or requeue it as it is"
        for record in list(broker.records.values()):
            message = record.message
            if message.queue == queue and record.state in WAITING and needs_declaration(message):
                broker.withdraw(record)
                self._replica.write(DeadLetter(message, text, broker.wall_ms, held_in=LOST_AND_FOUND))


def needs_declaration(message: Message) -> bool:
    """Whether a message was routed to a queue that was declared."""
    return message.properties is not None and message.properties.declared
