"""Ids of tasks in a few bytes: for the tables that grow with the length of a queue.

A million ids as strings in a dict take about 200 MB. Almost all are UUIDs in their usual form (mesh/ids.py), so a key is those 16 bytes;
of any other id it is a hash of 128 bits, and the text is kept beside it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b

KEY_BYTES = 16
BLOCK = 256
"""Records of a block; it is split at twice as many. Found by one search through 8 kB at most."""
FIRST = b""
"""Before every key: where a walk begins."""

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
"""Only in the one form that text_of makes."""
_is_uuid = re.compile(_UUID).fullmatch
_are_uuids = re.compile(f"(?:{_UUID})*").fullmatch


def text_of(key: bytes) -> str:
    """A UUID's 16 bytes in its usual form."""
    text = key.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def key_of(id: str) -> bytes:
    """16 bytes that stand for an id: those of the UUID that it is, else a hash of its text."""
    return _key(id)[0]


def keys_of(ids: Sequence[str]) -> bytes | None:
    """The keys of many ids in one, None when one of them is no UUID."""
    joined = "".join(ids)
    if set(map(len, ids)) != {36} or not _are_uuids(joined):
        return None
    return bytes.fromhex(joined.replace("-", ""))


@lru_cache(4096)
def _key(id: str) -> tuple[bytes, bool]:
    # Cached: a task goes through three tables within a moment
    if _is_uuid(id):
        return bytes.fromhex(id.replace("-", "")), True
    return blake2b(id.encode(), digest_size=KEY_BYTES).digest(), False


class _Block:
    """Records in the order of their keys."""

    __slots__ = ("keys", "numbers")

    def __init__(self, keys: bytearray, numbers: array[int]) -> None:
        self.keys = keys
        self.numbers = numbers

    def key(self, at: int) -> bytes:
        return bytes(self.keys[at * KEY_BYTES : (at + 1) * KEY_BYTES])

    def find(self, key: bytes) -> int:
        """Where a key is, or -1: the same bytes may lie across two keys by chance."""
        at = self.keys.find(key)
        while at >= 0 and at % KEY_BYTES:
            at = self.keys.find(key, at + 1)
        return at // KEY_BYTES

    def place(self, key: bytes) -> int:
        """Where a key belongs: before the first that is not less."""
        size = len(self.numbers)
        return size if key > self.keys[-KEY_BYTES:] else bisect_left(range(size), key, key=self.key)


