"""SQLite's pages, read one by one as bytes: what a damaged file still holds, whatever the rest of it says.

Only table b-trees are read ("Database File Format", 1.6 and 2.1); a page that can't be parsed is searched for rows at every offset, and
a row counts only when its own checksum is right (mesh/storage/schema.py), so nothing that merely looks like a row gets through.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mesh.storage import wal

LEAF, INTERIOR = 13, 5
FILE_HEADER_BYTES = 100
"""At the head of page 1, before its b-tree header."""

Value = int | bytes | str | None
Row = tuple[int, list[Value]]
"""Row id and columns; the column that is the row id itself is None."""


class Broken(Exception):
    """These bytes are not what they should be."""


@dataclass(slots=True)
class Leaf:
    """The rows of one leaf page."""

    rows: list[Row] = field(default_factory=list)
    """Those that the caller accepted, in the order of the page."""
    lost: list[tuple[int | None, int | None, Row | None]] = field(default_factory=list)
    """For each cell that was not accepted: the row ids before and after it on the page, and what it says, if it can be parsed."""
    hides: bool = False
    """Its cells and its free space don't add up to a page: there may be rows that its header no longer tells of."""


class Pages:
    """The pages of a file with its write-ahead log laid over it."""

    def __init__(self, path: Path, log_path: Path) -> None:
        self._overlay: dict[int, bytes] = {}
        self.loose: list[bytes] = []
        """Pages of the log whose checksum is wrong: their place can't be trusted, rows in them can."""
        self._file = path.open("rb")
        frames = list(wal.frames(log_path))
        told = len(frames[0].content) if frames else int.from_bytes(self._file.read(18)[16:], "big")
        self.page_bytes = told if 512 <= told <= 32_768 and told & (told - 1) == 0 else 4096
        size = os.fstat(self._file.fileno()).st_size
        self.count = max([size // self.page_bytes, *(frame.page for frame in frames if frame.sound)])
        for before, frame, after in zip([None, *frames], frames, [*frames[1:], None], strict=False):
            if frame.sound or self._is_numbered_right(before, frame, after):
                self._overlay[frame.page] = frame.content
            else:
                self.loose.append(frame.content)

    def _is_numbered_right(self, before: wal.Frame | None, frame: wal.Frame, after: wal.Frame | None) -> bool:
        """Whether the damaged byte of a frame is in the page, which is a better version than the last one all the same.

        SQLite writes the pages of a transaction in the order of their numbers (pcache.c), so another number would be out of place.
        """
        low = before.page if before is not None and not before.commits else 0
        high = after.page if after is not None and not frame.commits else self.count + 1
        return low < frame.page < high

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def page(self, number: int) -> bytes:
        """The page of that number, counted from 1. Raises Broken when the file does not reach so far."""
        if not 1 <= number <= self.count:
            raise Broken(f"there is no page {number}")
        content = self._overlay.get(number)
        if content is None:
            self._file.seek((number - 1) * self.page_bytes)
            content = self._file.read(self.page_bytes)
        if len(content) < self.page_bytes:
            raise Broken(f"page {number} is cut off")
        return content

    def free(self) -> set[int]:
        """The pages that hold nothing; none when the list of them is damaged: what is in them was settled, but may be found again."""
        try:
            header = self.page(1)
            trunk, count = _number(header, 32, 4), _number(header, 36, 4)
            found: set[int] = set()
            while trunk:
                page = self.page(trunk)
                leaves = [_number(page, 8 + 4 * index, 4) for index in range(min(_number(page, 4, 4), self.page_bytes // 4 - 2))]
                if trunk in found or not all(1 < leaf <= self.count for leaf in leaves):
                    return set()
                found.update([trunk, *leaves])
                trunk = _number(page, 0, 4)
        except Broken:
            return set()
        return found if len(found) == count else set()

    # -- pages of table b-trees --------------------

    def children(self, number: int) -> list[tuple[int, int | None, int | None]]:
        """The children of an interior page: page number (there may be no such page), the row id that all of its rows exceed, and the
        highest that they may have. Raises Broken when the page is none, or not sound.
        """
        page = self.page(number)
        start = FILE_HEADER_BYTES if number == 1 else 0
        if page[start] != INTERIOR:
            raise Broken("not an interior page")
        found: list[tuple[int, int | None, int | None]] = []
        low: int | None = None
        for place in _cell_places(page, start, 12):
            key, _ = _varint(page, place + 4)
            if low is not None and key <= low:
                raise Broken("keys out of order")
            found.append((_number(page, place, 4), low, key))
            low = key
        found.append((_number(page, start + 8, 4), low, None))
        return found

    def leaf(self, page: bytes, start: int, accept: Callable[[Row], bool]) -> Leaf:
        """The rows of a leaf page as its header tells of them. Raises Broken when it is not a leaf page at all."""
        if page[start] != LEAF:
            raise Broken("not a leaf page")
        cells = [self._cell(page, place) for place in _cell_places(page, start, 8)]
        rows = [row if row is not None and accept(row) else None for row, _ in cells]
        leaf = Leaf([row for row in rows if row is not None])
        for index, row in enumerate(rows):
            if row is None:
                before = next((other[0] for other in reversed(rows[:index]) if other is not None), None)
                after = next((other[0] for other in rows[index + 1 :] if other is not None), None)
                leaf.lost.append((before, after, cells[index][0]))
        leaf.hides = not self._adds_up(page, start, sum(size for _, size in cells))
        return leaf

    def _adds_up(self, page: bytes, start: int, cell_bytes: int) -> bool:
        """Whether a page's cells, free blocks and fragments fill what its header calls its content."""
        block, free_bytes, last = _number(page, start + 1, 2), page[start + 7], 0
        while block > last and block + 4 <= len(page):
            free_bytes += _number(page, block + 2, 2)
            last, block = block, _number(page, block, 2)
        return block == 0 and _number(page, start + 5, 2) + cell_bytes + free_bytes == len(page)

    def search(self, page: bytes, accept: Callable[[Row], bool]) -> list[Row]:
        """The rows that begin at any offset of a page."""
        rows = (self._cell(page, place)[0] for place in range(len(page) - 4))
        return [row for row in rows if row is not None and accept(row)]

    def _cell(self, page: bytes, place: int) -> tuple[Row | None, int]:
        """The row of a leaf's cell, None when it can't be one, and the bytes that the cell has on its page."""
        try:
            size, body = _varint(page, place)
            id, body = _varint(page, body)
            if not 2 <= size <= self.count * self.page_bytes:
                return None, 0
            local = self._local_bytes(size)
            payload = self._payload(page, body, size, local)
            end = body + local + (4 if local < size else 0)
            return (id, _columns(payload)), max(end - place, 4)
        except (Broken, IndexError, UnicodeDecodeError):
            return None, 0

    def _local_bytes(self, size: int) -> int:
        """How much of a row of that size lies on the leaf itself ("Database File Format", 1.6)."""
        usable = self.page_bytes
        if size <= usable - 35:
            return size
        least = (usable - 12) * 32 // 255 - 23
        most = least + (size - least) % (usable - 4)
        return most if most <= usable - 35 else least

    def _payload(self, page: bytes, place: int, size: int, local: int) -> bytes:
        """A row's bytes, those on overflow pages included."""
        if place + local > len(page):
            raise Broken("a cell beyond its page")
        parts = [page[place : place + local]]
        left, number = size - local, _number(page, place + local, 4) if size > local else 0
        while left > 0:
            more = self.page(number)
            parts.append(more[4 : 4 + left])
            left -= self.page_bytes - 4
            number = _number(more, 0, 4)
        return b"".join(parts)


def _cell_places(page: bytes, start: int, header_bytes: int) -> Iterator[int]:
    """Where the cells of a b-tree page begin, in the order of their keys. Raises Broken when the header can't be true."""
    count = _number(page, start + 3, 2)
    first = start + header_bytes
    if first + 2 * count > len(page):
        raise Broken("more cells than a page holds")
    for index in range(count):
        place = _number(page, first + 2 * index, 2)
        if not first + 2 * count <= place < len(page) - 3:
            raise Broken("a cell outside its page")
        yield place


def _number(data: bytes, place: int, size: int) -> int:
    if place < 0 or place + size > len(data):
        raise Broken("a number beyond the page")
    return int.from_bytes(data[place : place + size], "big")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length integer and where it ends: seven bits a byte, the ninth has eight."""
    value = 0
    for index in range(8):
        byte = data[place + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    value = value << 8 | data[place + 8]
    return value - (1 << 64) if value >> 63 else value, place + 9


_INTEGER_BYTES = (0, 1, 2, 3, 4, 6, 8)


def _columns(payload: bytes) -> list[Value]:
    """The columns of a record ("Database File Format", 2.1); reals don't occur in our tables. Raises Broken, IndexError."""
    header_bytes, place = _varint(payload, 0)
    if not place <= header_bytes <= len(payload):
        raise Broken("a record without a header")
    body = header_bytes
    columns: list[Value] = []
    while place < header_bytes:
        kind, place = _varint(payload, place)
        value, size = _value(kind, payload, body)
        columns.append(value)
        body += size
    if body != len(payload) or place != header_bytes:
        raise Broken("a record of another length")
    return columns


def _value(kind: int, payload: bytes, place: int) -> tuple[Value, int]:
    if kind == 0:
        return None, 0
    if kind in (8, 9):
        return kind - 8, 0
    if 1 <= kind <= 6:
        size = _INTEGER_BYTES[kind]
        return int.from_bytes(payload[place : place + size], "big", signed=True), size
    if kind < 12:
        raise Broken("a kind of value that we never write")
    size = (kind - 12) // 2
    if place + size > len(payload):
        raise Broken("a value beyond its record")
    data = payload[place : place + size]
    return (data if kind % 2 == 0 else data.decode()), size
