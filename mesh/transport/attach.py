"""The other end of a node's doors: how clients, workers and newcomers reach a node."""

from __future__ import annotations

import math
import socket
import time
from pathlib import Path

import zmq

from mesh.errors import MachineError
from mesh.transport.curve import FleetSecret, KeyPair, require_curve
from mesh.transport.knocks import open_visit
from mesh.transport.local import has_local_sockets
from mesh.transport.poller import READ, WRITE, Poller
from mesh.transport.sockets import (
    LINGER_MS,
    OUTGOING,
    OVER,
    SESSION,
    Monitor,
    Socket,
    connect_tcp,
    local_path,
    make_context,
    open_dealer,
    speak_curve,
)
from mesh.transport.stream import Stream
from mesh.transport.zmtp import DEALER

FRAME_BYTES_MAX = 1 << 30
"""A client or worker has chosen its node and trusts it; the node bounds what it sends."""


class LocalSocket:
    """One connection of a program to the node of this user on this machine; a lost one stays lost, and the next is a new LocalSocket.

    ``session_id`` are fresh random bytes (:func:`mesh.ids.session_id`). Belongs to one thread at a time. Raises StateNotOurs when the
    directory is open to others, MachineError on a platform without Unix sockets; a missing node shows as ``lost``.
    """

    def __init__(self, path: Path, session_id: bytes) -> None:
        if not has_local_sockets():
            raise MachineError("this platform has no local sockets; attach to the node's door on 127.0.0.1")
        path = local_path(path)
        connecting = socket.socket(socket.AF_UNIX)
        connecting.setblocking(False)
        connecting.connect_ex(str(path))  # where nobody listens the stream has ended when it says hello
        self._stream = Stream(connecting, DEALER, FRAME_BYTES_MAX, SESSION + session_id)
        self._poller: Poller | None = None
        self._awaits_room = False

    def watch(self, poller: Poller) -> None:
        """Have a poller wake its owner when there is something to do here: what came is got with :meth:`recv`."""
        self._poller = poller
        poller.register(self._stream.fileno(), READ)

    def send(self, payload: bytes) -> bool:
        """Send a frame without waiting; False when the connection is lost. The sender's own credit bounds what waits here."""
        sent = self._stream.send(payload)
        if self._awaits_room or self._stream.unsent_bytes:
            self._await_room()
        return sent

    def recv(self) -> bytes | None:
        """The next frame, or None when there is none now. A message that is not one frame ends the connection as lost."""
        stream = self._stream
        if stream.unsent_bytes:
            stream.flush()
        frame = stream.receive()
        if self._awaits_room or stream.unsent_bytes:
            self._await_room()
        return frame

    @property
    def lost(self) -> bool:
        """Whether the connection could not be made, was refused or has ended. What came before the end can still be received."""
        return self._stream.ended or self._stream.malformed

    def close(self) -> None:
        """Close it; what the kernel has taken still arrives. A second call does nothing."""
        if self._poller is not None and self._stream.fileno() >= 0:
            self._poller.unregister(self._stream.fileno())
        self._stream.close()

    def _await_room(self) -> None:
        waits = bool(self._stream.unsent_bytes)
        if self._poller is not None and waits is not self._awaits_room:
            self._awaits_room = waits
            self._poller.register(self._stream.fileno(), READ | WRITE if waits else READ)


