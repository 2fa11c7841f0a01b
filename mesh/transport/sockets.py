"""How mesh opens ZeroMQ sockets: every option that SECURITY asks for is set here and nowhere else."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import zmq

from mesh.errors import MachineError, StateNotOurs
from mesh.transport.curve import KeyPair

Socket = zmq.Socket[bytes]
Context = zmq.Context[Socket]

LINGER_MS = 200
"""What is queued when a socket closes may still leave for so long; a goodbye needs a millisecond."""
HANDSHAKE_MS = 2000
"""libzmq's default of 30 s lets silent connections lock out valid ones by exhausting file descriptors."""
CONNECT_MS = 2000
HEARTBEAT_MS = 5000
HEARTBEAT_TIMEOUT_MS = 12_000
TCP_UNACKED_MS = 3000
"""Longest time that sent data stays unacknowledged before the connection counts as lost. TCP itself doubles its pauses, so that after
a cut of 20 s it may stay silent for another 20; a new connection after the cut gets through at once."""
NEVER_MS = 86_400_000
BACKLOG = 1024
SOCKETS_MAX = 8192
DESCRIPTORS_WANTED = 65_536
FRAME_OVERHEAD_BYTES = 256
"""MAXMSGSIZE counts the encrypted frame: nonce, authenticator and flags (RFC 26/CURVEZMQ) come on top of a payload."""
SOCKET_PATH_BYTES_MAX = 103
"""sun_path has 104 bytes on macOS and BSD, 108 on Linux, each with a final zero."""
CLAIM = b"N"
"""First byte of the routing id of a node's connection to another node's door."""
SESSION = b"S"
"""First byte of the routing id of an attached client or worker."""

FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
OVER = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
OUTGOING = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | OVER


def make_context() -> Context:
    """A context of one's own: ZAP and inproc names are per context, so two nodes in one process stay apart."""
    context: Context = zmq.Context(io_threads=1)
    context.set(zmq.MAX_SOCKETS, SOCKETS_MAX)
    return context


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as its hard limit gives: strangers' half-open connections take some."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # macOS refuses values above a kernel setting; what there was has to do
            return


def open_socket(context: Context, kind: int, frame_bytes_max: int) -> Socket:
    """A socket with the limits that hold for all of ours; no endpoint yet."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max + FRAME_OVERHEAD_BYTES)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)
    socket.setsockopt(zmq.TCP_MAXRT, TCP_UNACKED_MS)
    return socket


def open_router(context: Context, frame_bytes_max: int, messages_max: int) -> Socket:
    """A ROUTER that reports unknown receivers and lets nobody take over a routing id that is in use.

    ``messages_max`` bounds what one connection may have waiting on the way in: beyond it the sender meets TCP's backpressure. The way
    out has no such mark: what a node owes to one receiver is bounded by that receiver's credit, and freed when the heartbeat ends.
    """
    router = open_socket(context, zmq.ROUTER, frame_bytes_max)
    router.setsockopt(zmq.ROUTER_MANDATORY, 1)
    router.setsockopt(zmq.ROUTER_HANDOVER, 0)
    router.setsockopt(zmq.RCVHWM, messages_max)
    router.setsockopt(zmq.SNDHWM, 0)
    router.setsockopt(zmq.BACKLOG, BACKLOG)
    return router


def open_dealer(context: Context, frame_bytes_max: int, routing_id: bytes = b"") -> Socket:
    """A DEALER for exactly one connection: libzmq shall not reconnect it by itself.

    A ROUTER without HANDOVER ignores a newcomer under a routing id whose former connection it has not yet seen die; so each connection
    gets a socket and a routing id of its own, and whoever opened it decides about the next one. "Never" is a day instead of libzmq's
    -1: with that it would throw away what had arrived before the end and was not yet read.
    """
    dealer = open_socket(context, zmq.DEALER, frame_bytes_max)
    dealer.setsockopt(zmq.RECONNECT_IVL, NEVER_MS)
    dealer.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
    if routing_id:
        dealer.setsockopt(zmq.ROUTING_ID, routing_id)
    return dealer


def serve_curve(socket: Socket, keys: KeyPair, domain: str) -> None:
    """Make it a CURVE server that asks ZAP. Without a handler an enforced domain refuses everyone: it fails closed."""
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.ZAP_DOMAIN, domain.encode())
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)


def speak_curve(socket: Socket, keys: KeyPair, server_key: bytes) -> None:
    """Make it a CURVE client that accepts only the holder of ``server_key``'s secret half."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, server_key)
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret)


def connect_tcp(socket: Socket, address: str) -> None:
    """Begin to connect to ``host:port`` (IPv6 hosts in brackets). Raises zmq.ZMQError when that is no address."""
    if address.startswith("["):
        socket.setsockopt(zmq.IPV6, 1)
    socket.connect(f"tcp://{address}")


def local_path(path: Path) -> Path:
    """Where a node's local socket for ``path`` lies, the same for the node and for those who attach.

    A path too long for the kernel is replaced by a name derived from it in a directory of this user below the system's temporary one.
    Raises StateNotOurs when the directory is not a private one of this user: opening the socket is all the proof that a local program
    gives, so nobody else may be able to.
    """
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        owner = os.getuid() if os.name == "posix" else 0
        directory = Path(tempfile.gettempdir()) / f"mesh-{owner}"
        directory.mkdir(mode=0o700, exist_ok=True)
        path = directory / hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:20]
    _require_private(path.parent)
    return path


def _require_private(directory: Path) -> None:
    try:
        status = directory.lstat()
    except OSError as error:
        raise MachineError(f"the directory of the local socket, {directory}, can't be used: {error.strerror}") from error
    if os.name != "posix":
        return
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise StateNotOurs(f"{directory} is not a directory of this user; choose another MESH_HOME")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise StateNotOurs(f"others may enter {directory}; mend it with: chmod 700 {directory}")


class Monitor:
    """The events of one socket's connections, as their numbers. ``socket`` can be polled."""

    _names = itertools.count(1)

    def __init__(self, context: Context, watched: Socket, events: int) -> None:
        endpoint = f"inproc://monitor-{next(self._names)}"
        self._watched = watched
        watched.monitor(endpoint, events)
        self.socket = context.socket(zmq.PAIR)
        # libzmq's I/O thread would wait for us, and all traffic with it, if this pipe could be full.
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def read(self, limit: int = 256) -> Iterator[int]:
        """At most ``limit`` events that have come, without waiting; closing the monitor ends it."""
        for _ in range(limit):
            if self.socket.closed:
                return
            try:
                head = self.socket.recv(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.socket.recv()
            yield struct.unpack("=H", head[:2])[0]

    def close(self) -> None:
        """Stop watching; before the watched socket is closed."""
        self._watched.disable_monitor()
        self.socket.close(linger=0)
