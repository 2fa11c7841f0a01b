"""The large bodies as the coordinator sees them: which are referred to, which are not whole yet, and which nobody needs any more.

Only the coordinator drops chunks of a body that was ever referred to: it alone knows all messages and results. That it settles a body's
last reference and its chunks by itself keeps the others from having to agree on a count.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping

from mesh.core.broker.queues import Record
from mesh.core.cluster.bodies import Bodies, Place
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.replication import Replication
from mesh.core.states import RecordState
from mesh.core.turn import Turn
from mesh.wire.entries import Chunks, DeadLetter, Entry, Failure, Message, Result, Status
from mesh.wire.messages import Outcome, OutcomeKind, Outcomes

SLICE = 8
"""Chunks settled in one transaction: to free the pages of 1 MiB takes a disk 10 ms, of 64 MiB 0.7 s (docs/decisions/071)."""
ORPHAN_S = 600.0
"""How long chunks that nothing refers to are kept after the last of them came: their message or outcome follows within seconds."""
LOOK_S = 5.0
LOST_AFTER_S = 5.0
"""When everybody has been here for so long, and has said what is on his disk, a chunk that has not come is lost."""
LOST = "mesh.errors.BodyLost"


class LargeBodies:
    """References to large bodies. It exists as long as the broker, and counts during a reign."""

    def __init__(
        self,
        bodies: Bodies,
        replica: Replica,
        membership: Membership,
        replication: Replication,
        turn: Turn,
        is_over: Callable[[str], bool],
    ) -> None:
        self._bodies = bodies
        self._replica = replica
        self._membership = membership
        self._replication = replication
        self._turn = turn
        self._is_over = is_over
        """Whether the result of a task is here."""
        self._active = False
        self._references: Counter[bytes] = Counter()
        self._released: dict[bytes, str] = {}
        """Bodies whose last reference went in this turn, with the task of an argument; another may come before it ends."""
        self._dropping: deque[Place] = deque()
        self._slice_mark = 0
        self._alone: dict[bytes, tuple[int, float]] = {}
        """Bodies that nothing refers to: (chunks, since when there are so many)."""
        self._looked_at = 0.0
        self._now = 0.0
        self._incomplete_at = 0.0
        """When somebody was last away, or had not said all."""
        self._held: dict[str, Record] = {}
        """Messages that wait for their body, which a merge is about to bring."""
        self._early: list[tuple[str, Outcomes]] = []
        """Outcomes whose body is not whole here yet, with the node that sent them."""
        replica.on_added.append(self._on_added)
        replica.on_settled.append(self._on_settled)

    # -- the reign --------------------

    def begin(self, now: float) -> None:
        """Count the references of all live entries."""
        self._active = True
        self._now = self._incomplete_at = now  # who is to be awaited is not known yet
        for journal in self._replica.journals.values():
            for sequence, entry in journal.live.items():
                self._on_added(journal, sequence, entry)

    def end(self) -> None:
        """The reign is over."""
        self._active = False
        self._references.clear()
        self._released.clear()
        self._dropping.clear()
        self._alone.clear()
        self._held.clear()
        self._early.clear()

    # -- references --------------------

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        chunks = _chunks_of(entry) if self._active else None
        if chunks is not None:
            self._references[chunks.body] += 1

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        chunks = _chunks_of(entry) if self._active else None
        if chunks is not None:
            self._references[chunks.body] -= 1
            self._released[chunks.body] = _task_of(entry)

    def release(self, chunks: Chunks) -> None:
        """Drop the value, unless something refers to it at the end of this turn."""
        self._released[chunks.body] = ""

    def flush(self) -> None:
        """The end of a turn: settle chunks that nobody needs, a few for each transaction.

        Not while a member is still to say what it holds: where it has settled a message that was lost, it has written it anew in a journal
        of its own, and the new reference comes after the news of the old one's end. Nor, as long as the task has no result, while a member
        is away, whose news of the end may have come through another: what nothing refers to then waits for everybody (``tick``).
        """
        if self._released and self._replication.has_heard_all_here():
            everybody = self._everybody_is_here()
            for body, task in self._released.items():
                if self._references[body] <= 0:
                    del self._references[body]
                    if everybody or not task or self._is_over(task):
                        self._dropping.extend(self._bodies.places(body))
            self._released.clear()
        if self._dropping and self._turn.durable_mark >= self._slice_mark:
            self._slice_mark = self._turn.mark
            for _ in range(min(SLICE, len(self._dropping))):
                self._replica.settle(*self._dropping.popleft())

    def tick(self, now: float) -> None:
        """Drop bodies to which nothing has referred for long, on no member's disk: whoever sent them died on the way."""
        self._now = now
        everybody = self._active and self._everybody_is_here()
        if not everybody:
            self._incomplete_at = now
        if not self._active or now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        known, self._alone = self._alone, {}
        for body in self._bodies:
            if body in self._references:
                continue
            places = self._bodies.places(body)
            count, since = known.get(body, (0, now))
            if count != len(places):
                since = now
            self._alone[body] = (len(places), since)
            if now - since >= ORPHAN_S and everybody:
                self._dropping.extend(places)

    def _everybody_is_here(self) -> bool:
        """Whether what the members hold is here: a reference may be on a disk that is away, written anew there."""
        return self._replication.has_heard_everybody()

    # -- bodies that are not whole yet --------------------

    def is_here(self, message: Message) -> bool:
        """Whether a message can be handed out."""
        return self.is_whole(message.chunks)

    def is_whole(self, chunks: Chunks | None) -> bool:
        """Whether every chunk of a body is here; of one that travels in one piece there is none."""
        return chunks is None or self._bodies.is_whole(chunks)

    def is_lost(self, chunks: Chunks) -> bool:
        """Whether a body is not whole, and never will be.

        Where a chunk was settled its task may have ended: nobody knows as long as somebody who is here is still to say what he has.
        """
        if self._bodies.is_lost(chunks):
            return self._active and self._replication.has_heard_all_here() and not self._replication.is_being_told()
        long_complete = self._active and self._now - self._incomplete_at >= LOST_AFTER_S
        return long_complete and not self._bodies.is_whole(chunks) and self._everybody_is_here()

    def hold(self, record: Record) -> None:
        """Keep a record until its body is whole, or known to be lost."""
        self._held[record.message.id] = record

    def take_whole(self) -> list[Record]:
        """Held records whose body is whole by now; none is handed out twice."""
        return self._take(self._bodies.is_whole)

    def take_lost(self) -> list[Record]:
        """Held records whose body will never be whole; none is handed out twice."""
        return self._take(self.is_lost)

    def _take(self, wanted: Callable[[Chunks], bool]) -> list[Record]:
        taken: list[Record] = []
        for id, record in list(self._held.items()):
            if record.state is not RecordState.DELAYED:  # it was leased or ended meanwhile
                del self._held[id]
            elif record.message.chunks is not None and wanted(record.message.chunks):
                taken.append(self._held.pop(id))
        return taken

    def whole_ones(self, node: str, message: Outcomes, records: Mapping[str, Record]) -> Outcomes:
        """The outcomes that can be dealt with now; the others are kept. One whose body is lost has to run again.

        A worker that could not get the arguments gives the task back. Only here it is known whether they are lost: what it was handed may
        be an earlier submission of the task, whose body went with a disk.
        """
        if all(outcome.chunks is None and outcome.kind != OutcomeKind.RETURNED for outcome in message.outcomes):
            return message
        now: list[Outcome] = []
        for outcome in message.outcomes:
            chunks = outcome.chunks
            record = records.get(outcome.id)
            if outcome.kind == OutcomeKind.RETURNED and record is not None and self._fails(record, message.worker):
                now.append(lost(record.message))
            elif chunks is None or self._bodies.is_whole(chunks):
                now.append(outcome)
            elif self.is_lost(chunks) and self._is_over(outcome.id):
                now.append(outcome)  # a second one, said again: its value was dropped when it was said first
            elif self.is_lost(chunks):
                now.append(Outcome(outcome.id, OutcomeKind.LOST, Status.PENDING))
            else:
                self._early.append((node, Outcomes(message.worker, message.capacity, [outcome])))
        return Outcomes(message.worker, message.capacity, now)

    def _fails(self, record: Record, worker: str) -> bool:
        """Whether nobody can run what this worker gives back."""
        leased = record.state is RecordState.LEASED and record.worker == worker
        return leased and record.message.chunks is not None and self.is_lost(record.message.chunks)

    def take_early(self) -> list[tuple[str, Outcomes]]:
        """Outcomes that were kept: to be tried again."""
        early, self._early = self._early, []
        return early


def lost(message: Message) -> Outcome:
    """How a task ends whose body is gone."""
    text = f"the body of {message.task}[{message.id}] is on no disk of the mesh any more: publish it again"
    return Outcome(message.id, OutcomeKind.DONE, Status.FAILURE, failure=Failure(LOST, text))


def _chunks_of(entry: Entry) -> Chunks | None:
    if isinstance(entry, Message | Result):
        return entry.chunks
    return entry.message.chunks if isinstance(entry, DeadLetter) else None


def _task_of(entry: Entry) -> str:
    """The id of the task whose argument an entry refers to; empty when it refers to a value."""
    if isinstance(entry, Message):
        return entry.id
    return entry.message.id if isinstance(entry, DeadLetter) else ""
