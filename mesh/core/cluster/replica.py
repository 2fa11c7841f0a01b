"""The replicated state of one node: live entries by journal, and the context (DESIGN 4).

An optimised observed-remove set (Bieniusa et al., "An Optimized Conflict-free Replicated Set", 2012): no tombstones; a dot that the
context covers and that is not live has been settled.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import merge
from itertools import pairwise
from typing import cast

from mesh.core.cluster.paged import Paged
from mesh.core.cluster.pages import Pages
from mesh.core.cluster.ranges import expand, intersection, subtract, to_ranges, union
from mesh.core.cluster.reads import Reads, Then
from mesh.core.cluster.schedule import Schedule
from mesh.core.cluster.scopes import fleeting_name, is_fleeting, is_shared, scope_of
from mesh.core.effects import Restored
from mesh.core.turn import Turn
from mesh.errors import RemoteProtocolError
from mesh.wire.entries import Chunk, Entry, Message, Scope
from mesh.wire.frames import decode_entry, encode
from mesh.wire.messages import Append, DotSet, HeadState

SEQUENCE_LIMIT = 1 << 40
"""Sequences stay below: a disk packs journal and sequence into one 64-bit key."""

CHUNK_BYTES = 128 << 10
"""About the size of a chunk of a body whose bytes are on the disk only."""
TAIL = 1_000
"""Messages beyond the window that are indexed at once when a state directory is opened."""
_NOTHING: Mapping[int, Entry] = {}
Listener = Callable[["Journal", int, Entry], None]


class Journal:
    """What this node knows of one journal: how far it has come, and its live entries."""

    __slots__ = ("delayed", "digest", "fleeting", "live", "name", "owner", "paged", "passing", "scope", "shared", "upto")

    def __init__(self, name: bytes, owner: str, scope: int, upto: int = 0, digest: int = 0) -> None:
        self.name = name
        self.owner = owner
        self.scope = scope
        self.shared = is_shared(scope)
        self.fleeting = is_fleeting(scope)
        """In memory only: neither its entries nor its line of the context reach a disk, so it has no digest either."""
        self.upto = upto
        self.digest = digest
        self.live: dict[int, Entry] = {}
        """By sequence, as far as they are in memory."""
        self.paged = Paged()
        """The others: messages that are on the disk only, or are on their way there."""
        self.delayed = Schedule()
        """When those of them are due that have an instant."""
        self.passing: dict[int, Message] = {}
        """Those that are on their way."""

    @property
    def count(self) -> int:
        """How many live entries there are."""
        return len(self.live) + len(self.paged)

    def ranges(self) -> list[int]:
        """The sequences of all live entries as ranges."""
        ranges = to_ranges(sorted(self.live))
        return union(ranges, self.paged.ranges()) if self.paged else ranges

    def within(self, ranges: list[int]) -> list[int]:
        """The sequences of live entries within the ranges, without walking a range that is longer than the journal."""
        found: list[int] = []
        live, paged = self.live, self.paged
        for first, last in zip(ranges[::2], ranges[1::2], strict=True):
            if last - first < len(live):
                found += [sequence for sequence in range(first, last + 1) if sequence in live]
            else:
                found += [sequence for sequence in live if first <= sequence <= last]
            if paged:
                found += paged.sequences(first, last)
        return found

    def after(self, base: int) -> Iterable[int]:
        """Ascending sequences after ``base``, among them those of all live entries."""
        live, upto = self.live, self.upto
        if upto - base <= 2 * self.count:
            return range(base + 1, upto + 1)
        resident = sorted(sequence for sequence in live if sequence > base)
        return merge(resident, self.paged.sequences(base + 1, upto)) if self.paged else resident

    def head(self) -> HeadState:
        """The journal's line of the context."""
        return HeadState(self.name, self.owner, self.scope, self.upto, self.digest)

    def live_dots(self) -> DotSet:
        """The live sequences as ranges."""
        return DotSet(self.name, self.ranges())


