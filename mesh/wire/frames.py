"""Frames: protocol messages to bytes and back, with validation by type.

Between nodes a message is two frames: an envelope ``[incarnation, epoch, number]`` that makes loss and repetition visible
across reconnects, and the payload. Elsewhere a message is one frame.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mesh.errors import RemoteProtocolError
from mesh.wire.entries import Entry
from mesh.wire.messages import LobbyMessage, PeerMessage, SessionReply, SessionRequest


class Envelope(NamedTuple):
    """Place of a message in the stream from one node process to another."""

    incarnation: bytes
    """First 8 bytes of the sender's journal name: one per process start."""
    epoch: int
    """Counts the channels that this sender opened to this receiver."""
    number: int
    """1, 2, 3 ... within the channel."""


_encoder = msgspec.msgpack.Encoder()
encode = _encoder.encode
"""Any protocol struct, entry or envelope to bytes."""

_peer = msgspec.msgpack.Decoder(PeerMessage)
_request = msgspec.msgpack.Decoder(SessionRequest)
_reply = msgspec.msgpack.Decoder(SessionReply)
_lobby = msgspec.msgpack.Decoder(LobbyMessage)
_envelope = msgspec.msgpack.Decoder(Envelope)
_entry = msgspec.msgpack.Decoder(Entry)


def _decode(decoder: msgspec.msgpack.Decoder[Any], frame: bytes | memoryview) -> Any:
    try:
        return decoder.decode(frame)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise RemoteProtocolError(f"malformed frame: {error}") from error


def decode_peer(frame: bytes | memoryview) -> PeerMessage:
    """A message from another node. Raises RemoteProtocolError."""
    return _decode(_peer, frame)  # type: ignore[no-any-return]


def decode_envelope(frame: bytes | memoryview) -> Envelope:
    """The envelope of a message from another node. Raises RemoteProtocolError."""
    return _decode(_envelope, frame)  # type: ignore[no-any-return]


def decode_request(frame: bytes | memoryview) -> SessionRequest:
    """A message from a client or worker to its node. Raises RemoteProtocolError."""
    return _decode(_request, frame)  # type: ignore[no-any-return]


def decode_reply(frame: bytes | memoryview) -> SessionReply:
    """A message from a node to a client or worker. Raises RemoteProtocolError."""
    return _decode(_reply, frame)  # type: ignore[no-any-return]


def decode_lobby(frame: bytes | memoryview) -> LobbyMessage:
    """A message through the lobby. Raises RemoteProtocolError."""
    return _decode(_lobby, frame)  # type: ignore[no-any-return]


def decode_entry(blob: bytes | memoryview) -> Entry:
    """A replicated entry as it lies on disk. Raises RemoteProtocolError."""
    return _decode(_entry, blob)  # type: ignore[no-any-return]
