"""Knocking at other nodes' lobbies, for a node: several at once, each answered within its timeout."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from mesh.transport.base import LobbyReply
from mesh.transport.curve import KeyPair
from mesh.transport.notices import Counters
from mesh.transport.reactor import Reactor
from mesh.transport.sockets import OVER, Context, Monitor, Socket, connect_tcp, open_dealer, speak_curve

LOBBY_FRAME_BYTES_MAX = 64 << 10
"""Visitors are let in by a shared secret only; an answer lists the members of a mesh of a few dozen machines."""
KNOCK_TIMEOUT_S = 2.0
KNOCKS_MAX = 32


def open_visit(context: Context, address: str, keys: KeyPair, lobby_key: bytes, payload: bytes) -> tuple[Socket, Monitor]:
    """A connection on its way to the lobby at ``host:port`` with ``payload`` as its first frame.

    Its handshake succeeds only with one who holds the same fleet secret, so nothing is told to anyone else.
    Raises zmq.ZMQError when ``address`` is none.
    """
    socket = open_dealer(context, LOBBY_FRAME_BYTES_MAX)
    speak_curve(socket, keys, lobby_key)
    monitor = Monitor(context, socket, OVER)
    try:
        connect_tcp(socket, address)
    except zmq.ZMQError:
        monitor.close()
        socket.close(linger=0)
        raise
    socket.send(payload, zmq.DONTWAIT)
    return socket, monitor


class Knocks:
    """Our knocks that are under way, at most one for each address."""

    def __init__(
        self, context: Context, reactor: Reactor, keys: KeyPair, lobby_key: bytes, counters: Counters, emit: Callable[[LobbyReply], None]
    ) -> None:
        self._context = context
        self._reactor = reactor
        self._keys = keys
        self._lobby_key = lobby_key
        self._counters = counters
        self._emit = emit
        self._visits: dict[str, tuple[Socket, Monitor]] = {}

    def knock(self, address: str, payload: bytes) -> None:
        """Knock; the answer, or an empty one, comes as LobbyReply. A knock while one is under way there shares its answer."""
        if address in self._visits:
            return
        if len(self._visits) >= KNOCKS_MAX:
            self._counters.knocks_dropped += 1
            self._emit(LobbyReply(address, b""))
            return
        try:
            visit = open_visit(self._context, address, self._keys, self._lobby_key, payload)
        except zmq.ZMQError:
            self._emit(LobbyReply(address, b""))
            return
        self._visits[address] = visit
        socket, monitor = visit
        self._reactor.register(socket, lambda: self._answered(address, visit))
        self._reactor.register(monitor.socket, lambda: self._closed(address, visit))
        self._reactor.after(KNOCK_TIMEOUT_S, lambda: self._finish(address, visit, b""))

    def _answered(self, address: str, visit: tuple[Socket, Monitor]) -> None:
        try:
            frames = visit[0].recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return
        self._finish(address, visit, frames[0] if len(frames) == 1 else b"")

    def _closed(self, address: str, visit: tuple[Socket, Monitor]) -> None:
        if any(event & OVER for event in visit[1].read()):
            self._answered(address, visit)  # an answer may have come just before the end
            self._finish(address, visit, b"")

    def _finish(self, address: str, visit: tuple[Socket, Monitor], answer: bytes) -> None:
        if self._visits.get(address) is not visit:
            return
        del self._visits[address]
        socket, monitor = visit
        self._reactor.forget(socket)
        self._reactor.forget(monitor.socket)
        monitor.close()
        socket.close(linger=0)
        self._emit(LobbyReply(address, answer))
