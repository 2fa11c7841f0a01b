"""What the question ``topology-change`` may ask for, as JSON: each change names itself in ``do``.

The words are those of AMQP 0-9-1; ``x-`` arguments have the names of QueueDeclaration's fields here. What a value has to be is said by
its type, so that decoding refuses the rest and says where.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mesh.wire.topology import HeaderValue

NAME_CHARS_MAX = 255
"""Of an exchange, a queue, a routing key, a task or a node: the short string of AMQP 0-9-1."""
CHANGES_MAX = 100_000
"""In one question."""
COUNT_MAX = (1 << 53) - 1
"""The largest whole number that JSON readers agree on."""

Name = Annotated[str, Meta(max_length=NAME_CHARS_MAX)]
QueueName = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
Count = Annotated[int, Meta(ge=0, le=COUNT_MAX)]


class _Change(msgspec.Struct, tag_field="do", forbid_unknown_fields=True, kw_only=True):
    pass


class DeclareExchange(_Change, tag="declare-exchange"):
    """Make an exchange, unless it is there with the same arguments. ``passive``: only ask whether it is there."""

    name: Name
    type: Literal["direct", "topic", "fanout", "headers"] = "direct"
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    alternate: Name = ""
    passive: bool = False


class DeclareQueue(_Change, tag="declare-queue"):
    """Make a queue, unless it is there with the same arguments. ``passive``: only ask whether it is there."""

    name: Name
    durable: bool = True
    auto_delete: bool = False
    exclusive: bool = False
    """Only for the ``owner`` of the question."""
    expires_ms: Count = 0
    max_length: Count = 0
    max_bytes: Count = 0
    overflow: Literal["", "reject-publish", "drop-head", "dead-letter"] = ""
    message_ttl_ms: Count | None = None
    dead_letter_exchange: Name | None = None
    dead_letter_routing_key: Name | None = None
    max_priority: Annotated[int, Meta(ge=0, le=255)] | None = None
    single_active_consumer: bool = False
    max_deliveries: Annotated[int, Meta(ge=0, le=1000)] = 0
    passive: bool = False


class _OfBinding(_Change):
    """All fields name it."""

    source: Name
    destination: Name
    kind: Literal["queue", "exchange"] = "queue"
    routing_key: Name = ""
    arguments: dict[Name, HeaderValue] = {}


class Bind(_OfBinding, tag="bind"):
    """Let a destination get what its source has for it."""


class Unbind(_OfBinding, tag="unbind"):
    """Take a binding back."""


class DeleteExchange(_Change, tag="delete-exchange"):
    """Delete an exchange with all its bindings."""

    name: Name
    if_unused: bool = False
    """Not while something is bound to it."""


class DeleteQueue(_Change, tag="delete-queue"):
    """Delete a queue with its bindings, what waits in it and its dead letters."""

    name: Name
    if_unused: bool = False
    """Not while it has consumers."""
    if_empty: bool = False
    """Not while it holds messages."""


class Purge(_Change, tag="purge"):
    """Drop what waits in a queue."""

    name: Name


Change = DeclareExchange | DeclareQueue | Bind | Unbind | DeleteExchange | DeleteQueue | Purge


class TopologyChange(msgspec.Struct, forbid_unknown_fields=True):
    """The question's argument: changes that are made in one turn, all of them or none."""

    changes: Annotated[list[Change], Meta(max_length=CHANGES_MAX)]
    owner: str = ""
    """The program that asks, by the id of its consumers; it owns what it declares exclusive, and may use what it owns."""
    dry: bool = False
    """Only say what would happen."""
