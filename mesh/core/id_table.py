"""Ids of tasks in a few bytes: for the tables that grow with the length of a queue.

A million ids as strings in a dict take about 200 MB. Almost all are UUIDs in their usual form (mesh/ids.py), so a key is those 16 bytes;
of any other id it is a hash of 128 bits, and the text is kept beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

KEY_BYTES = 16
RECORD_BYTES = KEY_BYTES + 8
BUCKETS = 1 << 16
"""A million records: 15 in each bucket, found by one search through 360 bytes."""


_is_uuid = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}").fullmatch
"""Only in the one form that text_of makes."""


def text_of(key: bytes) -> str:
    """A UUID's 16 bytes in its usual form."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def key_of(id: str) -> bytes:
    """16 bytes that stand for an id: those of the UUID that it is, else a hash of its text."""
    return _key(id)[0]


@lru_cache(4096)
def _key(id: str) -> tuple[bytes, bool]:
    # Cached: a task goes through three tables within a moment
    if _is_uuid(id):
        return bytes.fromhex(id.replace("-", "")), True
    return blake2b(id.encode(), digest_size=KEY_BYTES).digest(), False


class IdTable:
    """A mapping from ids to numbers of 64 bits, in about 28 bytes for each UUID.

    Buckets of records in byte strings: a record is found, added and cut out by one operation of the interpreter each, and unlike a hash
    table it never stops to grow.
    """

    def __init__(self) -> None:
        self._buckets: dict[int, bytearray] = {}
        self._others: dict[bytes, str] = {}
        """The texts of ids that are no UUIDs."""
        self._count = 0
        self._swept = 0
        self._highest = ""
        """No id above this one was added since the table was empty: ids ascend by time, so most that are new are known to be so."""

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> int | None:
        """The number of a key, or None."""
        bucket = self._buckets.get(crc32(key) % BUCKETS)
        at = _find(bucket, key) if bucket is not None else -1
        return int.from_bytes(bucket[at + KEY_BYTES : at + RECORD_BYTES], "big") if bucket is not None and at >= 0 else None

    def add(self, id: str, number: int) -> bytes | None:
        """Give a new id a number. Returns its key, or None when the id has a number already, which stays."""
        key, is_uuid = _key(id)
        place = crc32(key) % BUCKETS
        bucket = self._buckets.get(place)
        if bucket is None:
            bucket = self._buckets[place] = bytearray()
        if id > self._highest:
            self._highest = id
        elif _find(bucket, key) >= 0:
            return None
        bucket += key + number.to_bytes(8, "big")
        self._count += 1
        if not is_uuid:
            self._others[key] = id
        return key

    def may_have(self, id: str) -> bool:
        """False when this id is surely not here: a look at one text."""
        return self._count > 0 and id <= self._highest

    def pop(self, key: bytes) -> int | None:
        """Forget a key; returns its number, or None."""
        place = crc32(key) % BUCKETS
        bucket = self._buckets.get(place)
        at = _find(bucket, key) if bucket is not None else -1
        if bucket is None or at < 0:
            return None
        number = int.from_bytes(bucket[at + KEY_BYTES : at + RECORD_BYTES], "big")
        del bucket[at : at + RECORD_BYTES]
        if not bucket:
            del self._buckets[place]
        self._count -= 1
        if not self._count:
            self._highest = ""
        if self._others:
            self._others.pop(key, None)
        return number

    def id_of(self, key: bytes) -> str:
        """The id that a key of this table stands for."""
        return self._others.get(key) or text_of(key)

    def items(self, first: int, end: int) -> Iterator[tuple[str, int]]:
        """Ids and numbers in the buckets from ``first`` to before ``end``, of ``BUCKETS``; nothing may be changed on the way."""
        few = len(self._buckets) < end - first
        for place in sorted(place for place in self._buckets if first <= place < end) if few else range(first, end):
            bucket = self._buckets.get(place, b"")
            for at in range(0, len(bucket), RECORD_BYTES):
                number = int.from_bytes(bucket[at + KEY_BYTES : at + RECORD_BYTES], "big")
                yield self.id_of(bytes(bucket[at : at + KEY_BYTES])), number

    def sweep(self, keep: Callable[[int], bool], buckets: int) -> bool:
        """Look at so many buckets further and forget the records whose numbers are not to be kept; whether a round is over."""
        for place in range(self._swept, self._swept + buckets):
            bucket = self._buckets.get(place)
            if bucket is None:
                continue
            for record in [bytes(bucket[at : at + RECORD_BYTES]) for at in range(0, len(bucket), RECORD_BYTES)]:
                if not keep(int.from_bytes(record[KEY_BYTES:], "big")):
                    self.pop(record[:KEY_BYTES])
        self._swept = (self._swept + buckets) % BUCKETS
        return self._swept == 0


def _find(bucket: bytearray, key: bytes) -> int:
    """Where the record of a key begins, or -1: the same bytes may lie across two records by chance."""
    at = bucket.find(key)
    while at >= 0 and at % RECORD_BYTES:
        at = bucket.find(key, at + 1)
    return at
