"""What the messages of one lane have in common: which workers may run them, and before which others."""

from __future__ import annotations

from mesh.wire.entries import Message
from mesh.wire.topology import Properties

Kind = tuple[str, int, str]
"""(task, priority, target)"""


def kind_of(message: Message) -> Kind:
    """The kind of a message."""
    properties = message.properties
    return (message.task, 0, "") if properties is None else (message.task, properties.priority, properties.target)


def properties_of(kind: Kind) -> Properties | None:
    """As much of a message's properties as its kind tells."""
    _, priority, target = kind
    return Properties(priority=priority, target=target) if priority or target else None
