"""Large bodies between a program and its node: sent in chunks as far as the node grants, fetched with a few chunks under way.

Neither has I/O or a clock of its own: the loop that owns the link calls ``send`` each turn. The worker's parent uses the same.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable
from typing import Protocol

from mesh.wire.entries import Chunks
from mesh.wire.messages import CancelUpload, Fetch, Fetched, Grant, SessionRequest, Upload, UploadChunk

FETCHES_MAX = 4
"""Chunks asked for and not come, of all bodies together: 512 KiB delay a small message by 40 ms at 100 Mbit/s."""
ASK_AGAIN_S = 2.0
"""Pause before a chunk that has not come is asked for again: the coordinator has changed, or its writer is away."""
BUSY_PAUSE_S = 0.2
"""Pause before a node that was busy is asked again."""
WAITS = ("busy", "disk-low")
"""Codes of a Grant's error after which the node is told of the body again: it may have room by then."""

DAMAGED = "the body is not what was sent: its size or checksum differ"

Send = Callable[[SessionRequest], bool]
"""False when nothing was sent."""


class Source(Protocol):
    """A body to be sent."""

    size: int

    def read(self, start: int, size: int) -> bytes | memoryview:
        """A stretch of it."""


class Sink(Protocol):
    """Where a fetched body goes."""

    def write(self, data: bytes) -> object:
        """The next stretch."""


class Bytes:
    """A body in memory, as source."""

    def __init__(self, body: bytes) -> None:
        self._view = memoryview(body)
        self.size = len(body)

    def read(self, start: int, size: int) -> memoryview:
        """A stretch of it, without a copy."""
        return self._view[start : start + size]


class Buffer:
    """A body in memory, as sink."""

    def __init__(self) -> None:
        self.body = bytearray()

    def write(self, data: bytes) -> None:
        """Append."""
        self.body += data


class _Outgoing:
    __slots__ = ("body", "digest", "granted", "key", "not_before_s", "sent", "source", "told", "why")

    def __init__(self, key: str, source: Source, body: bytes) -> None:
        self.key = key
        self.source = source
        self.body = body
        self.told = False
        self.granted = 0
        self.sent = 0
        self.digest = 0
        self.not_before_s = 0.0
        self.why = ""
        """Why the node did not take it when it was told last, empty when it does."""


class BodySender:
    """Bodies on their way to the node, by a key of the owner's. ``new_id`` draws a body's id: 16 random bytes."""

    def __init__(self, chunk_bytes: int, new_id: Callable[[], bytes]) -> None:
        self._chunk_bytes = chunk_bytes
        self._new_id = new_id
        self._outgoing: dict[str, _Outgoing] = {}
        self._by_body: dict[bytes, _Outgoing] = {}
        self._cancelled: list[bytes] = []
        self._finished: list[tuple[str, Chunks]] = []

    def __bool__(self) -> bool:
        return bool(self._outgoing or self._cancelled)

    def add(self, key: str, source: Source) -> None:
        """Send a body; ``take_finished`` tells when its last chunk has left."""
        outgoing = self._outgoing[key] = _Outgoing(key, source, self._new_id())
        self._by_body[outgoing.body] = outgoing

    def drop(self, key: str) -> None:
        """Nobody wants it any more."""
        outgoing = self._outgoing.pop(key, None)
        if outgoing is not None:
            del self._by_body[outgoing.body]
            if outgoing.told:
                self._cancelled.append(outgoing.body)

    def forget(self, chunks: Chunks) -> None:
        """What refers to a body that was sent is kept, or refused: nothing will refer to it again."""
        self._cancelled.append(chunks.body)

    def again(self) -> None:
        """The node is another one: it knows nothing of what was sent."""
        self._cancelled.clear()
        self._by_body.clear()
        for key, outgoing in list(self._outgoing.items()):
            self.add(key, outgoing.source)
        self._finished.clear()

    def send(self, send: Send, now_s: float) -> None:
        """Send what was granted, in turn; tell the node of new bodies and of those that it can drop."""
        if not self:
            return
        while self._cancelled and send(CancelUpload(self._cancelled[-1])):
            self._cancelled.pop()
        busy = True
        while busy:
            busy = False
            for outgoing in list(self._outgoing.values()):
                if not outgoing.told:
                    if now_s >= outgoing.not_before_s:
                        outgoing.told = send(Upload(outgoing.body, outgoing.source.size, self._chunk_bytes))
                elif outgoing.sent < outgoing.granted and self._send_chunk(outgoing, send):
                    busy = True

    def _send_chunk(self, outgoing: _Outgoing, send: Send) -> bool:
        size = outgoing.source.size
        start = outgoing.sent * self._chunk_bytes
        data = outgoing.source.read(start, min(self._chunk_bytes, size - start))
        if not send(UploadChunk(outgoing.body, outgoing.sent, data)):  # type: ignore[arg-type]  # the encoder takes any buffer
            return False
        outgoing.digest = zlib.crc32(data, outgoing.digest)
        outgoing.sent += 1
        if start + self._chunk_bytes >= size:
            del self._outgoing[outgoing.key], self._by_body[outgoing.body]
            self._finished.append((outgoing.key, Chunks(outgoing.body, outgoing.sent, size, outgoing.digest)))
        return True

    def on_grant(self, grant: Grant, now_s: float) -> tuple[str, str] | None:
        """The node takes more; or nothing of a body: its (key, why)."""
        outgoing = self._by_body.get(grant.body)
        if outgoing is None:
            return None
        outgoing.why = grant.error
        if grant.error.startswith(WAITS):
            outgoing.told, outgoing.not_before_s = False, now_s + BUSY_PAUSE_S
        elif grant.error:
            del self._outgoing[outgoing.key], self._by_body[grant.body]
            return outgoing.key, grant.error
        outgoing.granted = max(outgoing.granted, grant.upto)
        return None

    def why(self, key: str) -> str:
        """Why the node does not take a body now (``code: text``), or nothing."""
        outgoing = self._outgoing.get(key)
        return outgoing.why if outgoing is not None else ""

    def take_finished(self) -> list[tuple[str, Chunks]]:
        """Bodies that were sent whole: what a message or an outcome says of them."""
        finished, self._finished = self._finished, []
        return finished


