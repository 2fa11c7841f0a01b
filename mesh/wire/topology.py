"""The routing tables as entries (tags 10-12), in the words of AMQP 0-9-1 and RabbitMQ; entries.py has all kinds of entries.

Fields and tags are append-only. The value for one name with the highest (term, revision, dot) stands (R22).
"""

from __future__ import annotations

from typing import Literal

import msgspec

HeaderValue = bool | int | float | str | None
"""What routing may compare: the scalars of an AMQP field table."""
Headers = dict[str, HeaderValue]

EXCHANGE_TYPES = ("direct", "topic", "fanout", "headers")


class Exchange(msgspec.Struct, array_like=True, tag=10):
    """Where publishers send: it copies a message to the queues and exchanges that are bound to it with a match."""

    name: str
    kind: str
    """One of EXCHANGE_TYPES; ``type`` to people (msgspec keeps that name for its tags)."""
    durable: bool = True
    """False: it is on no disk, and forgotten when no node of the mesh is up any more."""
    auto_delete: bool = False
    """It goes with the last of its bindings."""
    internal: bool = False
    """Only other exchanges may send to it."""
    alternate: str = ""
    """The exchange that gets what this one can't route."""
    term: int = 0
    revision: int = 0


class QueueDeclaration(msgspec.Struct, array_like=True, tag=11, kw_only=True):
    """A queue with its arguments. Queues that were never declared exist while they hold something."""

    name: str
    durable: bool = True
    """False: it is on no disk, and forgotten, with what it holds, when no node of the mesh is up any more."""
    auto_delete: bool = False
    """It goes with the last of its consumers."""
    exclusive: str = ""
    """Id of the consumer's program that alone may use it, and with which it goes; empty for all."""
    expires_ms: int = 0
    """It goes when it was not used for so long; 0: never."""
    max_length: int = 0
    max_bytes: int = 0
    overflow: str = ""
    """Empty for the mesh's."""
    message_ttl_ms: int | None = None
    """Messages expire so long after they came; None: never."""
    dead_letter_exchange: str | None = None
    """Where rejected, expired and dropped messages go; None: see docs/guarantees.md."""
    dead_letter_routing_key: str | None = None
    """None: the message's own."""
    max_priority: int | None = None
    """Higher priorities count as this one."""
    single_active_consumer: bool = False
    max_deliveries: int = 0
    """0 for the mesh's."""
    term: int = 0
    revision: int = 0
    used: bool = False
    """With auto_delete: it had a consumer, so it goes when it has none."""


class Binding(msgspec.Struct, array_like=True, tag=12):
    """From an exchange to a queue or to another exchange. All fields but term and revision are its name."""

    source: str
    destination: str
    kind: Literal["queue", "exchange"] = "queue"
    """What the destination is."""
    routing_key: str = ""
    """The pattern, for a topic exchange."""
    arguments: Headers = {}
    """For a headers exchange: what to match, and ``x-match``."""
    term: int = 0
    revision: int = 0


class Death(msgspec.Struct, array_like=True, gc=False):
    """A queue that a message has left as a dead letter, as in RabbitMQ's ``x-death``: one for each (queue, reason), the latest first."""

    queue: str
    reason: Literal["rejected", "expired", "maxlen", "delivery_limit"]
    count: int
    at_ms: int
    """Wall clock of the coordinator, of the first time."""
    exchange: str
    """Where it had been published."""
    routing_key: str


class Properties(msgspec.Struct, array_like=True, gc=False):
    """What routing and queues read of a message beyond its queue."""

    exchange: str = ""
    """Where it was published; empty: the default exchange, whose routing key is a queue's name."""
    routing_key: str = ""
    headers: Headers = {}
    priority: int = 0
    """0-255, higher ones first."""
    expires_ms: int = 0
    """Not after this wall-clock instant (milliseconds since 1970), 0 for never."""
    transient: bool = False
    """It is on no disk, and lost when all nodes that hold it stop."""
    mandatory: bool = False
    """Refuse it when no queue takes it; tasks are always refused then."""
    target: str = ""
    """``node:NAME`` or ``worker:NAME``: only there; ``near:NODE_ID``: there unless busy or impossible."""
    deaths: tuple[Death, ...] = ()
    """The queues that it has left as a dead letter."""
    content_type: str = ""
    correlation_id: str = ""
    reply_to: str = ""
    declared: bool = False
    """The queue was declared when the message was routed to it: without a declaration it goes to ``lost+found`` (R22)."""


def deaths_in(properties: Properties | None) -> int:
    """How often a message has left a queue as a dead letter."""
    return sum(death.count for death in properties.deaths) if properties is not None else 0
