"""Is the process behind an address gone? A plain TCP connect tells what ZeroMQ keeps to itself: refused, or merely silent."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from mesh.transport.poller import WRITE
from mesh.transport.reactor import Reactor

PROBE_TIMEOUT_S = 1.0


class Probes:
    """Plain connects that are under way."""

    def __init__(self, reactor: Reactor) -> None:
        self._reactor = reactor
        self._open: set[socket.socket] = set()

    def probe(self, address: str, refused: Callable[[], None]) -> None:
        """Connect once to ``host:port`` without waiting; call ``refused`` if the host says that nobody listens there.

        Any other outcome (accepted, unreachable, silence, a host name instead of a numeric address) is no evidence and calls nothing.
        """
        host, _, port = address.rpartition(":")
        try:
            family, kind, protocol, _, target = socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            )[0]
            attempt = socket.socket(family, kind, protocol)
        except OSError:  # not an address, or out of descriptors: no evidence
            return
        attempt.setblocking(False)
        code = attempt.connect_ex(target)
        if code not in (errno.EINPROGRESS, errno.EWOULDBLOCK):
            attempt.close()
            if code == errno.ECONNREFUSED:
                refused()
            return
        self._open.add(attempt)

        def finish() -> None:
            if attempt not in self._open:
                return
            self._open.discard(attempt)
            self._reactor.forget(attempt.fileno())
            code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            attempt.close()
            if code == errno.ECONNREFUSED:
                refused()

        self._reactor.register(attempt.fileno(), finish, WRITE)
        self._reactor.after(PROBE_TIMEOUT_S, finish)

    def close(self) -> None:
        """Give up what is under way."""
        for attempt in self._open:
            attempt.close()
        self._open.clear()
