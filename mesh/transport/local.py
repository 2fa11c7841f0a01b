"""The local door: where programs of this user on this machine attach to their node, over a Unix socket."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mesh.errors import MachineError
from mesh.transport.notices import Counters, Notices
from mesh.transport.poller import READ, WRITE
from mesh.transport.reactor import Reactor
from mesh.transport.sockets import BACKLOG, FRAME_OVERHEAD_BYTES, HANDSHAKE_MS, HEARTBEAT_TIMEOUT_MS, local_path
from mesh.transport.stream import Stream
from mesh.transport.zmtp import ROUTER

ACCEPTS_PER_TURN = 64
ACCEPT_PAUSE_S = 0.1
"""Pause of a door that had no descriptor for the next program, which stays in line."""


def has_local_sockets() -> bool:
    """Whether this platform's Python has Unix sockets."""
    return hasattr(socket, "AF_UNIX")


class LocalDoor:
    """Listens at ``path`` and keeps the connections by what their programs want to be called.

    NULL is the right mechanism here: the 0700 directory lets in this user alone, and whoever is this user can read the keys anyway.
    ``on_ready`` is called when there is something to :meth:`take`. Raises StateNotOurs when the directory is open to others,
    MachineError when the path can't be used.
    """

    def __init__(
        self, path: Path, reactor: Reactor, frame_bytes_max: int, counters: Counters, notices: Notices, on_ready: Callable[[], None]
    ) -> None:
        self._path = local_path(path)
        self._reactor = reactor
        self._frame_bytes_max = frame_bytes_max + FRAME_OVERHEAD_BYTES
        self._counters = counters
        self._notices = notices
        self._on_ready = on_ready
        self._streams: set[Stream] = set()
        self._by_id: dict[bytes, Stream] = {}
        self._names: dict[Stream, bytes] = {}
        """The routing id of each connection that is ready."""
        self._readable: dict[Stream, None] = {}
        """Connections of which something was read and not yet taken."""
        self._unnamed = 0
        self._listening = _listen(self._path)
        reactor.register(self._listening.fileno(), self._accept)

    def fileno(self) -> int:
        """Of the socket that listens."""
        return self._listening.fileno()

    def send(self, routing_id: bytes, payload: bytes) -> bool:
        """Send to a program; False when it is gone. What it does not read is kept until it has not read anything for 12 s."""
        stream = self._by_id.get(routing_id)
        if stream is None:
            return False
        waiting = stream.unsent_bytes
        if not stream.send(payload):
            self._drop(stream)
            return False
        if stream.unsent_bytes and not waiting:
            self._reactor.register(stream.fileno(), partial(self._heed, stream), READ | WRITE)
            self._await_progress(stream)
        return True

    def take(self, limit: int) -> list[tuple[bytes, bytes]]:
        """At most ``limit`` messages, each with who sent it. Fewer: nothing is left. Programs that are ready at once get equal shares."""
        found: list[tuple[bytes, bytes]] = []
        while self._readable and len(found) < limit:
            share = max(1, (limit - len(found)) // len(self._readable))
            for stream in list(self._readable):
                self._take_from(stream, min(share, limit - len(found)), found)
        return found

    def close(self) -> None:
        """Close all connections and remove the socket."""
        for stream in list(self._streams):
            self._drop(stream)
        self._listening.close()
        self._path.unlink(missing_ok=True)

    # -- connections ----------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                connected, _ = self._listening.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, or the program is gone again
                self._reactor.forget(self._listening.fileno())
                self._reactor.after(ACCEPT_PAUSE_S, self._accept_again)
                return
            stream = Stream(connected, ROUTER, self._frame_bytes_max)
            self._streams.add(stream)
            self._reactor.register(stream.fileno(), partial(self._heed, stream))
            self._reactor.after(HANDSHAKE_MS / 1000, partial(self._drop_silent, stream))

    def _accept_again(self) -> None:
        self._reactor.register(self._listening.fileno(), self._accept)

    def _heed(self, stream: Stream) -> None:
        """The connection can be read, or can be written again."""
        if stream.unsent_bytes:
            stream.flush()
            if not stream.unsent_bytes:
                self._reactor.register(stream.fileno(), partial(self._heed, stream))
        if stream not in self._readable:  # one that sends faster than it is taken from has to wait
            stream.fill()
            self._readable[stream] = None
            self._on_ready()

    def _take_from(self, stream: Stream, limit: int, found: list[tuple[bytes, bytes]]) -> None:
        for _ in range(limit):
            message = stream.take()
            if message is None:
                self._emptied(stream)
                return
            name = self._names.get(stream) or self._welcome(stream)
            if name:
                found.append((name, message))
            else:
                self._drop(stream)
                return

    def _emptied(self, stream: Stream) -> None:
        self._readable.pop(stream, None)
        malformed = stream.take_malformed()
        if malformed:
            self._counters.frames_malformed += malformed
            self._notices.warn("dropped a malformed message", "a local program")
        if stream.ended or (stream.ready and stream not in self._names and not self._welcome(stream)):
            self._drop(stream)

    def _welcome(self, stream: Stream) -> bytes:
        """Give a connection its name; nothing when another one has it, as nobody may take over an open session."""
        name = stream.routing_id
        if not name:
            self._unnamed += 1
            name = b"\0" + self._unnamed.to_bytes(8, "big")
        if name in self._by_id:
            return b""
        self._by_id[name], self._names[stream] = stream, name
        return name

    def _drop_silent(self, stream: Stream) -> None:
        if stream in self._streams and not stream.ready:
            self._counters.failed_handshakes += 1
            self._drop(stream)

    def _await_progress(self, stream: Stream) -> None:
        """Free what a program does not read: one that is stopped would let it grow for ever."""
        sent_bytes = stream.sent_bytes

        def look() -> None:
            if stream in self._streams and stream.unsent_bytes:
                if stream.sent_bytes == sent_bytes:
                    self._drop(stream)
                else:
                    self._await_progress(stream)

        self._reactor.after(HEARTBEAT_TIMEOUT_MS / 1000, look)

    def _drop(self, stream: Stream) -> None:
        if stream in self._streams:
            self._streams.discard(stream)
            self._readable.pop(stream, None)
            name = self._names.pop(stream, None)
            if name is not None:
                del self._by_id[name]
            self._reactor.forget(stream.fileno())
            stream.close()


def _listen(path: Path) -> socket.socket:
    """A listening socket at the path, in place of one that a former process left there."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.setblocking(False)
        path.unlink(missing_ok=True)
        listening.bind(str(path))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise MachineError(f"the local socket {path} can't be opened: {error.strerror}") from error
    return listening
