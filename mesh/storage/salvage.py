"""What a damaged state file still holds, and which dots of it can't be read (R20)."""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mesh.core.effects import Gap, Salvage
from mesh.storage.pages import FILE_HEADER_BYTES, INTERIOR, Broken, Leaf, Pages, Row
from mesh.storage.schema import SEQUENCE_BITS, SEQUENCE_MASK, entry_crc, row_crc
from mesh.wire.messages import HeadState

INDEX_PAGES = (2, 10)
_FIRST_ENTRY = 1 << SEQUENCE_BITS
"""Row ids of entries begin here, as journals are numbered from 1; those of all other tables stay below."""
_CATALOGUE = ("table", "index", "view", "trigger")
_END = 1 << 63
_ID_AT_HEAD = re.compile(rb"(?:[\x90-\x9f]\x05)?[\x90-\x9f][\x01\x02]([\xa1-\xbf]|\xd9.)", re.DOTALL)
"""A message or result in MessagePack, perhaps within a dead letter: array, tag, and the head of the string that is its id."""


@dataclass(slots=True)
class Remains:
    """What was read of a damaged file."""

    vote: tuple[int, str] | None = None
    heads: list[HeadState] = field(default_factory=list)
    """The journals that it knew; how far they had come is not to be claimed any more."""
    salvage: Salvage = field(default_factory=Salvage)


def read(path: Path, log_path: Path) -> Remains:
    """Read a state file, and the write-ahead log that belongs to it if it exists, page by page. Changes neither. Raises OSError."""
    pages = Pages(path, log_path)
    try:
        return _Reader(pages).read()
    finally:
        pages.close()


def salvaged_crc(number: int, journal: bytes, sequence: int, data: bytes) -> int:
    """Checksum of a row of the table ``salvaged``."""
    return row_crc(number, journal, sequence, zlib.crc32(data))


def task_of(data: bytes) -> str:
    """The task's id at the head of an encoded entry whose rest may be damaged; empty for entries without one."""
    found = _ID_AT_HEAD.match(data)
    if found is None:
        return ""
    size = found[1][0] & 0x1F if len(found[1]) == 1 else found[1][1]
    return data[found.end() : found.end() + size].decode("ascii", "replace")


