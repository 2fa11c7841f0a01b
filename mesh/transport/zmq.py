"""The network of a node over ZeroMQ: two ROUTERs and the local door to come in by, one DEALER to each peer, one thread."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import zmq

from mesh.transport.base import Knocked, PeerFrames, SessionFrame, TransportEvent
from mesh.transport.bell import Bell
from mesh.transport.curve import FleetSecret, KeyPair, require_curve
from mesh.transport.dial import NONCE_BYTES, Dialler
from mesh.transport.doors import Doors
from mesh.transport.knocks import Knocks
from mesh.transport.local import LocalDoor, has_local_sockets
from mesh.transport.notices import Counters, Notices
from mesh.transport.poller import Source
from mesh.transport.reactor import Reactor
from mesh.transport.sockets import CLAIM, FAILED, LINGER_MS, Monitor, Socket, make_context, raise_descriptor_limit
from mesh.transport.zap import DOOR, LOBBY, Zap

LOCAL = b"L"
REMOTE = b"D"
"""First byte of a session: by the local door or the member door."""
KEY_HASH_BYTES = 16
SKIPPED_PER_TURN = 4096
USER = "User-Id"

Drain = Callable[[list[TransportEvent], int], bool]
"""Appends at most so many events; whether nothing is left."""


class Principal(NamedTuple):
    """Whom an admitted key belongs to, with what the hot path compares and prepends."""

    id: str
    claim: bytes
    session_prefix: bytes


class ZmqTransport:
    """The sockets of one node (:class:`mesh.transport.base.Transport`). Everything but :meth:`wake` belongs to one thread.

    ``keys`` is the node's own pair, ``secret`` opens the lobby, ``ipc_path`` is where local programs attach (None, or a platform
    without Unix sockets: they use the member door), ``host`` is the address to bind (all interfaces by default), ``port`` the
    lobby's (None: a free pair). ``lobby_port`` and ``door_port`` say what was bound, ``counters`` what was refused.
    Raises PortInUse, InvalidSetting, StateNotOurs, MachineError; nothing stays open after an error.
    """

    def __init__(
        self,
        keys: KeyPair,
        secret: FleetSecret,
        *,
        my_id: str,
        ipc_path: Path | None = None,
        host: str = "0.0.0.0",
        port: int | None = None,
        max_frame_bytes: int = 8 << 20,
    ) -> None:
        require_curve()
        raise_descriptor_limit()
        self.counters = Counters()
        self._notices = Notices()
        self._events: deque[TransportEvent] = deque()
        self._admitted: dict[int | str, Principal] = {}
        self._session_prefixes: set[bytes] = set()
        self._midway: set[Socket] = set()
        self._ready: dict[Source, None] = {}
        self._local: LocalDoor | None = None
        self._reactor = Reactor()
        self._context = make_context()
        self._bell = Bell()
        try:
            self._open_doors(keys, secret, ipc_path, host, port, max_frame_bytes)
        except BaseException:
            self._close(linger_ms=0)
            raise
        emit = self._events.append
        self._dialler = Dialler(self._context, self._reactor, keys, my_id, max_frame_bytes, self.counters, emit)
        self._links = self._dialler.links
        self._knocks = Knocks(self._context, self._reactor, keys, secret.lobby().public, self.counters, emit)

    def _open_doors(
        self, keys: KeyPair, secret: FleetSecret, ipc_path: Path | None, host: str, port: int | None, frame_bytes_max: int
    ) -> None:
        self._reactor.register(self._bell.fileno(), self._bell.hear)
        zap = Zap(self._context, self._decide)
        self._reactor.register(zap.socket, zap.serve)
        doors = Doors(self._context, keys, secret, host, port, frame_bytes_max)
        self.lobby_port, self.door_port = doors.lobby_port, doors.door_port
        self._door, self._lobby = doors.door, doors.lobby
        self._sources: dict[Source, Drain] = {self._door: self._drain_door, self._lobby: self._drain_lobby}
        for name, router in ((DOOR, self._door), (LOBBY, self._lobby)):
            monitor = Monitor(self._context, router, FAILED)
            self._reactor.register(monitor.socket, partial(self._count_failed, monitor, name))
        for source in self._sources:
            self._reactor.register(source, None)
        if ipc_path is not None and has_local_sockets():
            self._local = local = LocalDoor(ipc_path, self._reactor, frame_bytes_max, self.counters, self._notices, self._local_ready)
            self._sources[local.fileno()] = partial(self._drain_local, local)

    def _local_ready(self) -> None:
        if self._local is not None:
            self._ready[self._local.fileno()] = None

    # -- who may come in -------------------------------------------------------------------------------------------------

    def admit(self, keys: dict[bytes, str]) -> None:
        """The public keys (32 bytes) that may use the member door, each with its owner's id. Replaces the last set.

        Open connections of a key that is missing now stay open, but nothing that comes or would go through them passes.
        """
        self._admitted = {
            key.hex(): Principal(owner, CLAIM + owner.encode(), REMOTE + hashlib.sha256(key).digest()[:KEY_HASH_BYTES])
            for key, owner in keys.items()
        }
        self._session_prefixes = {principal.session_prefix for principal in self._admitted.values()}

    def _decide(self, domain: str, key: bytes, address: str) -> bool:
        if domain == LOBBY:
            return True  # the handshake has proved the fleet secret; the core decides about the key
        if domain == DOOR and key.hex() in self._admitted:
            return True
        self.counters.refused_keys += 1
        self._notices.warn("refused a connection with a key that is not admitted", address)
        return False

    def _count_failed(self, monitor: Monitor, name: str) -> None:
        count = sum(1 for _ in monitor.read())
        self.counters.failed_handshakes += count
        self._notices.warn("failed handshakes (wrong secret, no CURVE, or silence)", name)

    # -- peers, visitors ---------------------------------------------------------------------------------------------------

    def dial(self, peer: str, key: bytes, addresses: list[str]) -> None:
        """Keep a connection to an admitted node, or change where and with which key it is reached."""
        self._dialler.dial(peer, key, addresses)

    def hang_up(self, peer: str) -> None:
        """Close the connection to a node."""
        self._dialler.hang_up(peer)

    def send_peer(self, peer: str, envelope: bytes, payload: bytes) -> bool:
        """Send to a node; False when it is not connected now or its buffer is full. Nothing is kept for a later connection."""
        link = self._links.get(peer)
        if link is not None:
            try:
                link.send(envelope, zmq.SNDMORE | zmq.DONTWAIT)
                link.send(payload, zmq.DONTWAIT)
            except zmq.Again:
                pass
            else:
                return True
        self.counters.frames_unsent += 1
        return False

    def send_session(self, session: bytes, payload: bytes) -> bool:
        """Send to a client or worker; False when it is gone or its key is no longer admitted."""
        if session[:1] == LOCAL:
            return self._local is not None and self._local.send(session[1:], payload)
        prefix_bytes = 1 + KEY_HASH_BYTES
        if session[:prefix_bytes] not in self._session_prefixes:
            return False
        return self._route(self._door, session[prefix_bytes:], payload)

    def knock(self, address: str, payload: bytes) -> None:
        """Knock at the lobby at ``host:port``; a LobbyReply follows within two seconds."""
        self._knocks.knock(address, payload)

    def send_lobby(self, visitor: bytes, payload: bytes) -> None:
        """Answer a visitor."""
        self._route(self._lobby, visitor, payload)

    def _route(self, router: Socket, routing_id: bytes, payload: bytes) -> bool:
        self._reactor.used(router)
        try:
            router.send(routing_id, zmq.SNDMORE | zmq.DONTWAIT)
            router.send(payload, zmq.DONTWAIT)
        except zmq.ZMQError:  # EHOSTUNREACH: no such connection; EAGAIN: its buffer is full
            return False
        return True

    # -- the loop ------------------------------------------------------------------------------------------------------------

    def poll(self, timeout_s: float) -> None:
        """Wait until something has come, ``wake`` was called or the time is over; also earlier, for the transport's own affairs."""
        if self._ready or self._events:
            timeout_s = 0.0
        for source in self._reactor.wait(timeout_s):
            if isinstance(source, zmq.Socket):
                self._ready[source] = None

    def drain(self, limit: int) -> list[TransportEvent]:
        """At most ``limit`` events, without waiting. Doors that are ready at once get equal shares."""
        if not self._ready and not self._events:
            self.poll(0.0)
        events = self._events
        out: list[TransportEvent] = [events.popleft() for _ in range(min(limit, len(events)))]
        if self._ready and len(out) < limit:
            share = max(1, (limit - len(out)) // len(self._ready))
            for source in list(self._ready):
                if isinstance(source, zmq.Socket) and source in self._midway and not self._skip(source):
                    continue
                if len(out) < limit and self._sources[source](out, share):
                    del self._ready[source]
        return out

    def _drain_door(self, out: list[TransportEvent], limit: int) -> bool:
        """Messages of peers and of sessions from elsewhere.

        The key is looked up for every message: ZAP is asked at handshakes only.
        """
        door, admitted = self._door, self._admitted
        recv = door.recv
        for _ in range(limit):
            try:
                routing_id = recv(zmq.DONTWAIT)
            except zmq.Again:
                return True
            frame = recv(0, False)
            principal = admitted.get(frame.get(USER))
            if principal is None:
                self._count_not_admitted(str(frame.get("Peer-Address")))
            elif frame.more and routing_id[:-NONCE_BYTES] == principal.claim:
                last = recv(0, False)
                if not last.more:
                    out.append(PeerFrames(principal.id, frame.bytes, last.bytes))
                    continue
                self._count_malformed(principal.id)
            elif not frame.more and routing_id[:1] != CLAIM:
                out.append(SessionFrame(principal.session_prefix + routing_id, frame.bytes))
                continue
            else:
                self._count_malformed(principal.id)
            if not self._skip(door):
                return False
        return False

    @staticmethod
    def _drain_local(local: LocalDoor, out: list[TransportEvent], limit: int) -> bool:
        taken = local.take(limit)
        out += [SessionFrame(LOCAL + routing_id, payload) for routing_id, payload in taken]
        return len(taken) < limit

    def _drain_lobby(self, out: list[TransportEvent], limit: int) -> bool:
        lobby = self._lobby
        for _ in range(limit):
            try:
                visitor = lobby.recv(zmq.DONTWAIT)
            except zmq.Again:
                return True
            frame = lobby.recv(0, False)
            if not frame.more:
                out.append(Knocked(visitor, bytes.fromhex(str(frame.get(USER))), frame.bytes))
                continue
            self._count_malformed("a visitor")
            if not self._skip(lobby):
                return False
        return False

    def _count_not_admitted(self, address: str) -> None:
        self.counters.frames_not_admitted += 1
        self._notices.warn("dropped a message under a key that is no longer admitted", address)

    def _count_malformed(self, who: str) -> None:
        self.counters.frames_malformed += 1
        self._notices.warn("dropped a malformed message", who)

    def _skip(self, router: Socket) -> bool:
        """Pass over the rest of a message; False when more is left, as one of very many parts takes several turns."""
        for _ in range(SKIPPED_PER_TURN):
            if not router.getsockopt(zmq.RCVMORE):
                self._midway.discard(router)
                return True
            router.recv()
        self._midway.add(router)
        return False

    # -- waking and closing -----------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """End a ``poll`` from any thread; many calls before the next turn cost as much as one."""
        self._bell.ring()

    def close(self) -> None:
        """Close all sockets, after at most a fraction of a second for what is queued to leave. A second call does nothing."""
        self._dialler.close()
        self._close(LINGER_MS)

    def _close(self, linger_ms: int) -> None:
        self._bell.close()
        if self._local is not None:
            self._local.close()
        self._context.destroy(linger=linger_ms)
        self._reactor.close()
