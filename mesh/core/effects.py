"""What the core asks the outside to do, and in which order.

The contract of the loop that drives a :class:`mesh.core.machine.Machine` (after etcd-io/raft's ``Ready``):

1. feed it events (messages, refusals, commits, ticks), each with the time;
2. take ``sends`` and send them: they depend on nothing that is not yet on disk;
3. when the disk is idle, take the ``Batch`` and commit it as one fsynced transaction;
4. when that is done, report it with ``on_committed``: what had to wait for the disk appears in ``sends``;
5. take the ``reads`` and report the rows of each with ``on_read``, in any later turn: None for a row that is no longer there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mesh.wire.entries import Member
from mesh.wire.frames import Envelope
from mesh.wire.messages import HeadState, PeerMessage, SessionReply

SMALL_ROWS = 8
SMALL_BYTES = 64 << 10
"""Rows of a batch, and their bytes, that a loop may commit itself when nobody else depends on it."""


@dataclass(slots=True)
class Batch:
    """One transaction: all of it is on disk after the commit, or none of it."""

    number: int
    entries: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """(journal, sequence, encoded entry) to insert."""
    settled: list[tuple[bytes, int]] = field(default_factory=list)
    """(journal, sequence) to delete."""
    heads: dict[bytes, HeadState] = field(default_factory=dict)
    """Contexts that moved."""
    dropped: list[bytes] = field(default_factory=list)
    """Journals to forget, entries and context in one."""
    vote: tuple[int, str] | None = None
    """(term, node voted for) when it changed."""
    recovered: bool = False
    """What was salvaged from a damaged state directory is dealt with: forget it."""

    @property
    def small(self) -> bool:
        """Whether committing it is a matter of one fsync and little else."""
        few = len(self.entries) + len(self.settled) <= SMALL_ROWS
        return few and sum(len(blob) for _, _, blob in self.entries) <= SMALL_BYTES

    @property
    def special(self) -> bool:
        """Whether it holds what seldom changes."""
        return bool(self.dropped or self.vote or self.recovered)

    def __bool__(self) -> bool:
        return bool(self.entries or self.settled or self.heads or self.special)


@dataclass(slots=True)
class Read:
    """Rows of one journal that are to be read, together."""

    number: int
    journal: bytes
    sequences: Sequence[int]
    """Ascending."""


@dataclass(slots=True)
class Sends:
    """Messages that may leave now, each list in order."""

    peers: list[tuple[str, Envelope, PeerMessage]] = field(default_factory=list)
    sessions: list[tuple[bytes, SessionReply]] = field(default_factory=list)


@dataclass(slots=True)
class Gap:
    """Dots of a damaged state directory that could not be read: each was live, or settled, or never there."""

    journal: bytes
    """Empty when even that could not be read."""
    first: int
    last: int
    task: str = ""
    """The task's id where it could be read."""


@dataclass(slots=True)
class Salvage:
    """The remains of a damaged state directory (R20)."""

    entries: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """(journal or nothing, sequence, encoded entry): live when last written; whether they still are is for others to say."""
    gaps: list[Gap] = field(default_factory=list)


@dataclass(slots=True)
class Restored:
    """What a state directory held when it was opened."""

    term: int = 0
    voted_for: str = ""
    heads: list[HeadState] = field(default_factory=list)
    entries: Iterable[tuple[bytes, int, bytes]] = ()
    """(journal, sequence, encoded entry), ascending within a journal; to be gone through once, before anything is committed."""
    salvage: Salvage | None = None
    """Not None: the directory was found damaged, and this node is not whole."""


@dataclass(slots=True)
class Identity:
    """Who this node process is; drawn outside, as the core has no randomness."""

    id: str
    name: str
    key: bytes
    mesh: str
    mesh_id: str
    bulk_journal: bytes
    shared_journal: bytes
    addresses: list[str] = field(default_factory=list)
    version: str = ""
    pid: int = 0
    never_coordinate: bool = False
    weight: int = 0
    sleeps: bool = False
    """The machine is one that sleeps, as far as is known."""

    def member(self, at_ms: int) -> Member:
        """The entry that says that this node belongs to the mesh."""
        return Member(
            id=self.id,
            name=self.name,
            key=self.key,
            addresses=list(self.addresses),
            at_ms=at_ms,
            version=self.version,
            never_coordinate=self.never_coordinate,
            weight=self.weight,
            pid=self.pid,
            sleeps=self.sleeps,
        )
