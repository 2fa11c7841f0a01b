"""Numbers on messages between nodes, so that loss, repetition and restarts are noticed.

ZeroMQ keeps order and loses nothing within a connection, but a reconnect may lose what was under way. Each direction is a channel
of numbered messages; a gap makes the receiver ask for a new channel, which makes both sides reconcile.
"""

from __future__ import annotations

from enum import Enum

from mesh.wire.frames import Envelope


class Arrival(Enum):
    """What to do with a message that has come."""

    NEXT = "next"
    """It is the next one."""
    NEXT_OF_NEW_PROCESS = "new process"
    """It is the first one of a sender that has restarted."""
    STALE = "stale"
    """Seen before, or of an old channel: drop it."""
    GAP = "gap"
    """Something before it was lost: drop it and ask for a new channel."""
    KNOWN_GAP = "known gap"
    """As GAP, already asked."""


class Channel:
    """Both directions of the channel between this node process and one peer."""

    __slots__ = ("_asked", "_epoch", "_in_epoch", "_in_incarnation", "_in_number", "_incarnation", "_number")

    def __init__(self, incarnation: bytes) -> None:
        self._incarnation = incarnation
        self._epoch = 1
        self._number = 0
        self._in_incarnation = b""
        self._in_epoch = 0
        self._in_number = 0
        self._asked = (b"", 0)

    def is_of_another(self, incarnation: bytes) -> bool:
        """Whether this is not the peer's process that was heard last."""
        return self._in_incarnation not in (b"", incarnation)

    def next_envelope(self) -> Envelope:
        """The envelope of the next message to send."""
        self._number += 1
        return Envelope(self._incarnation, self._epoch, self._number)

    def arrive(self, envelope: Envelope) -> Arrival:
        """Judge a message that has come."""
        incarnation, epoch, number = envelope
        if incarnation == self._in_incarnation and epoch == self._in_epoch:
            if number == self._in_number + 1:
                self._in_number = number
                return Arrival.NEXT
            return Arrival.STALE if number <= self._in_number else self._gap(incarnation, epoch)
        if incarnation == self._in_incarnation and epoch < self._in_epoch:
            return Arrival.STALE
        if number != 1:
            return self._gap(incarnation, epoch)
        fresh = incarnation != self._in_incarnation
        self._in_incarnation, self._in_epoch, self._in_number = incarnation, epoch, 1
        return Arrival.NEXT_OF_NEW_PROCESS if fresh else Arrival.NEXT

    def reset(self, incarnation: bytes, epoch: int) -> bool:
        """The peer missed messages of our channel: open a new one. False when that has been done already."""
        if incarnation != self._incarnation or epoch != self._epoch:
            return False
        self._epoch += 1
        self._number = 0
        return True

    def _gap(self, incarnation: bytes, epoch: int) -> Arrival:
        if self._asked == (incarnation, epoch):
            return Arrival.KNOWN_GAP
        self._asked = (incarnation, epoch)
        return Arrival.GAP

    def ask_again(self) -> None:
        """The request for a new channel may have been lost: the next gap is reported anew."""
        self._asked = (b"", 0)
