"""Large bodies on their way in: chunks that programs send to this node, as far as it grants them.

Each chunk is written to the own journal, so a message that follows has its copies only after all chunks of its body. What bounds the delay
of everything else in the journal is the window: the bytes granted and not copied yet, over all uploads together, granted in turn.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from mesh.config import Settings
from mesh.core.cluster.replica import Replica
from mesh.core.cluster.replication import Replication
from mesh.core.turn import Turn
from mesh.wire.entries import Chunk, Chunks
from mesh.wire.messages import Grant, Upload, UploadChunk

WINDOW_BYTES = 512 << 10
"""Bytes of chunks under way: one commit of a few milliseconds, 40 ms at 100 Mbit/s (docs/decisions/070)."""
CHUNKS_MAX = 1 << 16
UPLOADS_MAX = 10_000
BODY_ID_BYTES = 16


class Incoming:
    """One body on its way in."""

    __slots__ = ("body", "chunk_bytes", "count", "digest", "granted", "handed_over", "journal", "received", "sequences", "session", "size")

    def __init__(self, session: bytes, upload: Upload) -> None:
        self.session = session
        self.body = upload.body
        self.size = upload.size
        self.chunk_bytes = upload.chunk_bytes
        self.count = -(-upload.size // upload.chunk_bytes)
        self.granted = 0
        self.received = 0
        self.digest = 0
        self.journal = b""
        self.sequences: list[int] = []
        self.handed_over = False
        """A message or outcome refers to it: from now on the coordinator decides about the chunks."""

    def expects(self, chunk: UploadChunk) -> bool:
        """Whether this is the next chunk, and was granted."""
        last = chunk.index == self.count - 1
        size = self.size - chunk.index * self.chunk_bytes if last else self.chunk_bytes
        return chunk.index == self.received < self.granted and len(chunk.data) == size

    def matches(self, chunks: Chunks) -> bool:
        """Whether this is, whole, what a message refers to."""
        return (self.received, self.count, self.size, self.digest) == (chunks.count, chunks.count, chunks.size, chunks.digest)


class Uploads:
    """The bodies that programs of this node are sending."""

    def __init__(self, replica: Replica, replication: Replication, turn: Turn, settings: Settings) -> None:
        self._replica = replica
        self._replication = replication
        self._turn = turn
        self._settings = settings
        self._incoming: dict[bytes, Incoming] = {}
        self._waiting: dict[bytes, Incoming] = {}
        """Those with something left to grant; the first one is next."""
        self._under_way = 0

    def begin(self, session: bytes, upload: Upload, problem: str) -> None:
        """A program has a body for us; ``problem`` is why it can't be taken, or nothing."""
        problem = problem or self._check(upload)
        if problem:
            self._turn.to_session(session, Grant(upload.body, 0, problem))
            return
        incoming = self._incoming[upload.body] = self._waiting[upload.body] = Incoming(session, upload)
        assert incoming.count, "sizes are positive"
        self._grant()

    def _check(self, upload: Upload) -> str:
        if len(upload.body) != BODY_ID_BYTES or upload.body in self._incoming or upload.size < 1:
            return "invalid: an upload has a fresh id of 16 bytes, and at least one byte"
        if not 1 <= upload.chunk_bytes <= self._settings.max_frame_bytes // 2 or upload.size > upload.chunk_bytes * CHUNKS_MAX:
            return f"invalid: chunks have at most {self._settings.max_frame_bytes // 2} bytes, bodies at most {CHUNKS_MAX} chunks"
        return f"busy: {UPLOADS_MAX} large bodies are under way to this node" if len(self._incoming) >= UPLOADS_MAX else ""

    def _grant(self) -> None:
        granted: dict[bytes, Incoming] = {}
        while self._waiting:
            incoming = next(iter(self._waiting.values()))
            if self._under_way and self._under_way + incoming.chunk_bytes > WINDOW_BYTES:
                break
            incoming.granted += 1
            self._under_way += incoming.chunk_bytes
            granted[incoming.body] = incoming
            del self._waiting[incoming.body]
            if incoming.granted < incoming.count:
                self._waiting[incoming.body] = incoming
        for incoming in granted.values():
            self._turn.to_session(incoming.session, Grant(incoming.body, incoming.granted))

    def on_chunk(self, session: bytes, chunk: UploadChunk) -> None:
        """Write a chunk that was granted."""
        incoming = self._incoming.get(chunk.body)
        if incoming is None or incoming.session != session or not incoming.expects(chunk):
            return
        incoming.received += 1
        incoming.digest = zlib.crc32(chunk.data, incoming.digest)
        journal, sequence = self._replica.write(Chunk(chunk.body, chunk.index, chunk.data))
        incoming.journal = journal.name
        incoming.sequences.append(sequence)
        self._replication.copies.when_copied(self._returned(incoming.chunk_bytes))

    def _returned(self, size: int) -> Callable[[int], None]:
        def copied(copies: int) -> None:
            self._under_way -= size
            self._grant()

        return copied

    def refer(self, session: bytes, chunks: Chunks) -> Chunks | None:
        """What a message or an outcome refers to, with its place; None unless the session has sent exactly that."""
        incoming = self._incoming.get(chunks.body)
        if incoming is None or incoming.session != session or not incoming.matches(chunks):
            return None
        last = incoming.sequences[-1]
        return Chunks(chunks.body, chunks.count, chunks.size, chunks.digest, incoming.journal, last)

    def hand_over(self, chunks: Chunks | None) -> None:
        """Something refers to the body now. A worker's outcome may do so again, when there is a new coordinator."""
        if chunks is not None:
            self._incoming[chunks.body].handed_over = True

    def forget(self, chunks: Chunks | None) -> None:
        """Nothing will refer to the body again."""
        if chunks is not None:
            self._incoming.pop(chunks.body, None)

    def cancel(self, session: bytes, body: bytes) -> None:
        """The program has no more use for it."""
        incoming = self._incoming.get(body)
        if incoming is None or incoming.session != session:
            return
        del self._incoming[body]
        self._waiting.pop(body, None)
        self._under_way -= (incoming.granted - incoming.received) * incoming.chunk_bytes
        if not incoming.handed_over:
            journal = self._replica.journals[incoming.journal] if incoming.sequences else None
            for sequence in incoming.sequences:
                assert journal is not None
                self._replica.settle(journal, sequence)
        self._grant()

    def close(self, session: bytes) -> None:
        """The program is gone."""
        for body in [incoming.body for incoming in self._incoming.values() if incoming.session == session]:
            self.cancel(session, body)
