"""The other end of a node's doors: how clients, workers and newcomers reach a node."""

from __future__ import annotations

import math
import time
from pathlib import Path

import zmq

from mesh.errors import MachineError
from mesh.transport.curve import FleetSecret, KeyPair, require_curve
from mesh.transport.knocks import open_visit
from mesh.transport.sockets import (
    LINGER_MS,
    OVER,
    SESSION,
    Context,
    Monitor,
    Socket,
    connect_tcp,
    ipc_endpoint,
    make_context,
    open_dealer,
    speak_curve,
)

FRAME_BYTES_MAX = 1 << 30
"""A client or worker has chosen its node and trusts it; the node bounds what it sends."""


class NodeSocket:
    """One connection of a client or worker to its node; a lost one stays lost, and the next is a new NodeSocket.

    Belongs to one thread. ``socket`` and ``monitor`` are what a ``zmq.Poller`` watches: frames on the one, the end of the connection
    on the other (then ask :attr:`lost`). What is sent before the connection stands waits for it.
    """

    def __init__(self, context: Context, socket: Socket, endpoint: str) -> None:
        self._context = context
        self.socket = socket
        self._watch = Monitor(context, socket, OVER)
        self.monitor = self._watch.socket
        self._lost = False
        try:
            if endpoint.startswith("ipc://"):
                socket.connect(endpoint)
            else:
                connect_tcp(socket, endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise MachineError(f"{endpoint} can't be connected to: {error.strerror}") from error

    @classmethod
    def local(cls, ipc_path: Path, session_id: bytes) -> NodeSocket:
        """Attach to the node of this user on this machine.

        ``session_id`` are fresh random bytes (:func:`mesh.ids.session_id`). Raises StateNotOurs when the directory is open to others,
        MachineError on a platform without ipc; a missing node shows as ``lost``.
        """
        if not zmq.has("ipc"):
            raise MachineError("this platform has no local sockets; attach to the node's door on 127.0.0.1")
        endpoint = ipc_endpoint(ipc_path)
        context = make_context()
        return cls(context, _open(context, session_id), endpoint)

    @classmethod
    def remote(cls, address: str, server_key: bytes, keys: KeyPair, session_id: bytes) -> NodeSocket:
        """Attach to the door at ``host:port`` of the node that owns ``server_key`` (32 bytes), which must have admitted ``keys``.

        ``session_id`` are fresh random bytes that no other node has seen: who knows them could pose as the receiver of what the node
        still sends after this connection is gone. Raises MachineError without CURVE or when ``address`` is none.
        """
        require_curve()
        context = make_context()
        socket = _open(context, session_id)
        speak_curve(socket, keys, server_key)
        return cls(context, socket, address)

    def send(self, payload: bytes) -> bool:
        """Send a frame without waiting; False when the connection is lost. The sender's own credit bounds what waits here."""
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

    def fileno(self) -> int:
        """The descriptor for a foreign event loop; edge-triggered, so read until None whenever it fires and after each send."""
        return int(self.socket.getsockopt(zmq.FD))

    @property
    def lost(self) -> bool:
        """Whether the connection could not be made, was refused or has ended. What came before the end can still be received."""
        if not self._lost:
            self._lost = any(event & OVER for event in self._watch.read())
        return self._lost

    def close(self) -> None:
        """Close after at most a fraction of a second for what is queued to leave. A second call does nothing."""
        if not self.socket.closed:
            self._watch.close()
            self._context.destroy(linger=LINGER_MS)


def _open(context: Context, session_id: bytes) -> Socket:
    socket = open_dealer(context, FRAME_BYTES_MAX, SESSION + session_id)
    # Explicit credit (confirms, worker capacity) bounds both directions.
    socket.setsockopt(zmq.SNDHWM, 0)
    socket.setsockopt(zmq.RCVHWM, 0)
    return socket


def knock(address: str, secret: FleetSecret, keys: KeyPair, payload: bytes, timeout_s: float) -> bytes | None:
    """Knock at the lobby at ``host:port`` and wait for the answer: for programs whose home has no node.

    None when nobody answers in time or the lobby does not know our secret. Raises MachineError when ``address`` is none.
    """
    require_curve()
    context = make_context()
    try:
        socket, monitor = open_visit(context, address, keys, secret.lobby().public, payload)
        return _await_answer(socket, monitor, timeout_s)
    except zmq.ZMQError as error:
        raise MachineError(f"{address} can't be connected to: {error.strerror}") from error
    finally:
        context.destroy(linger=0)


def _await_answer(socket: Socket, monitor: Monitor, timeout_s: float) -> bytes | None:
    deadline = time.monotonic() + timeout_s
    poller = zmq.Poller()
    poller.register(socket, zmq.POLLIN)
    poller.register(monitor.socket, zmq.POLLIN)
    while (left_s := deadline - time.monotonic()) > 0:
        ready = dict(poller.poll(math.ceil(left_s * 1000)))
        if socket in ready:
            frames = socket.recv_multipart()
            return frames[0] if len(frames) == 1 else None
        if any(event & OVER for event in monitor.read()):
            return None
    return None