class _Reader:
    """One walk over all pages."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._votes: list[tuple[int, str]] = []
        self._heads: dict[int, HeadState] = {}
        self._entries: dict[int, bytes] = {}
        self._older: dict[int, tuple[bytes, int, bytes]] = {}
        """What had been salvaged of another damaged file before this one."""
        self._older_gaps: dict[int, Gap] = {}
        self._roots: dict[int, str] = {}
        self._ranges: dict[int, tuple[int | None, int | None]] = {}
        """Pages below an interior one: the row id that all of theirs exceed, and the highest that they may have."""
        self._holes: list[tuple[int, int, str]] = []
        """First and last row id that can't be read, and the task's id if that can."""

    def read(self) -> Remains:
        unread = [number for number in self._numbers() if not self._read(number)]
        unread += [number for number in self._ranges if not 1 <= number <= self._pages.count]
        for number in unread:
            self._search(number)
        for page in self._pages.loose:
            self._read_loose(page)
        names = {number: head.journal for number, head in self._heads.items()}
        entries = [(names.get(id >> SEQUENCE_BITS, b""), id & SEQUENCE_MASK, self._entries[id]) for id in sorted(self._entries)]
        entries += [self._older[number] for number in sorted(self._older)]
        gaps = [*self._gaps(), *self._older_gaps.values()]
        if not names:
            gaps.append(Gap(b"", 1, SEQUENCE_MASK))
        return Remains(max(self._votes, default=None), list(self._heads.values()), Salvage(entries, gaps))

    def _numbers(self) -> Iterator[int]:
        free = self._pages.free()
        return (number for number in range(1, self._pages.count + 1) if number not in free)

    # -- pages --------------------

    def _read(self, number: int) -> bool:
        """Read a page as its header says; False when it has none that makes sense."""
        pages, start = self._pages, FILE_HEADER_BYTES if number == 1 else 0
        try:
            page = pages.page(number)
            if page[start] == INTERIOR:
                self._ranges.update({child: (low, high) for child, low, high in pages.children(number)})
                return True
            leaf = pages.leaf(page, start, self._accept)
        except Broken:
            return False
        if leaf.hides:
            pages.search(page, self._accept)
        self._note_lost(number, leaf)
        return True

    def _search(self, number: int) -> None:
        """A page that is not what its place says, or an overflow page, or one of an index."""
        try:
            page = self._pages.page(number)
            kind = page[FILE_HEADER_BYTES if number == 1 else 0]
            # an overflow page begins with the number of the next, below 2^24
            if number in self._ranges or number in self._roots or (kind not in INDEX_PAGES and kind != 0):
                self._pages.search(page, self._accept)
        except Broken:  # the file does not reach so far
            pass
        low, high = self._ranges.get(number, (None, None))
        if self._roots.get(number) == "entry" or max(low or 0, high or 0) >= _FIRST_ENTRY:
            self._holes.append(((low or 0) + 1, _END if high is None else high, ""))

    def _read_loose(self, page: bytes) -> None:
        try:
            leaf = self._pages.leaf(page, 0, self._accept)
        except Broken:
            self._pages.search(page, self._accept)
        else:
            self._note_lost(0, leaf)

    def _note_lost(self, number: int, leaf: Leaf) -> None:
        low, high = self._ranges.get(number, (None, None))
        for before, after, row in leaf.lost:
            first = (low or 0) + 1 if before is None else before + 1
            last = (_END if high is None else high) if after is None else after - 1
            if row is not None and first <= row[0] <= last and row[0] >= _FIRST_ENTRY:
                data = row[1][2] if len(row[1]) == 3 else None
                self._holes.append((row[0], row[0], task_of(data) if isinstance(data, bytes) else ""))
            elif self._roots.get(number) == "entry" or max(before or 0, after or 0, low or 0, high or 0) >= _FIRST_ENTRY:
                self._holes.append((first, last, ""))

    # -- rows --------------------

    def _accept(self, row: Row) -> bool:
        """Take a row over when its checksum is right; False when it is none of ours, or damaged."""
        id, columns = row
        match columns:
            case [None, int() as crc, bytes() as data] if entry_crc(id, data) == crc:
                self._entries[id] = data
            case [None, bytes() as name, owner, scope, upto, digest, int() as crc] if row_crc(id, name, owner, scope, upto, digest) == crc:
                self._accept_head(id, name, owner, scope, upto, digest)
            case [None, int() as term, str() as node, int() as crc] if row_crc(term, node) == crc:
                self._votes.append((term, node))
            case [None, bytes() as name, int() as sequence, bytes() as data, int() as crc] if salvaged_crc(id, name, sequence, data) == crc:
                self._older[id] = (name, sequence, data)
            case [None, bytes() as name, int() as first, int() as last, str() as task, int() as crc] if (
                row_crc(id, name, first, last, task) == crc
            ):
                self._older_gaps[id] = Gap(name, first, last, task)
            case [str() as kind, str() as name, str(), int() as root, _] if kind in _CATALOGUE:
                self._roots[root] = name
            case _:
                return False
        return True

    def _accept_head(self, number: int, name: bytes, owner: object, scope: object, upto: object, digest: object) -> None:
        known = self._heads.get(number)
        if isinstance(owner, str) and isinstance(scope, int) and isinstance(upto, int) and isinstance(digest, int):
            if known is None or known.upto < upto:  # an older version of the row may lie on a page that was given up
                self._heads[number] = HeadState(name, owner, scope, upto, digest)
        elif known is None:
            self._heads[number] = HeadState(name, "", 0, 0, 0)

    # -- what is missing --------------------

    def _gaps(self) -> Iterator[Gap]:
        """The holes as dots: without those that were found elsewhere, and within what each journal had."""
        found = sorted(self._entries)
        told: set[tuple[int, int]] = set()
        for low, high, task in sorted(self._holes, key=lambda hole: (hole[0], hole[1], not hole[2])):
            for first, last in _between(found, low, high):
                for part in self._within_journals(first, last):
                    if part not in told:
                        told.add(part)
                        head = self._heads.get(part[0] >> SEQUENCE_BITS)
                        yield Gap(head.journal if head is not None else b"", part[0] & SEQUENCE_MASK, part[1] & SEQUENCE_MASK, task)

    def _within_journals(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        if first >> SEQUENCE_BITS == last >> SEQUENCE_BITS and first >> SEQUENCE_BITS not in self._heads:
            yield first, last
        for number, head in self._heads.items():
            low, high = max(first, number << SEQUENCE_BITS | 1), min(last, number << SEQUENCE_BITS | head.upto)
            if low <= high:
                yield low, high


def _between(found: list[int], low: int, high: int) -> Iterator[tuple[int, int]]:
    """The stretches of low..high in which nothing was found; ``found`` ascends."""
    for id in found[bisect_left(found, low) : bisect_right(found, high)]:
        if low < id:
            yield low, id - 1
        low = id + 1
    if low <= high:
        yield low, high