class _Incoming:
    __slots__ = ("asked", "chunks", "digest", "early", "key", "sink", "size", "written")

    def __init__(self, key: str, chunks: Chunks, sink: Sink) -> None:
        self.key = key
        self.chunks = chunks
        self.sink = sink
        self.asked = 0
        self.written = 0
        self.size = 0
        self.digest = 0
        self.early: dict[int, bytes] = {}
        """Chunks that came before one with a lower index."""


class BodyReceiver:
    """Bodies on their way from the mesh, by a key of the owner's; ``together`` of them at once, the others wait their turn.

    Its Fetches are numbered from ``first_number`` on: two receivers of one session have to differ in that.
    """

    def __init__(self, together: int = FETCHES_MAX, first_number: int = 0) -> None:
        self._together = together
        self._incoming: dict[str, _Incoming] = {}
        self._asked: dict[int, tuple[str, int, float]] = {}
        """Number of a Fetch to the body's key, the chunk's index, and when it was asked for."""
        self._number = first_number
        self._finished: list[tuple[str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._incoming)

    def __contains__(self, key: str) -> bool:
        return key in self._incoming

    def brings(self, key: str, chunks: Chunks) -> bool:
        """Whether that very body is on its way under this key."""
        incoming = self._incoming.get(key)
        return incoming is not None and incoming.chunks.body == chunks.body

    def add(self, key: str, chunks: Chunks, sink: Sink) -> None:
        """Fetch a body into ``sink``, and no longer what was to come under this key; ``take_finished`` tells when it is there."""
        self.drop(key)
        self._incoming[key] = _Incoming(key, chunks, sink)

    def drop(self, key: str) -> None:
        """Nobody wants it any more."""
        if self._incoming.pop(key, None) is not None:
            self._asked = {number: asked for number, asked in self._asked.items() if asked[0] != key}

    def again(self) -> None:
        """The node, or the coordinator, is another one: what was asked for may not come."""
        self._asked = {number: (key, index, float("-inf")) for number, (key, index, _) in self._asked.items()}

    def send(self, send: Send, now_s: float) -> None:
        """Ask for the next chunks, in turn, and again for what is late."""
        if not self:
            return
        for number, (key, index, asked_s) in self._asked.items():
            if now_s - asked_s >= ASK_AGAIN_S:
                if not send(Fetch(number, self._incoming[key].chunks, index)):
                    return
                self._asked[number] = (key, index, now_s)
        turns = deque([incoming for incoming, _ in zip(self._incoming.values(), range(self._together), strict=False)])
        while turns and len(self._asked) < FETCHES_MAX:
            incoming = turns.popleft()
            if incoming.asked < incoming.chunks.count:
                if not send(Fetch(self._number + 1, incoming.chunks, incoming.asked)):
                    return
                self._number += 1
                self._asked[self._number] = (incoming.key, incoming.asked, now_s)
                incoming.asked += 1
                turns.append(incoming)

    def on_fetched(self, fetched: Fetched) -> None:
        """A chunk has come, or the word that it is lost."""
        key, index, _ = self._asked.pop(fetched.number, ("", 0, 0.0))
        incoming = self._incoming.get(key)
        if incoming is None or index != fetched.index:
            return
        if fetched.error:
            self._finish(incoming, fetched.error.removeprefix("lost: "))
            return
        incoming.early[index] = fetched.data
        while incoming.written in incoming.early:
            data = incoming.early.pop(incoming.written)
            incoming.sink.write(data)
            incoming.written += 1
            incoming.size += len(data)
            incoming.digest = zlib.crc32(data, incoming.digest)
        if incoming.written == incoming.chunks.count:
            wrong = (incoming.size, incoming.digest) != (incoming.chunks.size, incoming.chunks.digest)
            self._finish(incoming, DAMAGED if wrong else "")

    def _finish(self, incoming: _Incoming, error: str) -> None:
        self.drop(incoming.key)
        self._finished.append((incoming.key, error))

    def take_finished(self) -> list[tuple[str, str]]:
        """Bodies that are whole in their sink, with an empty text, and those that are lost, with the reason."""
        finished, self._finished = self._finished, []
        return finished
