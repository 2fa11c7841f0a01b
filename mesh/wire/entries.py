"""The replicated entries: what the mesh remembers, one typed struct for each kind.

Fields are append-only: a new one goes last and has a default, a removed one keeps its place (msgspec, "schema evolution").
An entry's kind is its tag; numbers are never reused.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from mesh.wire.calls import Call, Flow
from mesh.wire.contents import Chunks as Chunks
from mesh.wire.contents import Failure as Failure
from mesh.wire.topology import Binding, Exchange, Properties, QueueDeclaration

QUARANTINE = "quarantine"
"""The list of messages that a forgotten node brought back."""
LOST_AND_FOUND = "lost+found"
"""The list of messages that were routed to a declared queue which is gone (R22)."""
HELD_LISTS = (QUARANTINE, LOST_AND_FOUND)
"""No queue has one of these names."""


class Scope(IntEnum):
    """Who holds the entries of a journal, and where."""

    BULK = 0
    """Messages and results: their writer, the coordinator, the deputies."""
    SHARED = 1
    """Members, settings, topology: every node."""
    FLEETING = 2
    """As BULK, in memory only: transient messages and their results."""
    FLEETING_SHARED = 3
    """As SHARED, in memory only: temporary exchanges and queues, and what binds them."""


class Status(IntEnum):
    """What has become of a task; the names are Celery's, and UNKNOWN is an id that the mesh has never seen."""

    PENDING = 0
    RECEIVED = 1
    STARTED = 2
    RETRY = 3
    SUCCESS = 4
    FAILURE = 5
    REVOKED = 6
    UNKNOWN = 7
    REMOVED = 8
    """It is over, and its result was removed."""

    @property
    def terminal(self) -> bool:
        """Whether the task will not run again."""
        return self in (Status.SUCCESS, Status.FAILURE, Status.REVOKED, Status.REMOVED)


class Attempt(msgspec.Struct, array_like=True, gc=False):
    """One delivery of a message that did not end it."""

    node: str
    worker: str
    started_ms: int
    ended_ms: int
    how: str
    """Why it did not end the task, for people."""


class Message(msgspec.Struct, array_like=True, tag=1, gc=False):
    """A task to run, or with no ``task`` a plain message. ``body`` is opaque to nodes: only who consumes it decodes it."""

    id: str
    queue: str
    task: str
    body: bytes
    attempts: int = 0
    """Deliveries that were started and lost before this one."""
    eta_ms: int = 0
    """Not before this wall-clock instant (milliseconds since 1970), 0 for at once."""
    max_deliveries: int = 0
    """The task's own limit of deliveries, 0 for the queue's or the mesh's."""
    history: tuple[Attempt, ...] = ()
    """The deliveries that were lost, oldest first."""
    chunks: Chunks | None = None
    """Where the body is when ``body`` does not hold it."""
    properties: Properties | None = None
    """None for a task that was sent to a queue by its name, without more."""
    call: Call | None = None
    """How it shall run, and on whose behalf; None when nothing is said of that."""
    flow: Flow | None = None
    """Its place in a workflow."""

    @property
    def size(self) -> int:
        """Bytes of the body, wherever it is."""
        return len(self.body) if self.chunks is None else self.chunks.size


class Result(msgspec.Struct, array_like=True, tag=2, gc=False):
    """How a task ended."""

    id: str
    status: int
    body: bytes = b""
    failure: Failure | None = None
    node: str = ""
    worker: str = ""
    at_ms: int = 0
    """Wall clock of the coordinator that settled the task, milliseconds since 1970."""
    chunks: Chunks | None = None
    """Where the value is when ``body`` does not hold it."""
    task: str = ""
    """Its name, for a step of a workflow."""
    flow: Flow | None = None
    """The message's: a gather that has not ended finds its values by it, after a takeover too."""
    call: Call | None = None
    """The message's, when it was a step of a workflow or a task of a task: who asks for the tree finds it by that."""
    children: tuple[str, ...] = ()
    """Ids of the tasks that it has submitted, in order."""
    skipped: bool = False
    """It never ran, as what it waited for failed; its failure is that one's."""


class Member(msgspec.Struct, array_like=True, tag=3):
    """A principal that was let in. The value for one ``id`` with the highest dot stands."""

    id: str
    name: str
    key: bytes
    """Curve25519 public key, 32 bytes."""
    addresses: list[str]
    """``host:port`` of the member's door, best first."""
    durable: bool = True
    """Runs a node with a disk: counts for majorities and copies. False for guests (clients and workers without a node)."""
    present: bool = True
    """False after a polite goodbye, until the member comes back."""
    at_ms: int = 0
    """Wall clock of the writer; for display."""
    version: str = ""
    never_coordinate: bool = False
    weight: int = 0
    revision: int = 0
    """Rises with each new value for this id, so that the newest wins whoever wrote it."""
    pid: int = 0
    sleeps: bool = False
    """Its machine is one that sleeps: it has a battery, or slept while a node ran there."""


class Setting(msgspec.Struct, array_like=True, tag=4):
    """A setting of the whole mesh. The value for one ``key`` with the highest (term, revision, dot) stands (R22)."""

    key: str
    """A mesh-wide setting of mesh/config.py, or ``queue:NAME:SETTING``."""
    value: str
    """Empty: back to the default."""
    term: int = 0
    revision: int = 0


class DeadLetter(msgspec.Struct, array_like=True, tag=5):
    """A message that was delivered too often without ending; kept until somebody decides about it."""

    message: Message
    reason: str
    at_ms: int = 0
    """Wall clock of the coordinator that gave up."""
    held_in: str = ""
    """The list that it is in, empty for that of its own queue; ``quarantine`` for what a forgotten node brought back (R17), ``lost+found``
    for what was routed to a declared queue that is gone (R22)."""


class Chunk(msgspec.Struct, array_like=True, tag=6, gc=False):
    """A piece of a large body. On every node its bytes are in memory only until they are on the disk and were passed on."""

    body: bytes
    """The body's id, as in Chunks."""
    index: int
    """0, 1, 2 ... within the body."""
    data: bytes

    def cold(self) -> Chunk:
        """The same without its bytes, which are on the disk."""
        return Chunk(self.body, self.index, b"")


class Absence(msgspec.Struct, array_like=True, tag=9):
    """A node is away for long (R17); settled when it is back and all that it held is known."""

    id: str
    since_ms: int
    """Wall clock of the coordinator that missed it, milliseconds since 1970."""
    forgotten: bool = False
    """It was away for longer than ``forget_after_s``: the context no longer waits for it, and what it brings back is not run by itself."""


Entry = Message | Result | Member | Setting | DeadLetter | Chunk | Absence | Exchange | QueueDeclaration | Binding
Dot = tuple[bytes, int]
"""(journal, sequence): the identity of an entry."""
