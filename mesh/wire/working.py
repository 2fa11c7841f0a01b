"""What workers, and consumers in programs, and the coordinator say to each other: offers, deliveries, outcomes."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from mesh.wire.calls import Call, Flow, Input
from mesh.wire.entries import Chunks, Failure, Message
from mesh.wire.topology import Properties, deaths_in

Stage = tuple[int, int, int]
"""How far a message has come with one id: (queues left as a dead letter, times written anew at its own wish, attempt)."""


class Offer(msgspec.Struct, array_like=True, tag=15):
    """What a worker consumes and how much it will take."""

    worker: str
    name: str
    queues: list[str]
    tasks: list[str]
    slots: int
    capacity: int
    """Most messages that the worker wants to hold, running or ready; at least ``slots`` unless it drains (0)."""
    active: list[str] | None = None
    """Ids that the worker holds, its outbox included, when this is a full report; None when only the rest has changed."""
    pid: int = 0
    generation: int = 0
    """Counts the worker's attachments: what was delivered to an earlier one and is not in ``active`` was lost on the way."""


class WorkerGone(msgspec.Struct, array_like=True, tag=16):
    """A worker, or one of the consumers of a client, is no longer there; what it held was lost."""

    worker: str
    by_itself: bool = False
    """It said goodbye: it will not attach elsewhere, so what exists for it alone may go at once."""


class Delivery(msgspec.Struct, array_like=True, gc=False):
    id: str
    task: str
    body: bytes
    attempt: int
    queue: str
    chunks: Chunks | None = None
    """Where the body is when ``body`` does not hold it."""
    properties: Properties | None = None
    """What its publisher said beyond its queue."""
    call: Call | None = None
    flow: Flow | None = None
    input: Input | None = None
    """For a step of a workflow: how what it waited for has ended."""
    eta_ms: int = 0


def stage_of(properties: Properties | None, call: Call | None, attempt: int) -> Stage:
    """The stage of a delivery; a later one is higher."""
    return deaths_in(properties), call.turn if call is not None else 0, attempt


class Deliver(msgspec.Struct, array_like=True, tag=17):
    worker: str
    deliveries: list[Delivery]


class OutcomeKind(IntEnum):
    """How a delivery ended."""

    DONE = 0
    """The task returned or raised."""
    RETURNED = 1
    """Not started, be it that its arguments can't be had; the worker gives it back."""
    LOST = 2
    """The slot died while it ran."""
    ACKED = 3
    """A plain message was dealt with: it has no result."""
    REJECTED = 4
    """Its consumer does not want it: a dead letter."""
    REQUEUED = 5
    """Its consumer could not deal with it; somebody shall, and that it was tried counts as an attempt."""
    RETRY = 6
    """The task asks to be run again, ``delay_ms`` from now: as the message that comes with it, or as it was."""
    REPLACED = 7
    """The task goes on as the messages that come with it, one of which has its id."""


class Outcome(msgspec.Struct, array_like=True, gc=False):
    id: str
    kind: int = OutcomeKind.DONE
    status: int = 4
    body: bytes = b""
    failure: Failure | None = None
    chunks: Chunks | None = None
    """Where the value is when ``body`` does not hold it."""
    messages: list[Message] = []
    """Written in the transaction that settles this one: what it goes on as, or new members of its chord."""
    delay_ms: int = 0
    """Of a RETRY."""
    children: tuple[str, ...] = ()
    """As in Result."""
    stage: Stage | None = None
    """Of what was delivered, when the message may go on with the same id: said again, it must not end a later delivery."""


class Outcomes(msgspec.Struct, array_like=True, tag=18):
    worker: str
    capacity: int
    outcomes: list[Outcome]


class OutcomesKept(msgspec.Struct, array_like=True, tag=19):
    """The settlements have their copies: the worker clears its outbox of these outcomes."""

    worker: str
    ids: list[str]
    kinds: list[int] = []
    """How each of them ended, as one task may go back, or be lost, and run again before the first word of it has come back."""
