"""What a declared queue makes of the properties of a message that is put into it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from mesh.wire.entries import Message
from mesh.wire.topology import Properties, QueueDeclaration

Declared = Callable[[str], QueueDeclaration]
"""What holds for a queue; without a name when it was not declared."""


def copies_for(
    queues: Iterable[str], message: Message, properties: Properties, declared: Declared, at_ms: int, mark: str = ""
) -> list[Message]:
    """One message for each queue: the first keeps the id, others have ``ID/QUEUE`` and ``mark``; the same at each try (R8)."""
    copies: list[Message] = []
    flow = message.flow
    for queue in queues:
        id = f"{message.id}/{queue}{mark}" if copies else message.id
        copies.append(replace(message, id=id, queue=queue, properties=in_queue(properties, declared(queue), at_ms), flow=flow))
        flow = replace(flow, into="") if flow is not None else None  # one value for each place
    return copies


def in_queue(properties: Properties, declared: QueueDeclaration, at_ms: int) -> Properties:
    """The properties as they hold in a queue from the instant ``at_ms`` on, by the clock of the node that writes the message."""
    if not declared.name and declared.message_ttl_ms is None:
        return replace(properties, declared=False) if properties.declared else properties
    return replace(
        properties,
        declared=bool(declared.name),
        priority=properties.priority if declared.max_priority is None else min(properties.priority, declared.max_priority),
        expires_ms=_earlier(properties.expires_ms, declared, at_ms),
        transient=properties.transient or not declared.durable,
    )


def _earlier(expires_ms: int, queue: QueueDeclaration, at_ms: int) -> int:
    """When a message expires in a queue: by its own time or the queue's, whichever comes first."""
    if queue.message_ttl_ms is None:
        return expires_ms
    by_queue_ms = at_ms + queue.message_ttl_ms
    return min(expires_ms, by_queue_ms) if expires_ms else by_queue_ms
