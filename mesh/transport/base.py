"""What a node needs of a network: frames in and out, with who sent them.

Events come out of :meth:`Transport.drain`; nothing here knows what a payload means.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class PeerFrames(NamedTuple):
    """Two frames from another admitted node, authenticated by its key."""

    peer: str
    envelope: bytes
    payload: bytes


class SessionFrame(NamedTuple):
    """A frame from a client or worker. ``session`` is stable for one attachment and can't be chosen by others."""

    session: bytes
    payload: bytes


class Knocked(NamedTuple):
    """A frame through the lobby from one who proved to hold the fleet secret. ``key`` is its proved public key (32 bytes)."""

    visitor: bytes
    key: bytes
    payload: bytes


class LobbyReply(NamedTuple):
    """The answer to our own knock at ``address`` (``host:port``); ``payload`` is empty when that door did not open to our secret."""

    address: str
    payload: bytes


class PeerRefused(NamedTuple):
    """The peer's host actively refused a connection at its last good address: its process is gone."""

    peer: str


class PeerConnected(NamedTuple):
    """Our connection to the peer finished its handshake, for the first time or again."""

    peer: str


TransportEvent = PeerFrames | SessionFrame | Knocked | LobbyReply | PeerRefused | PeerConnected


class Transport(Protocol):
    """The sockets of one node. Only :meth:`wake` may be called from another thread."""

    def dial(self, peer: str, key: bytes, addresses: list[str]) -> None:
        """Keep a connection to an admitted node, or change where and with which key it is reached."""

    def hang_up(self, peer: str) -> None:
        """Close the connection to a node."""

    def send_peer(self, peer: str, envelope: bytes, payload: bytes) -> bool:
        """Send to a node; False when that is impossible now (not dialled, or its buffer is full)."""

    def send_session(self, session: bytes, payload: bytes) -> bool:
        """Send to a client or worker; False when it is gone."""

    def knock(self, address: str, payload: bytes) -> None:
        """Knock at the lobby at ``host:port``; a LobbyReply follows within its timeout."""

    def send_lobby(self, visitor: bytes, payload: bytes) -> None:
        """Answer a visitor."""

    def admit(self, keys: dict[bytes, str]) -> None:
        """The public keys (32 bytes) that may connect to the member door, each with the id of its owner. Replaces the last set."""

    def poll(self, timeout_s: float) -> None:
        """Wait until something has come, ``wake`` was called or the time is over."""

    def drain(self, limit: int) -> list[TransportEvent]:
        """At most ``limit`` events, without waiting."""

    def wake(self) -> None:
        """End a ``poll`` from any thread."""

    def close(self) -> None:
        """Close all sockets, after at most a fraction of a second for what is queued to leave."""
