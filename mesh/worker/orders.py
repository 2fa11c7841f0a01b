"""What a worker's parent and its slots say to each other. Both are always the same version of mesh: nothing here is kept."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from mesh.wire.calls import TaskState
from mesh.wire.messages import Delivery, Outcome


class Mark(IntEnum):
    """State of a handed task, one byte in memory that parent and slot share: what is true of it when the slot is dead."""

    HANDED = 0
    STARTED = 1
    FINISHED = 2


CELLS = 1 << 16
"""Bytes of that memory, so the most tasks that a slot can hold."""


# -- from the parent --------------------------------------------------------------------------------------------------------


class Start(msgspec.Struct, array_like=True, tag=1):
    """First order: what to load and how to run it."""

    app: str
    pool: str
    width: int
    """Most tasks at once."""
    max_body_bytes: int
    marks: str
    """Name of the file of ``CELLS`` bytes to map; empty where the slot has inherited it."""
    log_level: int
    spool: str = ""
    """Directory for large results."""
    chunk_bytes: int = 1 << 30
    """Results of more bytes are written there."""
    name: str = ""
    """The worker's, for its tasks to see."""


class Run(msgspec.Struct, array_like=True, tag=2):
    """Run these; ``cells`` has the place of each one's mark."""

    cells: list[int]
    deliveries: list[Delivery]
    paths: dict[str, str] = {}
    """By id: the file with the arguments of a task whose delivery does not hold them."""


class Recall(msgspec.Struct, array_like=True, tag=3):
    """Give back what has not been started, and send what is finished. Travels on the control pipe."""


class Revoke(msgspec.Struct, array_like=True, tag=4):
    """Don't begin these; with ``ends``, end those that run, as far as that can be. Travels on the control pipe."""

    ids: list[str]
    ends: bool = False


# -- from the slot -----------------------------------------------------------------------------------------------------------


class Loaded(msgspec.Struct, array_like=True, tag=10):
    """The application's tasks, or the one line that says why it can't be loaded."""

    tasks: list[str]
    error: str = ""
    queues: list[str] = []
    """What it consumes unless it is told otherwise."""
    topology: str = ""
    """The argument of ``topology-change`` that declares its exchanges, queues and bindings; empty when there are none."""
    limits_ms: dict[str, int] = {}
    """Of tasks that have a hard limit of their running time: it, by name."""


class RunTime(msgspec.Struct, array_like=True, gc=False):
    """How long the tasks of one name took in a batch."""

    task: str
    count: int
    total_s: float
    longest_s: float


class Finished(msgspec.Struct, array_like=True, tag=11):
    outcomes: list[Outcome]
    times: list[RunTime]
    paths: dict[str, str] = {}
    """By id: the file with the value of an outcome that does not hold it."""


class GivenBack(msgspec.Struct, array_like=True, tag=12):
    """Answer to Recall."""

    ids: list[str]


class Told(msgspec.Struct, array_like=True, tag=13):
    """States of tasks that run."""

    states: list[TaskState]


Order = Start | Run | Recall | Revoke
Report = Loaded | Finished | GivenBack | Told

encode = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(Order).decode
decode_report = msgspec.msgpack.Decoder(Report).decode
