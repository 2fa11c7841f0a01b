"""What the core has decided since the loop last took it: messages to send and the transaction to commit.

``mark`` is the core's logical time. Whatever was decided at mark m is covered by a batch or a replication stream that was cut at
mark >= m; each cut begins a new mark. "Has copies" is therefore one comparison (see cluster/replication.py).
"""

from __future__ import annotations

from mesh.core.effects import Batch, Read
from mesh.wire.messages import HeadState, PeerMessage, SessionReply


class Turn:
    """Collects effects in the order of execution: write, sync, then send."""

    def __init__(self) -> None:
        self.mark = 1
        self.durable_mark = 0
        self._peers: list[tuple[str, PeerMessage]] = []
        self._sessions: list[tuple[bytes, SessionReply]] = []
        self._reads: list[Read] = []
        self._entries: dict[tuple[bytes, int], bytes] = {}
        self._batch = Batch(1)
        self._urgent = False
        """Something of the batch is waited for."""
        self._held_peers: list[tuple[str, PeerMessage]] = []
        self._held_sessions: list[tuple[bytes, SessionReply]] = []
        self._in_flight: tuple[int, int, list[tuple[str, PeerMessage]], list[tuple[bytes, SessionReply]]] | None = None

    # -- messages that may leave now --------------------

    def to_peer(self, peer: str, message: PeerMessage) -> None:
        """Send to another node."""
        self._peers.append((peer, message))

    def to_session(self, session: bytes, message: SessionReply) -> None:
        """Send to an attached program."""
        self._sessions.append((session, message))

    # -- messages that wait for the disk --------------------

    def to_peer_after_commit(self, peer: str, message: PeerMessage) -> None:
        """Send to another node once all that was decided so far is on this disk."""
        self._held_peers.append((peer, message))

    def to_session_after_commit(self, session: bytes, message: SessionReply) -> None:
        """Send to an attached program once all that was decided so far is on this disk."""
        self._held_sessions.append((session, message))

    # -- rows to be read --------------------

    def read(self, read: Read) -> None:
        """Have rows of committed entries read."""
        self._reads.append(read)

    def take_reads(self) -> list[Read]:
        """The rows to read; each read is handed out once."""
        if not self._reads:
            return []
        taken, self._reads = self._reads, []
        return taken

    # -- the transaction --------------------

    def write(self, journal: bytes, sequence: int, blob: bytes) -> None:
        """Insert an entry."""
        self._urgent = True
        self._entries[journal, sequence] = blob

    def settle(self, journal: bytes, sequence: int, *, patient: bool = False) -> None:
        """Delete an entry; one that this batch would have inserted never reaches the disk. ``patient``: nobody waits for it."""
        if self._entries.pop((journal, sequence), None) is None:
            self._batch.settled.append((journal, sequence))
            self._urgent = self._urgent or not patient

    def move_head(self, head: HeadState) -> None:
        """Note how far a journal has come."""
        self._urgent = True
        self._batch.heads[head.journal] = head

    def drop(self, journal: bytes) -> None:
        """Forget a journal: entries and context in one transaction (R18b)."""
        self._urgent = True
        self._batch.dropped.append(journal)
        self._batch.heads.pop(journal, None)
        for key in [key for key in self._entries if key[0] == journal]:
            del self._entries[key]

    def vote(self, term: int, voted_for: str) -> None:
        """Note the term and the vote in it."""
        self._urgent = True
        self._batch.vote = (term, voted_for)

    def recovered(self) -> None:
        """Note that what was salvaged is dealt with."""
        self._urgent = True
        self._batch.recovered = True

    # -- for the loop --------------------

    @property
    def silent(self) -> bool:
        """Whether there is nothing that may leave now."""
        return not (self._peers or self._sessions)

    def take_messages(self) -> tuple[list[tuple[str, PeerMessage]], list[tuple[bytes, SessionReply]]]:
        """What may leave now; each is handed out once."""
        taken = (self._peers, self._sessions)
        self._peers, self._sessions = [], []
        return taken

    @property
    def patient(self) -> bool:
        """Whether there is something to commit, and nothing of it is urgent."""
        return not self._urgent and bool(self._batch.settled) and not (self._held_peers or self._held_sessions)

    def take_batch(self) -> Batch | None:
        """The transaction to commit, or None when there is nothing or the last one is still under way.

        Messages that wait for the disk although nothing is to be written are let go, as all before them is durable.
        """
        if self._in_flight is not None:
            return None
        batch = self._batch
        if not (self._entries or batch):
            if self._held_peers or self._held_sessions:
                self._release(self._held_peers, self._held_sessions)
                self._held_peers, self._held_sessions = [], []
            self.durable_mark = self.mark
            self.mark += 1
            return None
        batch.entries = [(journal, sequence, blob) for (journal, sequence), blob in self._entries.items()]
        self._entries = {}
        self._urgent = False
        self._in_flight = (batch.number, self.mark, self._held_peers, self._held_sessions)
        self._held_peers, self._held_sessions = [], []
        self._batch = Batch(batch.number + 1)
        self.mark += 1
        return batch

    def committed(self, number: int) -> None:
        """The batch of that number is on the disk."""
        assert self._in_flight is not None, "a commit that was not under way"
        expected, mark, peers, sessions = self._in_flight
        assert number == expected, "commits out of order"
        self._in_flight = None
        self.durable_mark = mark
        self._release(peers, sessions)

    def _release(self, peers: list[tuple[str, PeerMessage]], sessions: list[tuple[bytes, SessionReply]]) -> None:
        self._peers += peers
        self._sessions += sessions

    @property
    def idle(self) -> bool:
        """Whether nothing is to be sent, written or waited for."""
        waiting = self._peers or self._sessions or self._held_peers or self._held_sessions or self._entries or self._batch
        return not waiting and self._in_flight is None
