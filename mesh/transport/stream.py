"""One connection within this machine: ZMTP over a stream socket that does not block, in the thread that owns it."""

from __future__ import annotations

import socket

from mesh.errors import RemoteProtocolError
from mesh.transport.zmtp import Decoder, frame, hello

READ_BYTES = 1 << 16
"""Read at once. The C library serves buffers from 128 KiB up with fresh pages of the kernel (mallopt(3), M_MMAP_THRESHOLD)."""


class Stream:
    """One end; ``kind`` is the type of socket that it stands for. What it sends waits until the handshake is done."""

    def __init__(self, connected: socket.socket, kind: bytes, frame_bytes_max: int, routing_id: bytes = b"") -> None:
        self.ended = False
        """The other end is gone, or not understood: nothing more can be sent, or will come but what can still be taken."""
        self.sent_bytes = 0
        """Taken by the kernel so far."""
        self._socket = connected
        self._decoder = Decoder(kind, frame_bytes_max)
        self._unsent = bytearray()
        self._drained = False
        """The kernel had no more than what was read: there is no need to ask it again."""
        connected.setblocking(False)
        self._write(hello(kind, routing_id))

    def fileno(self) -> int:
        """For a poller."""
        return self._socket.fileno()

    @property
    def ready(self) -> bool:
        """The handshake is done."""
        return self._decoder.ready

    @property
    def routing_id(self) -> bytes:
        """What the other side wants to be called, known when it is ready."""
        return self._decoder.routing_id

    @property
    def unsent_bytes(self) -> int:
        """Bytes that could be sent if the kernel took them: :meth:`flush` when it does."""
        return len(self._unsent) if self.ready else 0

    def send(self, payload: bytes) -> bool:
        """Send a message without waiting; what the kernel does not take is kept. False when the connection has ended."""
        if self._unsent or not self._decoder.ready:
            self._unsent += frame(payload)
        else:
            self._write(frame(payload))
        return not self.ended

    def flush(self) -> None:
        """Send what is kept."""
        if self._unsent:
            unsent, self._unsent = self._unsent, bytearray()
            self._write(unsent)

    def fill(self) -> None:
        """Read once of what has come."""
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            data = None
        except OSError:
            data = b""
        if data:
            self._decoder.feed(data)
        elif data is not None:
            self.ended = True
        self._drained = data is None or len(data) < READ_BYTES

    def take(self) -> bytes | None:
        """The next message of what was read, None when there is none. What breaks the protocol ends the connection."""
        decoder = self._decoder
        was_ready = decoder.ready
        try:
            message = decoder.message()
        except RemoteProtocolError:
            self.ended = True
            return None
        if decoder.replies or decoder.ready is not was_ready:
            self._unsent += decoder.replies
            decoder.replies = b""
            self.flush()
        return message

    def receive(self) -> bytes | None:
        """The next message, None when there is none now."""
        message = self.take()
        if message is not None or self.ended:
            return message
        if self._drained:
            self._drained = False
            return None
        self.fill()
        message = self.take()
        if message is None:
            self._drained = False
        return message

    @property
    def malformed(self) -> bool:
        """A message of several frames came."""
        return self._decoder.malformed > 0

    def take_malformed(self) -> int:
        """How many messages of several frames came, and were passed over, since the last call."""
        malformed, self._decoder.malformed = self._decoder.malformed, 0
        return malformed

    def close(self) -> None:
        """Close it, after it has left its poller. A second call does nothing."""
        self.ended = True
        self._socket.close()

    def _write(self, data: bytes | bytearray) -> None:
        if self.ended:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.ended = True
            return
        self.sent_bytes += sent
        if sent < len(data):
            self._unsent += data[sent:]
