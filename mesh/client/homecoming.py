"""The way back from a node of another machine to the one on this machine, when that is there again.

The new attachment stands before the old one ends, and the old connection stays for a moment: a node whose session ends at once would call
the worker lost before the coordinator has heard of it by the new way.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from mesh.errors import MeshError, RemoteProtocolError
from mesh.wire.frames import decode_reply
from mesh.wire.messages import Attached

if TYPE_CHECKING:
    from mesh.client.link import Channel, Nodes

LOOK_S = 2.0
"""Pause between two looks for the node of this machine."""
ANSWER_S = 1.0
PARTING_S = 2.0
"""How long the old connection stays; what still comes by it is void, and is sent again by the new way."""


class Homecoming:
    """Belongs to a link that is attached elsewhere. Never waits."""

    def __init__(self, nodes: Nodes, greeting: bytes) -> None:
        self._nodes = nodes
        self._greeting = greeting
        self._look_at_s = 0.0
        self._candidate: Channel | None = None
        self._answer_until_s = 0.0
        self._parting: list[tuple[float, Channel]] = []

    def look(self, now_s: float) -> tuple[Channel, Attached] | None:
        """The connection to the node of this machine and its greeting, when there is one."""
        if self._candidate is None:
            if now_s >= self._look_at_s:
                self._look_at_s, self._answer_until_s = now_s + LOOK_S, now_s + ANSWER_S
                with contextlib.suppress(MeshError):  # our own files: the node elsewhere serves as well
                    self._candidate = self._nodes.local()
                if self._candidate is not None:
                    self._candidate.send(self._greeting)
            return None
        frame = self._candidate.recv()
        if frame is None and not self._candidate.lost and now_s < self._answer_until_s:
            return None
        candidate, self._candidate = self._candidate, None
        with contextlib.suppress(RemoteProtocolError):
            reply = decode_reply(frame) if frame is not None else None
            if isinstance(reply, Attached):
                return candidate, reply
        candidate.close()
        return None

    def part(self, channel: Channel, now_s: float) -> None:
        """The old connection, which is closed a moment later."""
        self._parting.append((now_s + PARTING_S, channel))

    def tick(self, now_s: float) -> None:
        """Close what was left, and read what still comes by it, so that nobody wakes for it."""
        for until_s, channel in list(self._parting):
            while channel.recv() is not None:
                pass
            if now_s >= until_s or channel.lost:
                self._parting.remove((until_s, channel))
                channel.close()

    def give_up(self) -> None:
        """The link is at home, or without a node."""
        if self._candidate is not None:
            self._candidate.close()
            self._candidate = None

    def close(self) -> None:
        """Close all that is open."""
        self.give_up()
        for _, channel in self._parting:
            channel.close()
        self._parting.clear()
