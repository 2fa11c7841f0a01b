"""Large bodies on their way out: programs ask for chunks one by one; a node that lacks one has the coordinator send it."""

from __future__ import annotations

from collections.abc import Callable

from mesh.core.cluster.bodies import Bodies
from mesh.core.turn import Turn
from mesh.wire.entries import Chunks
from mesh.wire.messages import Fetch, Fetched, PeerMessage

RELAYED_MAX = 10_000
"""Requests under way to the coordinator; the oldest go first, and are asked again."""


class Fetches:
    """Serves the chunks that this node has, to its programs and as the coordinator to other nodes."""

    def __init__(self, bodies: Bodies, turn: Turn, to_coordinator: Callable[[PeerMessage], bool], leads: Callable[[], bool]) -> None:
        self.is_lost: Callable[[Chunks], bool] = bodies.is_lost
        """As the coordinator: whether a body will never be whole."""
        self._bodies = bodies
        self._turn = turn
        self._to_coordinator = to_coordinator
        self._leads = leads
        self._relayed: dict[int, tuple[bytes, int]] = {}
        """Number of a request to the coordinator, to the session that asked and its own number."""
        self._number = 0

    def on_session(self, session: bytes, fetch: Fetch) -> None:
        """A program wants a chunk."""
        if self._serve(fetch, lambda reply: self._turn.to_session(session, reply)) or self._leads():
            return
        self._number += 1
        if len(self._relayed) >= RELAYED_MAX:
            del self._relayed[next(iter(self._relayed))]
        self._relayed[self._number] = (session, fetch.number)
        self._to_coordinator(Fetch(self._number, fetch.chunks, fetch.index))

    def on_peer(self, peer: str, fetch: Fetch) -> None:
        """A node wants a chunk for a program of its own."""
        self._serve(fetch, lambda reply: self._turn.to_peer(peer, reply))

    def _serve(self, fetch: Fetch, reply: Callable[[Fetched], None]) -> bool:
        def found(data: bytes | None) -> None:
            if data is not None:
                reply(Fetched(fetch.number, fetch.index, data))
            elif self._knows_lost(fetch):
                reply(self._lost(fetch))

        if self._bodies.read(fetch.chunks.body, fetch.index, found):
            return True
        if self._knows_lost(fetch):
            reply(self._lost(fetch))
            return True
        return False  # a merge may still bring it: who asks asks again

    def _knows_lost(self, fetch: Fetch) -> bool:
        """Only the coordinator can: this node may have dropped what others hold (R18b), also while the chunk was being read."""
        return self._leads() and self.is_lost(fetch.chunks)

    @staticmethod
    def _lost(fetch: Fetch) -> Fetched:
        return Fetched(
            fetch.number, fetch.index, b"", f"lost: chunk {fetch.index} of {fetch.chunks.count} is on no disk of the mesh any more"
        )

    def on_fetched(self, fetched: Fetched) -> None:
        """The coordinator's answer."""
        asker = self._relayed.pop(fetched.number, None)
        if asker is not None:
            session, number = asker
            self._turn.to_session(session, Fetched(number, fetched.index, fetched.data, fetched.error))