class IdTable:
    """A mapping from ids to numbers of 64 bits, in about 26 bytes for each UUID.

    Blocks of records in byte strings, in the order of the keys, as the leaves of a B+ tree: ids ascend by time, so many new ones are as a
    rule one piece that is put into one place, and the oldest, which go first, are found at once.
    """

    def __init__(self) -> None:
        self._firsts: list[bytes] = []
        """For each block the least key that it may hold."""
        self._blocks: list[_Block] = []
        self._others: dict[bytes, str] = {}
        """The texts of ids that are no UUIDs."""
        self._count = 0
        self._swept = FIRST
        self._highest = ""
        """No id above this one was added since the table was empty: ids ascend by time, so most that are new are known to be so."""
        self._lowest: str | None = None
        """No id here is below this one, None when that has to be looked up: most that are over are known to be gone."""

    def __len__(self) -> int:
        return self._count

    def _find(self, key: bytes) -> tuple[int, int]:
        """(block, place in it) of a key; the place is -1 when it is not there."""
        number = bisect_right(self._firsts, key) - 1
        return (number, self._blocks[number].find(key)) if number >= 0 else (0, -1)

    def get(self, key: bytes) -> int | None:
        """The number of a key, or None."""
        number, at = self._find(key)
        return self._blocks[number].numbers[at] if at >= 0 else None

    def may_have(self, id: str) -> bool:
        """False when this id is surely not here: a look at two texts."""
        if not self._count or id > self._highest:
            return False
        if self._lowest is None:
            self._lowest = "" if self._others else text_of(self._blocks[0].key(0))
        return id >= self._lowest

    def id_of(self, key: bytes) -> str:
        """The id that a key of this table stands for."""
        return self._others.get(key) or text_of(key)

    # -- adding --------------------

    def add(self, id: str, number: int) -> bytes | None:
        """Give a new id a number. Returns its key, or None when the id has a number already, which stays."""
        key, is_uuid = _key(id)
        if not self._put(key, array("Q", (number,))):
            return None
        if id > self._highest:
            self._highest = id
        if not is_uuid:
            self._others[key] = id
        return key

    def add_key(self, key: bytes, number: int) -> bool:
        """As ``add`` where the id itself will not be asked for, so that its text need not be kept; False when it has a number already."""
        return self._put(key, array("Q", (number,)))

    def add_many(self, ids: Sequence[str], numbers: Sequence[int]) -> bytes | None:
        """As ``add`` for several: their keys in one, or None, and none is added. Quick for UUIDs that ascend and have none between them."""
        ascend = all(map(str.__lt__, ids, ids[1:]))
        keys = keys_of(ids) if ascend else None
        if keys is None or not self._put(keys, array("Q", numbers)):
            return self._add_each(ids, numbers)
        if ids[-1] > self._highest:
            self._highest = ids[-1]
        return keys

    def _add_each(self, ids: Sequence[str], numbers: Sequence[int]) -> bytes | None:
        keys: list[bytes] = []
        for id, number in zip(ids, numbers, strict=True):
            key = self.add(id, number)
            if key is None:
                for added in keys:
                    self.pop(added)
                return None
            keys.append(key)
        return b"".join(keys)

    def _put(self, keys: bytes, numbers: array[int]) -> bool:
        """Add ascending records, all in one place; False when something is there, or between them."""
        first, last = keys[:KEY_BYTES], keys[-KEY_BYTES:]
        self._lowest = None
        number = max(bisect_right(self._firsts, first) - 1, 0)
        if not self._blocks:
            self._firsts.append(first)
            self._blocks.append(_Block(bytearray(), array("Q")))
        block = self._blocks[number]
        at = block.place(first)
        if at < len(block.numbers):
            if block.key(at) <= last:
                return False
        elif number + 1 < len(self._firsts) and self._firsts[number + 1] <= last:
            return False
        if first < self._firsts[number]:
            self._firsts[number] = first
        block.keys[at * KEY_BYTES : at * KEY_BYTES] = keys
        block.numbers[at:at] = numbers
        self._count += len(numbers)
        while len(block.numbers) > 2 * BLOCK:
            number += 1
            block = self._split(block, number)
        return True

    def _split(self, block: _Block, number: int) -> _Block:
        """Move all but the first records to a block of their own."""
        rest = _Block(block.keys[BLOCK * KEY_BYTES :], block.numbers[BLOCK:])
        # As copies: what has grown little by little has room to spare
        block.keys, block.numbers = block.keys[: BLOCK * KEY_BYTES], block.numbers[:BLOCK]
        self._firsts.insert(number, rest.key(0))
        self._blocks.insert(number, rest)
        return rest

    # -- forgetting --------------------

    def pop(self, key: bytes) -> int | None:
        """Forget a key; returns its number, or None."""
        number, at = self._find(key)
        if at < 0:
            return None
        found = self._blocks[number].numbers[at]
        self._cut(number, at, 1)
        if self._others:
            self._others.pop(key, None)
        return found

    def discard_many(self, keys: bytes) -> None:
        """Forget all of these; quickly where they lie side by side."""
        start, end = 0, len(keys)
        while start < end:
            key = keys[start : start + KEY_BYTES]
            number, at = self._find(key)
            records = 1
            if at >= 0:
                block = self._blocks[number]
                together = min(len(block.numbers) - at, (end - start) // KEY_BYTES)
                if block.keys[at * KEY_BYTES : (at + together) * KEY_BYTES] == keys[start : start + together * KEY_BYTES]:
                    records = together
                self._cut(number, at, records)
            if self._others:
                for place in range(start, start + records * KEY_BYTES, KEY_BYTES):
                    self._others.pop(keys[place : place + KEY_BYTES], None)
            start += records * KEY_BYTES

    def _cut(self, number: int, at: int, records: int) -> None:
        block = self._blocks[number]
        del block.keys[at * KEY_BYTES : (at + records) * KEY_BYTES], block.numbers[at : at + records]
        self._count -= records
        if not number and not at:
            self._lowest = None
        if not block.numbers:
            del self._firsts[number], self._blocks[number]
        if not self._count:
            self._highest = ""

    # -- little by little --------------------

    def walk(self, after: bytes, records: int) -> tuple[list[tuple[str, int]], bytes | None]:
        """About so many ids and numbers beyond a key, ``FIRST`` to begin with, and the key to go on after, None when that was all."""
        found: list[tuple[str, int]] = []
        number = max(bisect_right(self._firsts, after) - 1, 0)
        for block in self._blocks[number:]:
            if len(found) >= records:
                return found, after
            keys = [block.key(at) for at in range(len(block.numbers))]
            found += [(self.id_of(key), number) for key, number in zip(keys, block.numbers, strict=True) if key > after]
            after = keys[-1]
        return found, None

    def sweep(self, keep: Callable[[int], bool], records: int) -> bool:
        """Look at about so many further records and forget those whose numbers are not to be kept; whether a round is over."""
        found, after = self.walk(self._swept, records)
        for id, number in found:
            if not keep(number):
                self.pop(key_of(id))
        self._swept = after or FIRST
        return after is None
