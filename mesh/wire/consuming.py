"""What passes between the coordinator and those who consume queues, beside deliveries and their outcomes."""

from __future__ import annotations

import msgspec


class Take(msgspec.Struct, array_like=True, tag=29):
    """A consumer wants what is ready in a queue now, up to ``count`` messages; what is not there it does not wait for."""

    number: int
    """Repeated in the answer."""
    worker: str
    """The consumer that gets them, whatever its capacity."""
    queue: str
    count: int = 1


class Taken(msgspec.Struct, array_like=True, tag=32):
    """What a Take has got. A Deliver brings it, before or after this. With number 0 it is about what the consumer said that it consumes."""

    number: int
    worker: str
    ids: list[str]
    ready: int = 0
    """Messages that wait in the queue still."""
    error: str = ""
    """``code: text`` when the consumer may have nothing of the queue."""


class Recall(msgspec.Struct, array_like=True, tag=28):
    """Somebody else could run these at once: the worker gives back, as RETURNED, up to ``count`` that no slot has begun."""

    worker: str
    ids: list[str]
    """The youngest first; more than ``count``, as some of them may run."""
    count: int


class Consume(msgspec.Struct, array_like=True, tag=33):
    """A person wants the worker to consume other queues. It answers with an Offer."""

    worker: str
    add: list[str] = []
    cancel: list[str] = []
    """What it holds of these and has not begun it gives back."""
