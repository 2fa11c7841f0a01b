"""One-way streams of entries and settlements to a peer.

A stream has a cursor per journal; whatever lies beyond the cursor is sent (docs/decisions/002).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from mesh.core.cluster.ranges import to_ranges
from mesh.core.cluster.replica import Journal, Replica
from mesh.wire.entries import Entry
from mesh.wire.messages import Append, DotSet, Replicate

LAG_S = 1.0
"""A follower that leaves a batch unacknowledged for longer does not hold up confirms (R15)."""


Holder = tuple[str, str]
"""Who has a lease: (worker id, the node that it is attached to)."""
NOBODY: Holder = ("", "")


class Stream:
    """What one peer has been sent of this node's entries, and what it has fsynced."""

    def __init__(self, peer: str, term: int, cursors: dict[bytes, int], *, everything: bool, id: int = 0) -> None:
        self.peer = peer
        self.term = term
        self.id = id
        """Number of the report that opened it."""
        self.everything = everything
        """Bulk journals too: the peer is, or becomes, a full copy (or is the coordinator)."""
        self.cursors = cursors
        self.behind: dict[bytes, None] = {}
        """Journals with something beyond the cursor, in the order in which they fell behind."""
        self.settled: dict[bytes, list[int]] = {}
        self.pruned: set[bytes] = set()
        self.leases: dict[str, Holder] = {}
        """By message id: what was handed out and the peer has not heard of yet."""
        self._early: set[str] = set()
        """Leases that the peer was told before their messages."""
        self._ended: set[str] = set()
        """Messages whose settlement is still to be sent: as many as wait with it, so none on a stream on which nothing is to be sent."""
        self._over: dict[str, None] = {}
        """Leases that ended elsewhere: the peer may have seen that before it was told of them."""
        self.number = 0
        self.told_complete = False
        """A batch said that the peer now has all that it was to get."""
        self.complete = False
        """... and the peer has fsynced it."""
        self.acked_mark = 0
        self.heard_mark = 0
        """The mark up to which the peer knows the leases."""
        self.acked_copies = 1
        """Disks that the peer's acknowledgements stand for."""
        self._acked_number = 0
        self._complete_number = 0
        self._in_flight: deque[tuple[int, int, int, float, int]] = deque()
        """(number, mark up to which the peer then has everything, bytes, when, mark up to which it then knows the leases)"""
        self._in_flight_bytes = 0
        self._fetched: dict[bytes, dict[int, Entry]] = {}
        """By journal: entries that were read from the disk for this peer."""
        self._fetching: set[bytes] = set()
        """Journals of which rows are still to come. They wait meanwhile, and others go ahead."""

    def wants(self, journal: Journal) -> bool:
        """Whether the peer is to hold this journal whole: its own too, of which a crash may have cost it the unsynced tail."""
        return self.is_copied_to(journal) or journal.owner == self.peer

    def is_copied_to(self, journal: Journal) -> bool:
        """Whether the peer is one of this journal's copies beside its writer, and so hears of settlements with their transactions."""
        return self.everything or journal.shared

    def start(self, journals: Iterable[Journal]) -> None:
        """Begin: find the journals that the peer lacks part of."""
        for journal in journals:
            self.changed(journal)

    def changed(self, journal: Journal) -> None:
        """A journal has grown."""
        if journal.name not in self.behind and self.wants(journal) and journal.upto > self.cursors.get(journal.name, 0):
            self.behind[journal.name] = None

    def heard(self, append: Append) -> None:
        """The peer has sent a stretch, which it need not be sent, unless there are entries before it that it has not been told of yet.

        It may have seen those settled by somebody else, and says so when it is sent them.
        """
        cursor = self.cursors.get(append.journal, 0)
        if append.base <= cursor < append.upto:
            self.cursors[append.journal] = append.upto

    def settle(self, journal: Journal, sequence: int, message_id: str = "") -> None:
        """An entry was settled: the peer must know if it was sent, or reported, that entry; of one beyond the cursor it hears by a hole."""
        if sequence <= self.cursors.get(journal.name, 0):
            self.settled.setdefault(journal.name, []).append(sequence)
        elif journal.name not in self.behind:
            return
        if message_id and self.everything:
            self._ended.add(message_id)

    def widen(self, journals: Iterable[Journal]) -> None:
        """From now on send everything: the peer becomes a deputy."""
        self.everything = True
        self.told_complete = self.complete = False
        self.start(journals)

    def narrow(self, journals: Iterable[Journal]) -> dict[bytes, list[int]]:
        """From now on send only what all nodes need; returns the settlements that were to follow entries that will not be sent."""
        self.everything = False
        self.behind.clear()
        self.start(journals)
        self._ended.clear()
        self._over.clear()
        settled, self.settled = self.settled, {}
        return settled

    @property
    def idle(self) -> bool:
        """Whether there is nothing to send."""
        return not (self.behind or self.settled or self.leases or self._over or self.pruned) and self.told_complete

    def pump(
        self, replica: Replica, mark: int, now: float, *, window_bytes: int, batch_bytes: int, deputies: list[str]
    ) -> Replicate | None:
        """The next batch to send, or None when there is nothing or the window is full. Leases wait for neither window nor entries."""
        full = self._in_flight_bytes > window_bytes
        appends, size = ([], 0) if full else self._cut(replica, batch_bytes)
        concludes = not (full or self.behind)
        leases = self._take_leases(concludes)
        if not (appends or leases or (concludes and (self.settled or self.pruned or not self.told_complete))):
            return None
        self.number += 1
        self._in_flight.append((self.number, mark if concludes else 0, size, now, 0 if self.leases else mark))
        self._in_flight_bytes += size
        batch = Replicate(self.term, self.number, appends, [], leases, self.told_complete, deputies, self.id)
        if concludes:
            self._conclude(batch)
        return batch

    def _conclude(self, batch: Replicate) -> None:
        """What may only be said when the peer has all entries that were decided before: settlements, prunings.

        The result, or what else stands for a settled entry, has to be on the same disk (R7).
        """
        batch.settled = [DotSet(name, to_ranges(sorted(sequences))) for name, sequences in self.settled.items()]
        batch.pruned = sorted(self.pruned)
        self.settled, self.pruned = {}, set()
        if not self.told_complete:
            batch.complete = self.told_complete = True
            self._complete_number = self.number

    def _cut(self, replica: Replica, batch_bytes: int) -> tuple[list[Append], int]:
        """What lies beyond the cursors, as far as it is in memory, at most about ``batch_bytes``; and its size.

        The own journals come before the others: a hole in theirs says that an entry was settled, and what stands for it is in an own one.
        """
        appends: list[Append] = []
        size = 0
        own = replica.own_bulk
        for name in sorted(self.behind, key=lambda name: name not in own):
            if size >= batch_bytes or (name not in own and not self.behind.keys().isdisjoint(own)):
                break
            journal = replica.journals.get(name)
            base = self.cursors.get(name, 0)
            if journal is None or name in replica.forks or not self.wants(journal) or journal.upto <= base:
                del self.behind[name]
                continue
            if name in self._fetching:
                continue
            fetched = self._fetched.pop(name, {})
            append, append_bytes = replica.cut(journal, base, batch_bytes - size, fetched)
            if append.upto == base:
                self._fetch(replica, journal, base, batch_bytes)
                continue
            left = {sequence: entry for sequence, entry in fetched.items() if sequence > append.upto}
            if left:
                self._fetched[name] = left
            size += append_bytes
            appends.append(append)
            self.cursors[name] = append.upto
            if append.upto == journal.upto:
                del self.behind[name]
        return appends, size

    def _fetch(self, replica: Replica, journal: Journal, base: int, batch_bytes: int) -> None:
        """The next entry is on the disk only: have as many read as go into one batch."""
        sequences = replica.next_cold(journal, base, batch_bytes)
        fetched = self._fetched.setdefault(journal.name, {})
        self._fetching.add(journal.name)

        def come(entries: list[Entry | None]) -> None:
            fetched.update((sequence, entry) for sequence, entry in zip(sequences, entries, strict=True) if entry is not None)
            self._fetching.discard(journal.name)

        replica.read(journal, sequences, come)

    def lease(self, leases: dict[str, Holder]) -> None:
        """These messages are handed out: the peer has to know to whom."""
        self.leases.update(leases)
        if self._over:
            for id in leases:
                self._over.pop(id, None)

    def _take_leases(self, concludes: bool) -> list[tuple[str, str, list[str]]]:
        """The leases to be told now. One of a message that was written anew follows the settlement of the old entry, which ends a lease."""
        if concludes:
            self._ended.clear()
            self.leases.update(dict.fromkeys(self._over, NOBODY))
            self._over.clear()
        waiting = {id: who for id, who in self.leases.items() if id in self._ended and who != NOBODY} if self._ended else {}
        leases = {id: who for id, who in self.leases.items() if id not in waiting} if waiting else self.leases
        self.leases = waiting
        if self.behind:
            self._early.update(leases)
        else:
            self._early.clear()
        return by_worker(leases)

    def message_settled(self, id: str, *, elsewhere: bool) -> None:
        """Its lease is over. The peer forgets it with the message; one whose message will not come any more has to be told.

        So has one that ended ``elsewhere``, where the peer is to hold the message: it may have settled that long ago.
        """
        self.leases.pop(id, None)
        if elsewhere and self.everything:
            self._over[id] = None
        if id in self._early:
            self._early.remove(id)
            self.leases[id] = NOBODY

    def hear(self, number: int) -> None:
        """The peer knows the leases of every batch up to ``number``."""
        for sent, _, _, _, mark in self._in_flight:
            if sent > number:
                return
            self.heard_mark = max(self.heard_mark, mark)

    def acknowledge(self, number: int, copies: int = 1) -> None:
        """The peer has fsynced every batch up to ``number``, which are on ``copies`` disks by now.

        The word of a batch that waits for the deputies may come after that of a later one, which has fewer copies.
        """
        self.hear(number)
        if number >= self._acked_number:
            self._acked_number, self.acked_copies = number, copies
        while self._in_flight and self._in_flight[0][0] <= number:
            _, mark, size, _, _ = self._in_flight.popleft()
            self._in_flight_bytes -= size
            self.acked_mark = max(self.acked_mark, mark)
        if self.told_complete and number >= self._complete_number:
            self.complete = True

    def idle_mark(self, mark: int) -> int:
        """The mark up to which the peer has everything: the present one when nothing is pending or under way."""
        if self._in_flight or self.behind or self.settled:
            return self.acked_mark
        return mark

    def lags(self, now: float) -> bool:
        """Whether the oldest unacknowledged batch has been under way for too long."""
        return bool(self._in_flight) and now - self._in_flight[0][3] > LAG_S


def by_worker(leases: dict[str, Holder]) -> list[tuple[str, str, list[str]]]:
    """Leases as they travel: (worker id, its node, message ids)."""
    grouped: dict[Holder, list[str]] = {}
    for id, holder in leases.items():
        grouped.setdefault(holder, []).append(id)
    return [(worker, node, ids) for (worker, node), ids in grouped.items()]
