"""ZMTP 3.1 with the NULL mechanism (RFC 37/ZMTP), what ``ipc://`` speaks: bytes to messages and back, without I/O.

So both ends of a connection within one machine can be in the thread that needs them (docs/decisions/041), and each of them still talks
to a libzmq at the other end.
"""

from __future__ import annotations

from mesh.errors import RemoteProtocolError

MORE = 1
LONG = 2
COMMAND = 4
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_VERSION = b"\x03\x01"
_MECHANISM = b"NULL".ljust(20, b"\0")
_GREETING = _SIGNATURE + _VERSION + _MECHANISM + bytes(32)
_GREETING_BYTES = len(_GREETING)
_SHORT_MAX = 255
_COMMAND_BYTES_MAX = 4096
"""Room for the metadata of a handshake; other commands are smaller."""
_CONTEXT_BYTES_MAX = 16
"""Of a PING, to be repeated in its PONG."""
DEALER = b"DEALER"
ROUTER = b"ROUTER"
_PARTNERS = {DEALER: (ROUTER,), ROUTER: (DEALER, b"REQ", ROUTER)}


def frame(payload: bytes, flags: int = 0) -> bytes:
    """A frame as it travels."""
    size = len(payload)
    if size > _SHORT_MAX:
        return bytes((flags | LONG,)) + size.to_bytes(8, "big") + payload
    return bytes((flags, size)) + payload


def hello(kind: bytes, routing_id: bytes = b"") -> bytes:
    """All that one side of the handshake says: greeting and READY. As NULL is the only mechanism, there is nothing to wait for."""
    properties = ((b"Socket-Type", kind), (b"Identity", routing_id))
    metadata = b"".join(bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value for name, value in properties)
    return _GREETING + frame(b"\5READY" + metadata, COMMAND)


class Decoder:
    """The messages that the other side of one connection sends to a socket of type ``kind``; each is one frame, of at most
    ``frame_bytes_max``.
    """

    def __init__(self, kind: bytes, frame_bytes_max: int) -> None:
        self.ready = False
        """The handshake is done."""
        self.routing_id = b""
        """What the other side wants to be called, known when it is ready; empty for no matter what."""
        self.malformed = 0
        """Messages of several frames that were passed over."""
        self.replies = b""
        """What has to be sent back for what was decoded: take it and empty it."""
        self._kind = kind
        self._frame_bytes_max = frame_bytes_max
        self._greeted = False
        self._midway = False
        self._data: bytes | bytearray = b""
        self._at = 0

    def feed(self, data: bytes) -> None:
        """More bytes have come."""
        if self._at == len(self._data):
            self._data, self._at = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data, self._at = bytearray(self._data[self._at :]), 0
        elif self._at:
            del self._data[: self._at]
            self._at = 0
        self._data += data

    def message(self) -> bytes | None:
        """The next message, None when it has not come as a whole; one of several frames is passed over.

        Raises RemoteProtocolError for what is not ZMTP or beyond the limits: nothing more can be decoded then.
        """
        while self._greeted or self._greet():
            found = self._frame()
            if found is None:
                return None
            flags, payload = found
            if flags & COMMAND:
                self._obey(payload)
            elif not self.ready:
                raise RemoteProtocolError("a message before the handshake")
            elif flags & MORE:
                self._midway = True
            elif self._midway:
                self._midway = False
                self.malformed += 1
            else:
                return payload
        return None

    def _greet(self) -> bool:
        """Whether the whole greeting has come."""
        greeting = bytes(self._data[self._at : self._at + _GREETING_BYTES])
        if not _SIGNATURE.startswith(greeting[:1]) or (len(greeting) > 9 and not greeting[9] & 1):
            raise RemoteProtocolError("not ZMTP")
        if len(greeting) > 10 and greeting[10] < _VERSION[0]:
            raise RemoteProtocolError("a version of ZMTP before 3")
        if len(greeting) < _GREETING_BYTES:
            return False
        if greeting[12:32] != _MECHANISM:
            raise RemoteProtocolError("another mechanism than NULL")
        self._at += _GREETING_BYTES
        self._greeted = True
        return True

    def _frame(self) -> tuple[int, bytes] | None:
        data, at = self._data, self._at
        have = len(data) - at
        if have < 2:
            return None
        flags = data[at]
        if flags & LONG:
            if have < 9:
                return None
            size, start = int.from_bytes(data[at + 1 : at + 9], "big"), at + 9
        else:
            size, start = data[at + 1], at + 2
        if flags > 7 or size > (_COMMAND_BYTES_MAX if flags & COMMAND else self._frame_bytes_max):
            raise RemoteProtocolError("a frame beyond the limit")
        end = start + size
        if end > len(data):
            return None
        self._at = end
        payload = data[start:end]
        return flags, payload if isinstance(payload, bytes) else bytes(payload)

    # -- commands --------------------

    def _obey(self, body: bytes) -> None:
        name_end = 1 + body[0] if body else 0
        name, data = body[1:name_end], body[name_end:]
        if name == b"READY" and not self.ready:
            self._introduced(data)
        elif name == b"ERROR" or not self.ready:
            raise RemoteProtocolError("the other side refused the handshake")
        elif name == b"PING":
            self.replies += frame(b"\4PONG" + data[2 : 2 + _CONTEXT_BYTES_MAX], COMMAND)

    def _introduced(self, metadata: bytes) -> None:
        properties: dict[bytes, bytes] = {}
        at = 0
        while at < len(metadata):
            name_end = at + 1 + metadata[at]
            start = name_end + 4
            end = start + int.from_bytes(metadata[name_end:start], "big")
            if end > len(metadata):
                raise RemoteProtocolError("broken metadata")
            properties[metadata[at + 1 : name_end].lower()] = metadata[start:end]
            at = end
        if properties.get(b"socket-type") not in _PARTNERS[self._kind]:
            raise RemoteProtocolError("a socket of a type that does not fit")
        self.routing_id = properties.get(b"identity", b"")
        self.ready = True
