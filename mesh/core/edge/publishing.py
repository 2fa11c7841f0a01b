"""The way of what a program publishes to its queues: a node routes by its own copy of the tables, before it lets anything in.

What was sent to a queue by name, without more, goes there as it is. If that queue was declared the message says so, as all routed ones do:
should the queue be gone when it arrives, it goes to ``lost+found`` and not to a queue that nobody wants any more (R22).
"""

from __future__ import annotations

from msgspec.structs import replace

from mesh.core.broker.arguments import QueueArguments
from mesh.core.broker.plain import is_plain
from mesh.core.cluster.topology import Topology
from mesh.core.routing.exchanges import DEFAULT_EXCHANGE
from mesh.core.stamps import copies_for, in_queue
from mesh.errors import Unroutable
from mesh.wire.attachment import Submit
from mesh.wire.entries import Message
from mesh.wire.topology import Properties, QueueDeclaration

NO_PROPERTIES = Properties()


class RoutedSubmit(Submit, array_like=True, tag=43):
    """A Submit that has become another number of messages than its sender knows of: there is room for all of them, or for none."""

    submitted: int = 0
    """How many it had."""
    unroutable: int = 0
    """So many of them were in no queue's way."""


class Publishing:
    """Routes the messages of submits."""

    def __init__(self, topology: Topology, arguments: QueueArguments) -> None:
        self._topology = topology
        self._arguments = arguments

    def route(self, submit: Submit, wall_ms: int, *, plainly: bool) -> Submit:
        """The submit with its messages on their way to queues; ``plainly`` when all of them name a queue and nothing else.

        Raises Unroutable when a task or a mandatory message has no queue, or what it names is not for publishers.
        """
        if plainly:
            if self._arguments.any_stamps():
                self._declare(submit.messages, wall_ms)
            return submit
        routed: list[Message] = []
        unroutable = 0
        for message in submit.messages:
            copies = self.copies(message, wall_ms)
            if not copies:
                _drop_or_raise(message)
                unroutable += 1
            routed += copies
        if len(routed) == len(submit.messages) and not unroutable:
            submit.messages = routed
            return submit
        count = len(submit.messages)
        return RoutedSubmit(
            submit.number, routed, submit.deadline_ms, submit.granted, submit.several, submitted=count, unroutable=unroutable
        )

    def copies(self, message: Message, wall_ms: int) -> list[Message]:
        """One message for each queue that it goes to.

        Raises Unroutable when there is no such exchange, or clients may not publish to it.
        """
        properties = message.properties or NO_PROPERTIES
        if message.queue:
            queues: tuple[str, ...] = (message.queue,)
        else:
            refusal = self._topology.routing.refusal(properties.exchange)
            if refusal:
                raise Unroutable(refusal)
            queues = self._topology.routing.route(properties.exchange, properties.routing_key, properties.headers)
        declared = self._without_ttl if _waits(message) else self._declaration
        return copies_for(queues, message, properties, declared, max(wall_ms, message.eta_ms))

    def _declaration(self, queue: str) -> QueueDeclaration:
        return self._arguments.of(queue).declaration

    def _without_ttl(self, queue: str) -> QueueDeclaration:
        """As steps see it that wait for others: they are in the queue when they may run."""
        return replace(self._declaration(queue), message_ttl_ms=None)

    def _declare(self, messages: list[Message], wall_ms: int) -> None:
        stamps: dict[tuple[str, int, bool], Properties | None] = {}
        for message in messages:
            key = (message.queue, message.eta_ms, _waits(message))
            if key not in stamps:
                declared = self._without_ttl if key[2] else self._declaration
                placed = in_queue(NO_PROPERTIES, declared(message.queue), max(wall_ms, message.eta_ms))
                stamps[key] = placed if placed is not NO_PROPERTIES else None
            message.properties = stamps[key]


def _waits(message: Message) -> bool:
    return message.flow is not None and (bool(message.flow.after) or message.flow.gathers >= 0)


def _drop_or_raise(message: Message) -> None:
    properties = message.properties or NO_PROPERTIES
    if is_plain(message) and not properties.mandatory:
        return
    where = f"the exchange {properties.exchange!r}" if properties.exchange != DEFAULT_EXCHANGE else "the default exchange"
    raise Unroutable(f"{where} has no queue for the routing key {properties.routing_key!r}; bind one (mesh route explain shows the way)")
