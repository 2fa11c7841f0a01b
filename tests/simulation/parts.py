"""What lies under the simulated cores: disks and the network, with the faults that both can have."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from mesh.core.effects import Batch, Gap, Restored, Salvage
from mesh.wire import frames
from mesh.wire.entries import Dot, Message, Result
from mesh.wire.messages import HeadState

T = TypeVar("T")
COMMIT_S = (0.0002, 0.004)
"""How long a healthy disk takes for one transaction: shortest and longest."""
SLOW_COMMIT_S = (0.2, 3.0)
"""... and one that is about to die, or behind a busy controller."""
REORDER_S = 0.03
"""How much later than its successors a message that is out of order arrives, at most."""
RETRANSMIT_S = (0.2, 1.6)
"""How long a connection waits for the answer to a lost frame before it sends it again: at first, and at most; it doubles (RFC 6298)."""


class Disk:
    """What a crash leaves: only whole, fsynced transactions."""

    def __init__(self) -> None:
        self.term = 0
        self.voted_for = ""
        self.heads: dict[bytes, HeadState] = {}
        self.entries: dict[Dot, bytes] = {}
        self.commit_s = COMMIT_S
        self.damaged_at = float("-inf")
        """When it last lost what was on it: wiped, or set back to an earlier state."""
        self.before_damage: Disk | None = None
        self.salvage: Salvage | None = None
        """What could be read of a damaged state file, until the node has dealt with it (R20)."""
        self.full = False
        """Transactions fail."""

    def apply(self, batch: Batch) -> None:
        """Commit a transaction."""
        for name in batch.dropped:
            self.heads.pop(name, None)
            self.entries = {key: blob for key, blob in self.entries.items() if key[0] != name}
        for journal, sequence, blob in batch.entries:
            self.entries[journal, sequence] = blob
        for key in batch.settled:
            self.entries.pop(key, None)
        self.heads.update(batch.heads)
        if batch.vote is not None:
            self.term, self.voted_for = batch.vote
        if batch.recovered:
            self.salvage = None

    def restored(self) -> Restored:
        """What a new process finds."""
        entries = [(journal, sequence, blob) for (journal, sequence), blob in sorted(self.entries.items())]
        return Restored(self.term, self.voted_for, list(self.heads.values()), entries, self.salvage)

    def covers(self, journal: bytes, sequence: int) -> bool:
        """Whether the entry is, or was, safely here."""
        head = self.heads.get(journal)
        return head is not None and head.upto >= sequence

    def has_settled(self, journal: bytes, sequence: int) -> bool:
        """Whether the entry is over as far as this disk knows: so it will be for whoever meets it."""
        return (journal, sequence) not in self.entries and self.covers(journal, sequence)

    def live_ids(self, kind: type[Message] | type[Result]) -> set[str]:
        """Ids of the tasks of which a message, or a result, is here."""
        return {entry.id for entry in self.live(kind)}

    def live(self, kind: type[T]) -> list[T]:
        """The entries of a type that are here, salvaged ones included."""
        return [entry for _, entry in self.live_dots(kind)]

    def live_dots(self, kind: type[T]) -> list[tuple[Dot, T]]:
        """... with their dots."""
        salvaged = [((journal, sequence), blob) for journal, sequence, blob in self.salvage.entries] if self.salvage else []
        entries = ((dot, frames.decode_entry(blob)) for dot, blob in (*self.entries.items(), *salvaged))
        return [(dot, entry) for dot, entry in entries if isinstance(entry, kind)]

    def snapshot(self) -> Disk:
        """The disk as it is now, for a restore later."""
        copy = Disk()
        copy.term, copy.voted_for = self.term, self.voted_for
        copy.heads, copy.entries = dict(self.heads), dict(self.entries)
        copy.salvage = self.salvage
        return copy

    def damaged(self, rng: random.Random, share: float) -> Disk:
        """The disk with that share of its rows unreadable, as a new process finds it: the file set aside, and what was read of it."""
        before = self.salvage or Salvage()
        found = Salvage(list(before.entries), list(before.gaps))
        for (journal, sequence), blob in sorted(self.entries.items()):
            if rng.random() < share:
                found.gaps.append(Gap(journal, sequence, sequence))
            else:
                found.entries.append((journal, sequence, blob))
        copy = Disk()
        copy.term, copy.voted_for, copy.salvage = self.term, self.voted_for, found
        return copy

    def replace_contents(self, contents: Disk, now: float) -> None:
        """Wipe the disk, or set it back to an earlier snapshot."""
        self.before_damage, self.damaged_at = self.snapshot(), now
        self.term, self.voted_for = contents.term, contents.voted_for
        self.heads, self.entries = dict(contents.heads), dict(contents.entries)
        self.salvage = contents.salvage


Pair = tuple[str, str]


@dataclass
class Network:
    """Who can reach whom, how slowly, and how badly."""

    rng: random.Random
    delay_s: tuple[float, float] = (0.0002, 0.003)
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    frame_loss: dict[Pair, float] = field(default_factory=dict)
    """By direction: the share of frames that have to be sent again, and what follows waits for them."""
    _cuts: dict[Pair, int] = field(default_factory=dict)
    _last_arrival: dict[Pair, float] = field(default_factory=dict)

    def cut(self, pairs: Iterable[Pair]) -> None:
        """Nothing gets from the first of each pair to the second until it was mended as often as it was cut."""
        for pair in pairs:
            self._cuts[pair] = self._cuts.get(pair, 0) + 1

    def mend(self, pairs: Iterable[Pair]) -> None:
        """Undo one cut of each pair."""
        for pair in pairs:
            count = self._cuts.pop(pair, 0)
            if count > 1:
                self._cuts[pair] = count - 1

    def is_cut(self, sender: str, receiver: str) -> bool:
        """Whether nothing gets through in this direction."""
        return (sender, receiver) in self._cuts

    def arrivals(self, now: float, sender: str, receiver: str) -> list[float]:
        """When a message sent now arrives: never, once or twice; in order per direction, as a connection does, unless reordering is on."""
        if self._cuts and (sender, receiver) in self._cuts:
            return []
        draw, (low, high) = self.rng.random, self.delay_s
        if self.loss and draw() < self.loss:
            return []
        time = now + low + (high - low) * draw()
        if self.frame_loss and time > self._last_arrival.get((sender, receiver), 0.0):
            time += self._retransmissions_s(self.frame_loss.get((sender, receiver), 0.0))
        if self.reordering and draw() < self.reordering:
            return [time + REORDER_S * draw()]
        ordered = [self._in_order(time, sender, receiver)]
        if self.duplication and draw() < self.duplication:
            ordered.append(self._in_order(time + high * draw(), sender, receiver))
        return ordered

    def _retransmissions_s(self, share: float) -> float:
        """How much later a message arrives because its frame is lost, maybe more than once."""
        waited_s, (pause_s, longest_s) = 0.0, RETRANSMIT_S
        while pause_s <= longest_s and self.rng.random() < share:
            waited_s += pause_s
            pause_s *= 2
        return waited_s

    def _in_order(self, time: float, sender: str, receiver: str) -> float:
        time = max(time, self._last_arrival.get((sender, receiver), 0.0) + 1e-9)
        self._last_arrival[sender, receiver] = time
        return time

    def heal(self) -> None:
        """Everything reaches everybody again."""
        self._cuts.clear()
        self.frame_loss.clear()
        self.loss = self.duplication = self.reordering = 0.0
