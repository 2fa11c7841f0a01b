"""The values of a group on their way into one list: bodies one after the other, none of which is decoded (decision 120).

A list that is larger than ``chunk_bytes`` is written in chunks, as every large body is; those of its parts are read on the way. It takes as
many transactions as it has windows, and the last one has the result that refers to them. Chunks that an earlier reign has left are dropped
as those of any sender who died (bodies.py).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence

from mesh.core.cluster.bodies import Bodies
from mesh.core.cluster.replica import Replica
from mesh.core.edge.uploads import BODY_ID_BYTES, CHUNKS_MAX, WINDOW_BYTES
from mesh.core.turn import Turn
from mesh.wire.bodies import NONE, gather, gathered_part, gathered_start
from mesh.wire.entries import Chunk, Chunks, Result

Part = bytes | Chunks
Then = Callable[[bytes, Chunks | None], None]
"""Gets the body, or where it is."""
LIST_BYTES_MAX = 1 << 30
"""As max_body_bytes may be set at most; each part was within that."""
PART_HEAD_BYTES = 5
"""At most, of each part."""


def part_of(result: Result) -> Part:
    """What a member of a group has for the list."""
    return result.chunks or result.body or NONE


def size_of(parts: Sequence[Part]) -> int:
    """Bytes of a list, or a little more."""
    return len(gathered_start(0)) + sum(PART_HEAD_BYTES + (part.size if isinstance(part, Chunks) else len(part)) for part in parts)


class Assembly:
    """One large list that is being written."""

    def __init__(self, body: bytes, parts: Sequence[Part], chunk_bytes: int, then: Then) -> None:
        self.body = body
        self.then = then
        self.windows: list[int] = []
        self._parts = parts
        self._chunk_bytes = chunk_bytes
        self._next_part = 0
        self._next_chunk = 0
        """Of a part that is read in chunks."""
        self._buffer = bytearray(gathered_start(len(parts)))
        self._digest = 0
        self._size = 0
        self.count = 0
        self.reading = False

    @property
    def whole(self) -> bool:
        """Whether nothing is left to read."""
        return self._next_part == len(self._parts)

    def fill(self, bodies: Bodies, limit: int) -> None:
        """Take parts in until there are ``limit`` bytes to be written, or something has to be read first."""
        while not self.reading and not self.whole and len(self._buffer) < limit:
            part = self._parts[self._next_part]
            if isinstance(part, Chunks):
                if not self._next_chunk:
                    self._buffer += gathered_part(part.size)
                self.reading = True
                if not bodies.read(part.body, self._next_chunk, self._come):
                    self.reading = False  # a merge brings it
                    return
            else:
                self._buffer += gathered_part(len(part))
                self._buffer += part
                self._next_part += 1

    def _come(self, data: bytes | None) -> None:
        """A chunk was read; None when it is no longer there, as somewhere else all is over."""
        if data is None:
            return
        self.reading = False
        self._buffer += data
        self._next_chunk += 1
        part = self._parts[self._next_part]
        assert isinstance(part, Chunks)
        if self._next_chunk == part.count:
            self._next_part, self._next_chunk = self._next_part + 1, 0

    def take_chunks(self) -> list[Chunk]:
        """What is ready to be written."""
        chunks: list[Chunk] = []
        while len(self._buffer) >= self._chunk_bytes or (self.whole and self._buffer):
            data = bytes(self._buffer[: self._chunk_bytes])
            del self._buffer[: self._chunk_bytes]
            self._digest = zlib.crc32(data, self._digest)
            self._size += len(data)
            chunks.append(Chunk(self.body, self.count, data))
            self.count += 1
        return chunks

    def chunks(self, journal: bytes, last: int) -> Chunks:
        """What refers to all that was written."""
        return Chunks(self.body, self.count, self._size, self._digest, journal, last)


class Gathering:
    """Puts lists together, and writes the large ones a window at a time."""

    def __init__(self, replica: Replica, bodies: Bodies, turn: Turn, chunk_bytes: int) -> None:
        self._replica = replica
        self._bodies = bodies
        self._turn = turn
        self._chunk_bytes = chunk_bytes
        self._assemblies: dict[str, Assembly] = {}
        self._window_mark = 0

    def __contains__(self, id: str) -> bool:
        return id in self._assemblies

    def reset(self) -> None:
        """The reign is over."""
        self._assemblies.clear()

    def drop(self, id: str) -> None:
        """The gather has ended elsewhere."""
        self._assemblies.pop(id, None)

    @property
    def limit(self) -> int:
        """Bytes of the largest list."""
        return min(LIST_BYTES_MAX, self._chunk_bytes * CHUNKS_MAX)

    def begin(self, id: str, parts: Sequence[Part], then: Then) -> None:
        """Make the list of these values, in this turn when it is small."""
        if size_of(parts) <= self._chunk_bytes:
            then(gather([part for part in parts if isinstance(part, bytes)]), None)
            return
        journal = self._replica.journals[self._replica.own_bulk[0]]
        seed = f"{id} {journal.name.hex()} {journal.upto}"
        body = hashlib.blake2b(seed.encode(), digest_size=BODY_ID_BYTES).digest()  # no two sequences of a journal are one
        self._assemblies[id] = Assembly(body, parts, self._chunk_bytes, then)

    def go_on(self) -> None:
        """Write the next window when the one before is on the disk."""
        if not self._assemblies or self._turn.durable_mark < self._window_mark:
            return
        id, assembly = next(iter(self._assemblies.items()))
        self._assemblies[id] = self._assemblies.pop(id)  # one after the other
        assembly.fill(self._bodies, WINDOW_BYTES)
        last = 0
        for chunk in assembly.take_chunks():
            _, last = self._replica.write(chunk)
            self._window_mark = self._turn.mark
        if assembly.whole:
            del self._assemblies[id]
            assembly.then(b"", assembly.chunks(self._replica.own_bulk[0], last))
