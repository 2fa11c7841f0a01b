"""What happened in a run, recorded from outside the mesh."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field

from mesh.wire.entries import Dot, Message


@dataclass(frozen=True)
class Start:
    """A worker began to run a task."""

    at_s: float
    worker: str


@dataclass
class Delayed:
    """A task with a countdown."""

    made_at_s: float
    due_s: float
    """True time before which it must not run."""
    local: bool = True
    """Accepted by the node on the client's own machine, whose clock it was made by."""
    by: str = ""
    """Id of the node that it was submitted to last."""
    salvaged: bool = False
    """It was among what could be read of a damaged disk, to be written anew by that disk's node."""


@dataclass
class History:
    """Attempts, confirms, starts and ends for each id, and every dot that was ever written or settled."""

    published: set[str] = field(default_factory=set)
    confirmed: dict[str, int] = field(default_factory=dict)
    """Id to the highest number of copies that a confirm has named."""
    delayed: dict[str, Delayed] = field(default_factory=dict)
    """Id to what its countdown says."""
    starts: dict[str, list[Start]] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    """Id to the number of runs that came to their end in a worker."""
    ended: dict[str, list[Dot]] = field(default_factory=dict)
    """Id to the dots of its results that were on some disk."""
    longest: int = 0
    """How many tasks waited at most that were never with a worker."""
    results: set[str] = field(default_factory=set)
    """Ids of which a client has got the result."""
    contents: dict[Dot, int] = field(default_factory=dict)
    """Every dot that was ever on a disk, with the checksum of its entry."""
    dots: dict[str, list[Dot]] = field(default_factory=dict)
    """Id to the dots of its messages; one that was settled soon may never have been on a disk."""
    chunks: dict[bytes, list[Dot]] = field(default_factory=dict)
    """A large body's id to the dots of its chunks."""
    large: dict[Dot, bytes] = field(default_factory=dict)
    """Dots of messages and results whose body is in chunks, with its id."""
    bodies_lost: set[str] = field(default_factory=set)
    """Ids of tasks that failed because their body was nowhere."""
    submits: set[Dot] = field(default_factory=set)
    """Those of them that a client's submit has written, and not a lost attempt."""
    settled: set[Dot] = field(default_factory=set)
    """Dots that some core has settled."""
    journals: int = 0
    """Journals that node processes have begun."""
    votes: dict[tuple[str, int], str] = field(default_factory=dict)
    """(voter, term) to the candidate that it told that it has its vote."""
    wiped: dict[str, float] = field(default_factory=dict)
    """Ids whose only copies were on a disk that lost them, with when that was."""
    set_back: int = 0
    """How often a disk went back to an earlier state."""
    results_wiped: set[str] = field(default_factory=set)
    """Ids of which the only copy of the result was on such a disk."""
    agreed_after_s: float = 0.0
    """Calm until one coordinator was followed by all."""
    finished_after_s: float = 0.0
    """Calm until all was done and all states were equal."""
    violations: list[str] = field(default_factory=list)
    traffic: int = 0
    """Running checksum of all that was sent between nodes, and when."""

    def start(self, id: str, now: float, worker: str) -> None:
        """A worker began a task."""
        self.starts.setdefault(id, []).append(Start(now, worker))

    def started_after(self, time: float) -> set[str]:
        """Ids of which a run began later than that."""
        return {id for id, starts in self.starts.items() if starts[-1].at_s > time}

    def wrote(self, message: Message, dot: Dot) -> None:
        """A node wrote a message to its journal."""
        known = self.dots.setdefault(message.id, [])
        if dot not in known:
            known.append(dot)
            if not message.attempts:
                self.submits.add(dot)

    def sent(self, now: float, blob: bytes) -> None:
        """A message left a node."""
        self.traffic = zlib.crc32(blob, self.traffic ^ (hash(now) & 0xFFFFFFFF))

    def duplicates(self) -> list[str]:
        """Tasks that were started more than once, without those that kill whoever runs them."""
        return sorted(id for id, starts in self.starts.items() if len(starts) > 1 and id in self.finished)

    def digest(self) -> str:
        """The same for two runs only if everything in them happened alike, at the same times and in the same order."""
        told = repr((self.traffic, list(self.starts.items()), list(self.confirmed.items()), list(self.contents.items()), self.violations))
        return hashlib.sha256(told.encode()).hexdigest()
