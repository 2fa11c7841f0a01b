"""Where the chunks of large bodies are.

A chunk is an entry like any other, so one stream form replicates, settles and recovers it (docs/decisions/070). Its bytes leave the memory
as soon as they are on this disk: who needs them later has them read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from mesh.core.cluster.replica import Journal, Replica
from mesh.core.turn import Turn
from mesh.wire.entries import Chunk, Chunks, Entry

Place = tuple[Journal, int]


class Bodies:
    """The chunks that this node holds, by body and index."""

    def __init__(self, replica: Replica, turn: Turn) -> None:
        self._replica = replica
        self._turn = turn
        self._places: dict[bytes, dict[int, Place]] = {}
        self._doubles: dict[bytes, list[tuple[int, Place]]] = {}
        """Chunks that lie in a second place, as what was salvaged of a damaged disk was written anew."""
        self._warm: deque[tuple[int, Journal, int]] = deque()
        """(mark, journal, sequence) of those whose bytes are in memory, as they came."""
        replica.on_added.append(self._on_added)
        replica.on_settled.append(self._on_settled)
        replica.on_dropped.append(self._on_dropped)

    def load(self) -> None:
        """Index what the replica has restored."""
        for journal in self._replica.journals.values():
            for sequence, entry in journal.live.items():
                if type(entry) is Chunk:
                    self._place(journal, sequence, entry)

    def _place(self, journal: Journal, sequence: int, chunk: Chunk) -> None:
        places = self._places.setdefault(chunk.body, {})
        if chunk.index in places:
            self._doubles.setdefault(chunk.body, []).append((chunk.index, (journal, sequence)))
        else:
            places[chunk.index] = (journal, sequence)

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if type(entry) is Chunk:
            self._place(journal, sequence, entry)
            self._warm.append((self._turn.mark, journal, sequence))

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if type(entry) is not Chunk:
            return
        place = (journal, sequence)
        doubles = self._doubles.get(entry.body, [])
        if (entry.index, place) in doubles:
            doubles.remove((entry.index, place))
        else:
            places = self._places[entry.body]
            del places[entry.index]
            for index, other in doubles:
                if index == entry.index:
                    places[index] = other
                    doubles.remove((index, other))
                    break
            if not places:
                del self._places[entry.body]
        if not doubles:
            self._doubles.pop(entry.body, None)

    def _on_dropped(self, journal: Journal) -> None:
        for sequence, entry in journal.live.items():
            self._on_settled(journal, sequence, entry)

    def cool(self) -> None:
        """Forget the bytes of what is on this disk by now."""
        warm, durable = self._warm, self._turn.durable_mark
        while warm and warm[0][0] <= durable:
            _, journal, sequence = warm.popleft()
            entry = journal.live.get(sequence)
            if type(entry) is Chunk:
                journal.live[sequence] = entry.cold()

    # -- questions --------------------

    def __iter__(self) -> Iterator[bytes]:
        """Ids of the bodies of which there is a chunk."""
        return iter(list(self._places))

    def places(self, body: bytes) -> list[Place]:
        """Where the chunks of a body are."""
        return [*self._places.get(body, {}).values(), *(place for _, place in self._doubles.get(body, ()))]

    def is_whole(self, chunks: Chunks) -> bool:
        """Whether every chunk is here."""
        return len(self._places.get(chunks.body, ())) >= chunks.count

    def is_lost(self, chunks: Chunks) -> bool:
        """Whether a chunk is not here, and will not come: this node has seen the journal up to the last of them."""
        journal = self._replica.journals.get(chunks.journal)
        return journal is not None and journal.upto >= chunks.last and not self.is_whole(chunks)

    def read(self, body: bytes, index: int, then: Callable[[bytes | None], None]) -> bool:
        """Call ``then`` with the bytes of a chunk, or with None when it was settled meanwhile; False when it is not here."""
        place = self._places.get(body, {}).get(index)
        if place is None:
            return False
        journal, sequence = place
        entry = journal.live[sequence]
        if type(entry) is Chunk and entry.data:
            then(entry.data)
        else:
            self._replica.reads.ask(journal.name, (sequence,), lambda found: then(found[0].data if type(found[0]) is Chunk else None))
        return True
