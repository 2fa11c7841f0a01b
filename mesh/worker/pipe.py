"""Frames over a connected pair of stream sockets: four bytes of length, big-endian, then the frame.

A worker's parent and its slots talk over ``socket.socketpair()``: nothing listens anywhere, the other end's death shows at once
as the end of the stream, and it can be waited for on every platform, which a Windows named pipe can't.
The parent's end does not block, so that a slot that reads nothing (its task holds the interpreter) never stops the parent.
"""

from __future__ import annotations

import select
import socket

_HEADER_BYTES = 4
_READ_BYTES = 1 << 16
"""Read at once. The C library serves buffers from 128 KiB up with fresh pages of the kernel (mallopt(3), M_MMAP_THRESHOLD)."""


class Pipe:
    """One end. Whether it blocks is a property of the socket that it is given."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._received = bytearray()
        self._unsent = bytearray()

    def fileno(self) -> int:
        """For a poller."""
        return self._socket.fileno()

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the socket did not take yet: :meth:`flush` when it is writable."""
        return len(self._unsent)

    def send(self, frame: bytes) -> None:
        """Send a frame; what a non-blocking socket does not take is kept. Raises OSError when the other end is gone."""
        self._unsent += len(frame).to_bytes(_HEADER_BYTES, "big")
        self._unsent += frame
        self.flush()

    def flush(self) -> None:
        """Send what is kept. Raises OSError when the other end is gone."""
        while self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            del self._unsent[:sent]

    def receive(self) -> list[bytes]:
        """The frames that have come, at least one where the socket blocks. Raises EOFError when the other end is gone."""
        frames: list[bytes] = []
        while not frames:
            try:
                if self._socket.gettimeout() is None:
                    # Linux wakes who sleeps in recv() also when the other end reads what this one has sent (unix_write_space)
                    select.select([self._socket], [], [])
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return frames
            except (OSError, ValueError) as error:  # closed at the other end, or here by another thread
                raise EOFError(str(error)) from error
            if not data:
                raise EOFError("the other end is closed")
            self._received += data
            frames = self._cut()
        return frames

    def readable(self) -> bool:
        """Whether something has come, the end of the stream included."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Close this end; the other one sees the end of the stream, even while a thread of ours waits in :meth:`receive`."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other end was faster
        self._socket.close()

    def _cut(self) -> list[bytes]:
        frames = []
        at, have = 0, len(self._received)
        while have - at >= _HEADER_BYTES:
            end = at + _HEADER_BYTES + int.from_bytes(self._received[at : at + _HEADER_BYTES], "big")
            if end > have:
                break
            frames.append(bytes(self._received[at + _HEADER_BYTES : end]))
            at = end
        del self._received[:at]
        return frames