class Replica:
    """All journals that this node holds. Changes go to the turn's transaction and to the listeners."""

    def __init__(self, turn: Turn, owner: str, bulk_journal: bytes, shared_journal: bytes, window_bytes: int = 32 << 20) -> None:
        self._turn = turn
        self.reads = Reads(turn)
        self.pages = Pages(window_bytes)
        self.journals: dict[bytes, Journal] = {}
        self._own = {
            Scope.BULK: Journal(bulk_journal, owner, Scope.BULK),
            Scope.SHARED: Journal(shared_journal, owner, Scope.SHARED),
            Scope.FLEETING: Journal(fleeting_name(bulk_journal), owner, Scope.FLEETING),
            Scope.FLEETING_SHARED: Journal(fleeting_name(shared_journal), owner, Scope.FLEETING_SHARED),
        }
        for journal in self._own.values():
            self.journals[journal.name] = journal
        self.own_bulk = (self._own[Scope.BULK].name, self._own[Scope.FLEETING].name)
        """The journals in which this process writes messages and results."""
        self.on_added: list[Listener] = []
        self.on_settled: list[Listener] = []
        self.on_passed: list[Callable[[Journal, Sequence[int], Sequence[Entry]], None]] = []
        """A journal has grown by messages that listeners to single entries are not told of."""
        self.inspected = False
        """Somebody wants to see each message that comes."""
        self._postponed: list[tuple[Journal, Sequence[int], Then]] = []
        """Reads of what is still on its way to the disk."""
        self.on_shared_added: list[Listener] = []
        """Told of entries of shared journals only, after the others: nobody else is asked about each message."""
        self.on_shared_settled: list[Listener] = []
        self.on_dropped: list[Callable[[Journal], None]] = []
        """A journal is about to be forgotten, with what is live in it."""
        self.forks: set[bytes] = set()
        """Journals of which two contents were seen (R2): never copied further."""

    def restore(self, restored: Restored) -> None:
        """Load what a former process of this node had on disk; no listeners are called."""
        for head in restored.heads:
            self.journals[head.journal] = Journal(head.journal, head.owner, head.scope, head.upto, head.digest)
        tail: dict[int, Message] = {}
        tail_of = self._own[Scope.BULK]
        for name, sequence, blob in restored.entries:
            entry = decode_entry(blob)
            journal = self.journals[name]
            if type(entry) is Message and journal.scope == Scope.BULK:
                if self.pages.is_full:
                    if journal is not tail_of or len(tail) == TAIL:
                        self._restore_tail(tail_of, tail)
                        tail_of, tail = journal, {}
                    tail[sequence] = entry
                    continue
                self.pages.came(journal, sequence, entry, 0)
            share_names((entry,))
            journal.live[sequence] = entry.cold() if type(entry) is Chunk else entry
        self._restore_tail(tail_of, tail)

    def _restore_tail(self, journal: Journal, messages: dict[int, Message]) -> None:
        """Index messages beyond the window, as far as they need no place in memory."""
        if not messages or self.pages.add_many(journal, list(messages), list(messages.values())):
            return
        for sequence, message in messages.items():
            if not self.pages.add(journal, sequence, message):
                share_names((message,))
                self.pages.came(journal, sequence, message, 0)
                journal.live[sequence] = message

    def tell_restored(self, listener: Listener) -> None:
        """Tell a listener what :meth:`restore` has brought into the shared journals."""
        for journal in list(self.journals.values()):
            if journal.shared:
                for sequence, entry in list(journal.live.items()):
                    listener(journal, sequence, entry)

    # -- changes --------------------

    def write(self, entry: Entry, scope: Scope | None = None) -> tuple[Journal, int]:
        """Write a new entry to the own journal of that scope, by default the one that it belongs to; returns its dot."""
        journal = self._own[scope_of(entry) if scope is None else scope]
        sequence = journal.upto = journal.upto + 1
        journal.live[sequence] = entry
        if type(entry) is Message:
            self.pages.came(journal, sequence, entry, self._turn.mark)
        if not journal.fleeting:
            blob = encode(entry)
            journal.digest = zlib.crc32(blob, journal.digest)
            self._turn.write(journal.name, sequence, blob)
            self._turn.move_head(journal.head())
        for listener in self._told_of_added(journal):
            listener(journal, sequence, entry)
        return journal, sequence

    def write_many(self, entries: Sequence[Entry]) -> tuple[Journal, int]:
        """Write bulk entries that go to the disk; returns the journal and the last sequence."""
        journal = self._own[Scope.BULK]
        sequences = range(journal.upto + 1, journal.upto + 1 + len(entries))
        share_names(entries)
        if self._pass_through(journal, sequences, entries):
            journal.digest = self._write_blobs(journal.name, sequences, entries, journal.digest)
            journal.upto += len(entries)
            self._turn.move_head(journal.head())
            self._tell_passed(journal, sequences, entries)
            return journal, journal.upto
        sequence, digest, name, live = journal.upto, journal.digest, journal.name, journal.live
        turn_write, crc32, listeners, came, mark = self._turn.write, zlib.crc32, self.on_added, self.pages.came, self._turn.mark
        for entry in entries:
            sequence = journal.upto = sequence + 1
            blob = encode(entry)
            digest = crc32(blob, digest)
            live[sequence] = entry
            if type(entry) is Message:
                came(journal, sequence, entry, mark)
            turn_write(name, sequence, blob)
            for listener in listeners:
                listener(journal, sequence, entry)
        journal.digest = digest
        self._turn.move_head(journal.head())
        return journal, sequence

    def write_transient(self, messages: Sequence[Message]) -> None:
        """Write messages that are kept in memory only."""
        share_names(messages)
        for message in messages:
            self.write(message, Scope.FLEETING)

    def _write_blobs(self, name: bytes, sequences: Sequence[int], entries: Sequence[Entry], digest: int) -> int:
        turn_write, crc32 = self._turn.write, zlib.crc32
        for sequence, entry in zip(sequences, entries, strict=True):
            blob = encode(entry)
            digest = crc32(blob, digest)
            turn_write(name, sequence, blob)
        return digest

    def _pass_through(self, journal: Journal, sequences: Sequence[int], entries: Sequence[Entry]) -> bool:
        """Index new messages that need no place in memory; False when one of them does."""
        if journal.fleeting or self.inspected or set(map(type, entries)) != {Message}:
            return False
        return self.pages.pass_through(journal, sequences, cast("Sequence[Message]", entries), self._turn.mark)

    def _tell_passed(self, journal: Journal, sequences: Sequence[int], entries: Sequence[Entry]) -> None:
        for listener in self.on_passed:
            listener(journal, sequences, entries)

    def settle(self, journal: Journal, sequence: int, *, patient: bool = False) -> bool:
        """Remove an entry for good; False when it was not live. ``patient``: that may reach the disk a moment later."""
        entry = journal.live.pop(sequence, None)
        if type(entry) is Message:
            self.pages.left(journal, entry)
        elif entry is None:
            entry = self.pages.settle(journal, sequence) if journal.paged else None
            if entry is None:
                return False
        if not journal.fleeting:
            self._turn.settle(journal.name, sequence, patient=patient)
        for listener in self.on_settled:
            listener(journal, sequence, entry)
        if journal.shared:
            for listener in self.on_shared_settled:
                listener(journal, sequence, entry)
        return True

    def _told_of_added(self, journal: Journal) -> Iterable[Listener]:
        return (*self.on_added, *self.on_shared_added) if journal.shared else self.on_added

    def apply(self, append: Append) -> list[int]:
        """Merge a stretch of a journal. Idempotent.

        What is new is taken over. Where the stretch overlaps with what is known, an entry that only one side has live was settled by the
        other: it is settled here, or returned, so that the sender can be told. Raises RemoteProtocolError when the stretch does not
        join on to what is known (R2), or is not well formed: nothing is changed then.
        """
        journal = self.journals.get(append.journal)
        if journal is None:
            journal = Journal(append.journal, append.owner, append.scope)
        known = journal.upto
        sequences = append.sequences or range(append.base + 1, append.base + 1 + len(append.entries))
        if not 0 <= append.base <= known:
            raise RemoteProtocolError(f"a gap in journal {append.journal.hex()[:8]}: have {known}, got from {append.base}")
        ascending = not append.sequences or all(a < b for a, b in pairwise(sequences))
        if len(sequences) != len(append.entries) or not ascending:
            raise RemoteProtocolError("an append whose sequences do not fit its entries")
        if append.entries and not append.base < sequences[0] <= sequences[-1] <= append.upto:
            raise RemoteProtocolError("an append whose sequences lie outside its stretch")
        if append.upto >= SEQUENCE_LIMIT:
            raise RemoteProtocolError("a sequence beyond the limit")
        if self._notice_fork(journal, append.upto, append.digest):
            return []
        stale = self._merge_overlap(journal, append, sequences) if append.base < known else []
        if append.upto > known:
            self.journals[journal.name] = journal
            journal.upto, journal.digest = append.upto, append.digest
            if not journal.fleeting:
                self._turn.move_head(journal.head())
        share_names(append.entries)
        if append.base >= known and self._pass_through(journal, sequences, append.entries):
            self._write_blobs(journal.name, sequences, append.entries, 0)
            self._tell_passed(journal, sequences, append.entries)
            return stale
        listeners = self._told_of_added(journal)
        for sequence, entry in zip(sequences, append.entries, strict=True):
            if sequence > known:
                journal.live[sequence] = entry
                if type(entry) is Message:
                    self.pages.came(journal, sequence, entry, self._turn.mark)
                if not journal.fleeting:
                    self._turn.write(journal.name, sequence, encode(entry))
                for listener in listeners:
                    listener(journal, sequence, entry)
        return stale

    def _merge_overlap(self, journal: Journal, append: Append, sequences: Sequence[int]) -> list[int]:
        end = min(journal.upto, append.upto)
        theirs = to_ranges(sequence for sequence in sequences if sequence <= end)
        mine = intersection(journal.ranges(), [append.base + 1, end])
        for sequence in list(expand(subtract(mine, theirs))):
            self.settle(journal, sequence)
        return list(expand(subtract(theirs, mine)))

    def settle_dots(self, dots: DotSet) -> None:
        """Settle all live entries among the dots."""
        journal = self.journals.get(dots.journal)
        if journal is not None:
            for sequence in journal.within(dots.ranges):
                self.settle(journal, sequence)

    def drop_foreign(self) -> None:
        """Forget bulk journals of other nodes: entries and context in one transaction (R18b)."""
        own = self._own[Scope.BULK].owner
        for journal in list(self.journals.values()):
            if not journal.shared and journal.owner != own:
                for listener in self.on_dropped:
                    listener(journal)
                self._forget(journal)

    def prune(self, names: Iterable[bytes]) -> None:
        """Forget journals of which nothing is live, here nor anywhere (R19)."""
        for name in names:
            journal = self.journals.get(name)
            if journal is not None and not journal.count and name not in self.written():
                self._forget(journal)

    def _forget(self, journal: Journal) -> None:
        del self.journals[journal.name]
        self.pages.drop(journal)
        if not journal.fleeting:
            self._turn.drop(journal.name)

    def written(self) -> set[bytes]:
        """The journals that this process writes."""
        return {journal.name for journal in self._own.values()}

    # -- the disk --------------------

    def on_durable(self, mark: int) -> None:
        """All that was decided up to ``mark`` is on this disk."""
        self.pages.page_out(mark)
        postponed, self._postponed = self._postponed, []
        for journal, sequences, then in postponed:
            self.read(journal, sequences, then)

    def read(self, journal: Journal, sequences: Sequence[int], then: Then) -> None:
        """Have live entries read whose bytes are on the disk only, or are on their way there."""
        if journal.passing.keys().isdisjoint(sequences):
            self.reads.ask(journal.name, sequences, then)
        else:
            self._postponed.append((journal, sequences, then))

    # -- reconciliation --------------------

    def heads(self) -> list[HeadState]:
        """The whole context."""
        return [journal.head() for journal in self.journals.values()]

    def compare(self, head: HeadState, theirs: DotSet | None) -> tuple[list[int], list[int]]:
        """Compare one journal with a peer that holds it whole up to ``head.upto``.

        Returns (settled there: live here and covered there but not live there; settled here: the reverse).
        """
        journal = self.journals.get(head.journal)
        if journal is None:
            return [], []
        if self._notice_fork(journal, head.upto, head.digest):
            return [], []
        mine, their_live = journal.ranges(), theirs.ranges if theirs is not None else []
        settled_there = expand(subtract(intersection(mine, [1, head.upto]), their_live))
        settled_here = expand(subtract(intersection(their_live, [1, journal.upto]), mine))
        return list(settled_there), list(settled_here)

    def cut(self, journal: Journal, base: int, budget_bytes: int, fetched: Mapping[int, Entry] = _NOTHING) -> tuple[Append, int]:
        """Live entries after ``base``, at most about ``budget_bytes`` of them; returns the append and its estimated size.

        It ends before an entry whose bytes are on the disk only, unless it is in ``fetched``.
        """
        sequences: list[int] = []
        entries: list[Entry] = []
        size, upto = 0, journal.upto
        live, paged = journal.live, journal.paged
        for sequence in journal.after(base):
            entry = live.get(sequence)
            if entry is None and (not paged or sequence not in paged):
                continue
            if entry is None:
                entry = journal.passing.get(sequence) or fetched.get(sequence)
            elif is_cold(entry):
                entry = fetched.get(sequence)
            if entry is None or size >= budget_bytes:
                upto = sequence - 1
                break
            sequences.append(sequence)
            entries.append(entry)
            size += 120 + len(entry.data if type(entry) is Chunk else getattr(entry, "body", b""))
        digest = journal.digest if upto == journal.upto else 0
        contiguous = len(entries) == upto - base
        append = Append(journal.name, journal.owner, journal.scope, base, upto, digest, entries, [] if contiguous else sequences)
        return append, size + 60

    def next_cold(self, journal: Journal, base: int, budget_bytes: int) -> list[int]:
        """The first sequences after ``base`` whose bytes are on the disk only, at most about ``budget_bytes`` of them."""
        found: list[int] = []
        for sequence in journal.after(base):
            entry = journal.live.get(sequence)
            if entry is None:
                place = journal.paged.get(sequence) if journal.paged else None
                if place is None or sequence in journal.passing:
                    continue
                budget_bytes -= 120 + place.size
            elif is_cold(entry):
                budget_bytes -= CHUNK_BYTES
            else:
                continue
            found.append(sequence)
            if budget_bytes <= 0:
                break
        return found

    def _notice_fork(self, journal: Journal, upto: int, digest: int) -> bool:
        """Whether the same stretch has two contents (R2). A digest of 0 says nothing."""
        if upto == journal.upto and digest and journal.digest and digest != journal.digest:
            self.forks.add(journal.name)
        return journal.name in self.forks


def is_cold(entry: Entry) -> bool:
    """Whether an entry's bytes are on the disk only."""
    return type(entry) is Chunk and not entry.data


def share_names(entries: Iterable[Entry]) -> None:
    """Let the messages of a queue share the strings that name queue and task: decoding makes new ones for each."""
    intern = sys.intern
    for entry in entries:
        if isinstance(entry, Message):
            entry.queue, entry.task = intern(entry.queue), intern(entry.task)
