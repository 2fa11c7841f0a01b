"""Who may complete a handshake: the ZAP handler (RFC 27/ZAP), served from the node's own loop."""

from __future__ import annotations

from collections.abc import Callable

import zmq

from mesh.transport.curve import KEY_BYTES
from mesh.transport.sockets import Context

ENDPOINT = "inproc://zeromq.zap.01"
REQUESTS_PER_TURN = 64
DOOR = "door"
LOBBY = "lobby"

Decide = Callable[[str, bytes, str], bool]
"""(domain, public key, address of the other side) to whether it may come in."""


class Zap:
    """Answers libzmq's questions. An accepted connection's messages carry the key in hexadecimal as ``User-Id``.

    To be made before any server socket of the context is bound.
    """

    def __init__(self, context: Context, decide: Decide) -> None:
        self._decide = decide
        self.socket = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(ENDPOINT)

    def serve(self) -> None:
        """Answer what has come, without waiting."""
        for _ in range(REQUESTS_PER_TURN):
            try:
                request = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.socket.send_multipart(self._answer(request))

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """From [version, number, domain, address, routing id, mechanism, key] to [version, number, code, text, user, metadata]."""
        number = request[1] if len(request) > 1 else b""
        if len(request) != 7 or request[0] != b"1.0" or request[5] != b"CURVE" or len(request[6]) != KEY_BYTES:
            return [b"1.0", number, b"400", b"only CURVE opens this door", b"", b""]
        key = request[6]
        if not self._decide(request[2].decode("latin-1"), key, request[3].decode("latin-1")):
            return [b"1.0", number, b"400", b"this key is not admitted", b"", b""]
        return [b"1.0", number, b"200", b"OK", key.hex().encode(), b""]
