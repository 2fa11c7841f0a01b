"""SQLite's write-ahead log, read as bytes: the pages that it holds, and whether it is damaged rather than torn.

::

    header, 32 bytes    magic, format, page size, checkpoint number, salt 1, salt 2, checksum 1, checksum 2
    frame, 24 bytes     page number, pages in the file after the commit (0: no commit), salt 1, salt 2, checksum 1, checksum 2
    page

All numbers are 32 bits, big-endian (SQLite's "Database File Format", 4). A checksum sums up all that comes before, so one flipped byte
hides every later transaction from SQLite, which takes the place for the torn end of the log. The salts differ after each restart of
the log: frames with the salts of the first belong to the same run.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
PAGE_BYTES_MIN, PAGE_BYTES_DEFAULT, PAGE_BYTES_MAX = 512, 4096, 65_536
_MAGIC = 0x377F0682
"""Checksums of little-endian words; the next number means big-endian ones."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One page in the log."""

    page: int
    commits: bool
    content: bytes
    sound: bool
    """Its own checksum is right, given the one before it."""


@dataclass(frozen=True, slots=True)
class Log:
    """The frames of one run of a log, as far as their headers tell."""

    page_bytes: int
    commits: tuple[bool, ...]
    """For each frame whether it ends a transaction."""
    header_sound: bool

    def is_damaged(self, valid: int) -> bool:
        """Whether SQLite, which took the first ``valid`` frames for the whole log, has left out a transaction that was synced.

        Each transaction is synced before the next is written. So at a torn end lies part of one transaction, and where frames follow a
        commit that was left out, that was no torn end.
        """
        if not self.header_sound:
            return any(self.commits)
        left_out = self.commits[valid:]
        return any(left_out[:-1])


def look(path: Path) -> Log | None:
    """The log at ``path`` by its headers only, or None when there is none, or nothing in it is of its present run."""
    try:
        with path.open("rb") as file:
            return _look(file)
    except FileNotFoundError:
        return None


def _look(file: BinaryIO) -> Log | None:
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return None
    page_bytes = _page_bytes(header)
    heads = list(_frame_headers(file, page_bytes))
    sound = _header_is_sound(header)
    salts = header[16:24] if sound or not heads else heads[0][8:16]
    if not sound and salts[:4] != header[16:20] and salts[4:] != header[20:24]:
        return None  # the header of a log that was to be restarted is torn: the frames were written back long ago
    commits: list[bool] = []
    for head, following in zip(heads, [*heads[1:], b""], strict=False):
        if head[8:16] != salts and following[8:16] != salts:
            break  # from here on frames of an earlier run; a single one among those of this run is damaged
        commits.append(head[4:8] != bytes(4))
    return Log(page_bytes, tuple(commits), sound) if commits else None


def _frame_headers(file: BinaryIO, page_bytes: int) -> Iterator[bytes]:
    place = HEADER_BYTES
    while True:
        file.seek(place)
        head = file.read(FRAME_HEADER_BYTES)
        if len(head) < FRAME_HEADER_BYTES:
            return
        yield head
        place += FRAME_HEADER_BYTES + page_bytes


def frames(path: Path) -> Iterator[Frame]:
    """The frames of a log up to its last commit, each with the verdict of its own checksum; nothing when there is no log."""
    log = look(path)
    if log is None or True not in log.commits:
        return
    last = len(log.commits) - 1 - log.commits[::-1].index(True)
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
        swap = header[3] & 1 == (sys.byteorder == "little")
        before = struct.unpack(">II", header[24:32])
        for _ in range(last + 1):
            head, content = file.read(FRAME_HEADER_BYTES), file.read(log.page_bytes)
            if len(content) < log.page_bytes:
                return
            page, size = struct.unpack(">II", head[:8])
            told = struct.unpack(">II", head[16:24])
            yield Frame(page, size != 0, content, _checksum(head[:8] + content, swap, *before) == told)
            before = told


def _header_is_sound(header: bytes) -> bool:
    magic = int.from_bytes(header[:4], "big")
    if magic not in (_MAGIC, _MAGIC | 1):
        return False
    swap = magic & 1 == (sys.byteorder == "little")
    return _checksum(header[:24], swap, 0, 0) == struct.unpack(">II", header[24:32])


def _page_bytes(header: bytes) -> int:
    told = int.from_bytes(header[8:12], "big")
    if PAGE_BYTES_MIN <= told <= PAGE_BYTES_MAX and told & (told - 1) == 0:
        return told
    return PAGE_BYTES_DEFAULT


def _checksum(data: bytes, swap: bool, one: int, two: int) -> tuple[int, int]:
    """SQLite's checksum of pairs of words ("Database File Format", 4.2), continued from (one, two)."""
    words = array("I", data)
    if swap:
        words.byteswap()
    numbers = iter(words)
    for number in numbers:
        one = (one + number + two) & 0xFFFFFFFF
        two = (two + next(numbers) + one) & 0xFFFFFFFF
    return one, two
