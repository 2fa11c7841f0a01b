"""The part of the queues that is on the disk only (decision 060): indexed by lane, read when its turn comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from mesh.core.broker.delayed import Delayed
from mesh.core.broker.lanes import Lane, Run, Segment
from mesh.core.broker.queues import Queue, Record
from mesh.core.cluster.paged import Header, Stretch
from mesh.core.cluster.pages import Gone
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.kinds import Kind, kind_of
from mesh.core.states import RecordEvent, RecordState
from mesh.errors import StateDamaged
from mesh.wire.entries import Entry, Message

DUE_A_TICK = 2_000
"""Most messages of a journal that become due in one tick: some ten milliseconds."""

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class Paging:
    """Moves messages of the broker's queues between memory and disk."""

    def __init__(self, broker: Broker, replica: Replica) -> None:
        self._broker = broker
        self._replica = replica
        self._pages = replica.pages
        self._apart: set[tuple[bytes, int]] = set()
        """Paged messages that have a record all the same, as a worker holds them: no lane counts them."""
        self._pages.may_go = self._may_go
        self._pages.may_pass = self._may_pass
        self._pages.on_passed = self._on_passed
        self._pages.on_gone = self._on_gone
        self._pages.on_settled = self._on_settled

    def find(self, id: str) -> tuple[Journal, int] | None:
        """Where the paged message with this id is, during a reign."""
        return self._pages.find(id) if self._broker.active else None

    def is_apart(self, journal: Journal, sequence: int) -> bool:
        """Whether a paged message has a record all the same: a worker holds it."""
        return (journal.name, sequence) in self._apart

    # -- the reign --------------------

    def runs(self) -> Iterator[tuple[str, int, Callable[[int], int]]]:
        """All that is paged and due at the start of a reign, in runs: (id and sequence of the first message, what gives them their places
        in the line, from one place to the next that is free)."""
        for journal in self._replica.journals.values():
            for stretch in journal.paged.runs():
                if stretch.lane in self._pages.delayed_lanes:
                    queue = self._broker.queue(self._pages.lanes[stretch.lane][0])
                    queue.delayed += stretch.messages
                    queue.bytes += stretch.size
                    continue
                yield self._pages.header(stretch.lane, stretch.key).id, stretch.first, partial(self._begin_run, journal, stretch)

    def _begin_run(self, journal: Journal, stretch: Stretch, order: int) -> int:
        queue_name, kind = self._pages.lanes[stretch.lane]
        queue = self._broker.queue(queue_name)
        lane = queue.lane(kind)
        lane.insert_run(Run(order, journal, stretch.first, stretch.last, stretch.lane))
        lane.paged += stretch.messages
        queue.ready += stretch.messages
        queue.bytes += stretch.size
        return order + stretch.messages

    def reset(self) -> None:
        """The reign is over."""
        self._apart.clear()

    # -- out --------------------

    def _may_go(self, journal: Journal, sequence: int, message: Message) -> bool:
        """Messages that nobody has been handed."""
        if not self._broker.active:
            return True
        record = self._broker.records.get(message.id)
        its_own = record is not None and record.sequence == sequence and record.journal is journal
        return its_own and record is not None and record.state is RecordState.READY and not message.eta_ms

    def _on_gone(self, gone: Gone) -> None:
        if not self._broker.active:
            return
        records, lanes = self._broker.records, dict[tuple[str, Kind], list[Record]]()
        lane, known = [], None
        for _, _, message in gone:
            record = records.pop(message.id)
            record.move(RecordEvent.PAGED_OUT)
            place = (message.queue, kind_of(message))
            if known != place:
                known = place
                lane = lanes.setdefault(place, [])
            lane.append(record)
        for (queue, kind), paged in lanes.items():
            self._broker.queues[queue].lane(kind).page_out(sorted(paged, key=attrgetter("order")))

    def _may_pass(self, ids: list[str], lanes: set[int]) -> bool:
        """New messages behind others that are on the disk, or not due yet; what is delayed in a queue with a limit may be dropped soon."""
        broker = self._broker
        if not broker.active:
            return True
        delayed = self._pages.delayed_lanes
        for lane in lanes:
            queue, kind = self._pages.lanes[lane]
            if broker.overflow.may_drop(queue) if lane in delayed else not self._has_paged(queue, kind):
                return False
        known = (broker.results, broker.ended, broker.takeover)
        return broker.records.keys().isdisjoint(ids) and not any(those.has_any(ids) for those in known)

    def _has_paged(self, queue_name: str, kind: Kind) -> bool:
        queue = self._broker.queues.get(queue_name)
        lane = queue.lanes.get(kind) if queue is not None else None
        return lane is not None and lane.paged > 0

    def _on_passed(self, journal: Journal, sequences: Sequence[int], lanes: Sequence[int], sizes: Sequence[int]) -> None:
        broker = self._broker
        if not broker.active:
            return
        start = 0
        for number, group in groupby(lanes):
            end = start + len(list(group))
            name, kind = self._pages.lanes[number]
            queue = broker.queue(name)
            queue.bytes += sum(sizes[start:end])
            if number in self._pages.delayed_lanes:
                queue.delayed += end - start
            else:
                queue.lane(kind).come(broker.next_order, journal, sequences[start:end], number)
                queue.ready += end - start
                broker.next_order += end - start
            broker.overflow.grown.add(name)
            broker.lost_and_found.passed(number)
            broker.expiry.passed(number)
            start = end

    # -- what is due --------------------

    @property
    def has_delayed(self) -> bool:
        """Whether something on the disk waits for its time."""
        return any(journal.delayed for journal in self._replica.journals.values())

    def take_due(self, delayed: Delayed, wall_ms: int) -> None:
        """Put into line what has come to be due, and is on the disk only: of one tick in the order of submission."""
        for journal in self._replica.journals.values():
            if journal.delayed and delayed.knows_clock(journal.owner):
                due: dict[int, list[int]] = {}
                for sequence in sorted(journal.delayed.take(wall_ms + delayed.skew_ms(journal), DUE_A_TICK)):
                    place = journal.paged.get(sequence)
                    if place is not None and place.lane in self._pages.delayed_lanes and not self.is_apart(journal, sequence):
                        due.setdefault(place.lane, []).append(sequence)
                for lane, sequences in due.items():
                    self._are_due(journal, sequences, lane)

    def _are_due(self, journal: Journal, sequences: list[int], lane: int) -> None:
        broker = self._broker
        name, kind = self._pages.lanes[lane]
        queue = broker.queues[name]
        number = self._pages.are_due(journal, sequences, lane)
        queue.delayed -= len(sequences)
        queue.ready += len(sequences)
        queue.lane(kind).come(broker.next_order, journal, sequences, number)
        broker.next_order += len(sequences)
        broker.expiry.passed(number)
        broker.dirty = True

    # -- in --------------------

    def refill(self) -> None:
        """Have the next messages read of lanes that are about to run dry."""
        for queue in self._broker.queues.values():
            for kind in queue.hungry:
                lane = queue.lane(kind)
                if lane.needs_refill:
                    self._read(queue, lane)
            if queue.hungry:
                queue.hungry.clear()

    def _read(self, queue: Queue, lane: Lane) -> None:
        chunk = lane.next_chunk(self._pages.chunk_bytes)
        for segment in chunk:
            self._replica.read(segment.journal, segment.sequences, partial(self._come, queue, lane, segment))
        if not chunk:
            self._broker.dirty = True  # what was indexed was settled, and stood before what is in memory

    def _come(self, queue: Queue, lane: Lane, segment: Segment, entries: list[Entry | None]) -> None:
        """A segment of a lane was read."""
        if lane.arrive(self._admit(queue, lane, segment, entries)):
            self._broker.dirty = True

    def _admit(self, queue: Queue, lane: Lane, segment: Segment, entries: list[Entry | None]) -> list[Record]:
        """Records of those that are still to be handed out."""
        broker, journal = self._broker, segment.journal
        if not broker.active or broker.queues.get(queue.name) is not queue:
            return []
        messages: dict[int, Message] = {}
        for sequence, entry in zip(segment.sequences, entries, strict=True):
            if not self._is_whole(journal, sequence, entry):
                continue
            assert isinstance(entry, Message)
            if self._apart and (journal.name, sequence) in self._apart:
                self._complete(entry)
            else:
                messages[sequence] = entry
        messages = self._pages.page_in(journal, messages)
        lane.paged -= len(messages)
        orders = dict(zip(segment.sequences, segment.orders, strict=True))
        records = [Record(message, journal, sequence, orders[sequence]) for sequence, message in messages.items()]
        broker.records.update((record.message.id, record) for record in records)
        return records

    def _is_whole(self, journal: Journal, sequence: int, entry: Entry | None) -> bool:
        """Whether a message was read, of a journal that is still here. Raises StateDamaged when it should have been there."""
        if self._replica.journals.get(journal.name) is not journal:
            return False
        if entry is None and sequence in journal.paged:
            raise StateDamaged(f"the disk has lost journal {journal.name.hex()}, sequence {sequence}")
        return entry is not None

    # -- single messages --------------------

    def take_out(self, id: str) -> Record | None:
        """A READY or DELAYED record for a paged message that is about to be leased or settled, in no lane; its body comes later."""
        place = self.find(id)
        if place is None:
            return None
        journal, sequence = place
        paged = journal.paged.get(sequence)
        assert paged is not None, "the index names what is there"
        header = self._pages.header(paged.lane, paged.key)
        self._apart.add((journal.name, sequence))
        record = self._broker.records[header.id] = Record(header, journal, sequence, 0)
        if header.eta_ms:
            record.state = RecordState.DELAYED
        else:
            self._broker.queues[header.queue].lane(kind_of(header)).paged -= 1
            record.state = RecordState.PAGED
            record.move(RecordEvent.PAGED_IN)
        record.size = paged.size
        self._replica.read(journal, (sequence,), partial(self._body_comes, journal, sequence))
        return record

    def _body_comes(self, journal: Journal, sequence: int, entries: list[Entry | None]) -> None:
        (entry,) = entries
        if self._broker.active and (journal.name, sequence) in self._apart and self._is_whole(journal, sequence, entry):
            assert isinstance(entry, Message)
            self._complete(entry)

    def _complete(self, message: Message) -> None:
        record = self._broker.records[message.id]
        self._apart.discard((record.journal.name, record.sequence))
        self._pages.page_in(record.journal, {record.sequence: message})
        record.message = message

    def put_back(self, record: Record) -> bool:
        """Return a message to its lane whose body was not read yet; False when it was."""
        header = record.message
        if type(header) is not Header:
            return False
        self._apart.discard((record.journal.name, record.sequence))
        del self._broker.records[header.id]
        queue = self._broker.queues[header.queue]
        lane = queue.lane(kind_of(header))
        place = record.journal.paged.get(record.sequence)
        assert place is not None, "it was not read"
        number = self._pages.are_due(record.journal, (record.sequence,), place.lane)  # who held it was given it when it was due
        lane.paged += 1
        lane.insert_run(Run(record.order, record.journal, record.sequence, record.sequence, number))
        queue.ready += 1
        queue.bytes += record.size
        record.move(RecordEvent.PAGED_OUT)
        return True

    def _on_settled(self, journal: Journal, sequence: int, header: Header, size: int) -> None:
        """A paged message was settled: its lane has one less, unless it had a record."""
        dot = (journal.name, sequence)
        if dot in self._apart:
            self._apart.discard(dot)
            return
        queue = self._broker.queues.get(header.queue)
        if self._broker.active and queue is not None:
            if header.eta_ms:
                queue.delayed -= 1
            else:
                queue.lane(kind_of(header)).paged -= 1
                queue.ready -= 1
            queue.bytes -= size
            self._broker.dirty = True
            if queue.empty:
                del self._broker.queues[queue.name]