class NodeSocket:
    """One connection of a program to a member's door; a lost one stays lost, and the next is a new NodeSocket.

    ``address`` is the ``host:port`` of the node that owns ``server_key`` (32 bytes), which must have admitted ``keys``; ``session_id`` are
    fresh random bytes that no other node has seen: who knows them could pose as the receiver of what the node still sends after this
    connection is gone. What is sent before the connection stands waits for it. Belongs to one thread at a time. Raises MachineError
    without CURVE or when ``address`` is none.
    """

    def __init__(self, address: str, server_key: bytes, keys: KeyPair, session_id: bytes) -> None:
        require_curve()
        self._context = make_context()
        self.socket = open_dealer(self._context, FRAME_BYTES_MAX, SESSION + session_id)
        # Explicit credit (confirms, worker capacity) bounds both directions.
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        speak_curve(self.socket, keys, server_key)
        self._monitor = Monitor(self._context, self.socket, OVER)
        self._poller: Poller | None = None
        self._lost = False
        try:
            connect_tcp(self.socket, address)
        except zmq.ZMQError as error:
            self.close()
            raise MachineError(f"{address} can't be connected to: {error.strerror}") from error

    def watch(self, poller: Poller) -> None:
        """Have a poller wake its owner when there is something to do here: what came is got with :meth:`recv`, or it is ``lost``."""
        self._poller = poller
        poller.register(self.socket)
        poller.register(self._monitor.socket)

    def send(self, payload: bytes) -> bool:
        """Send a frame without waiting; False when the connection is lost. The sender's own credit bounds what waits here."""
        if self._poller is not None:
            self._poller.used(self.socket)
        try:
            self.socket.send(payload, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def recv(self) -> bytes | None:
        """The next frame, or None when there is none now. A message that is not one frame ends the connection as lost."""
        try:
            frame = self.socket.recv(zmq.DONTWAIT, False)
        except zmq.Again:
            return None
        if frame.more:
            self._lost = True
            return None
        return frame.bytes

    @property
    def lost(self) -> bool:
        """Whether the connection could not be made, was refused or has ended. What came before the end can still be received."""
        if not self._lost:
            self._lost = any(event & OVER for event in self._monitor.read())
        return self._lost

    def close(self) -> None:
        """Close after at most a fraction of a second for what is queued to leave. A second call does nothing."""
        if self.socket.closed:
            return
        if self._poller is not None:
            self._poller.unregister(self.socket)
            self._poller.unregister(self._monitor.socket)
        self._monitor.close()
        self._context.destroy(linger=LINGER_MS)


def shakes_hands(address: str, server_key: bytes, keys: KeyPair, timeout_s: float) -> bool:
    """Whether the owner of ``server_key`` completes a handshake with us at ``host:port``; nothing is said then."""
    require_curve()
    context = make_context()
    try:
        calling = open_dealer(context, FRAME_BYTES_MAX)
        speak_curve(calling, keys, server_key)
        monitor = Monitor(context, calling, OUTGOING)
        connect_tcp(calling, address)
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            monitor.socket.poll(math.ceil(left_s * 1000))
            for event in monitor.read():
                return bool(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
        return False
    except zmq.ZMQError:
        return False
    finally:
        context.destroy(linger=0)


def knock(address: str, secret: FleetSecret, keys: KeyPair, payload: bytes, timeout_s: float) -> bytes | None:
    """Knock at the lobby at ``host:port`` and wait for the answer: for programs whose home has no node.

    None when nobody answers in time or the lobby does not know our secret. Raises MachineError when ``address`` is none.
    """
    require_curve()
    context = make_context()
    try:
        visiting, monitor = open_visit(context, address, keys, secret.lobby().public, payload)
        return _await_answer(visiting, monitor, timeout_s)
    except zmq.ZMQError as error:
        raise MachineError(f"{address} can't be connected to: {error.strerror}") from error
    finally:
        context.destroy(linger=0)


def _await_answer(visiting: Socket, monitor: Monitor, timeout_s: float) -> bytes | None:
    deadline = time.monotonic() + timeout_s
    poller = zmq.Poller()
    poller.register(visiting, zmq.POLLIN)
    poller.register(monitor.socket, zmq.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(math.ceil(left_s * 1000)))
        if visiting in ready:
            frames = visiting.recv_multipart()
            return frames[0] if len(frames) == 1 else None
        if any(event & OVER for event in monitor.read()):
            return None
    return None
