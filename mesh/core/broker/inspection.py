"""What waits in a queue, shown and moved without a consumer, also where it lies on the disk only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta
from msgspec.structs import asdict, replace

from mesh.core.broker.dead_letters import renewed
from mesh.core.broker.purge import WAITING
from mesh.core.broker.queues import Record
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.topology import Topology
from mesh.core.kinds import kind_of
from mesh.core.stamps import in_queue
from mesh.errors import InvalidTopology
from mesh.wire.entries import HELD_LISTS, Chunks, Entry, Message
from mesh.wire.topology import Properties
from mesh.wire.topology_changes import QueueName

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

PAGE_MESSAGES = 1000
PAGE_BYTES = 1 << 20
"""Of bodies in one answer, when it has more than one message."""
Count = Annotated[int, Meta(ge=1, le=PAGE_MESSAGES)]
Then = Callable[[dict[str, Any] | None], None]
"""Gets the answer, None when this node is no coordinator any more."""


class MessagesAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``messages``."""

    queue: QueueName
    count: Count = 10
    after: tuple[str, int] | None = None
    """The ``next`` of the page before; ``["", 0]`` for the first page of all. None: those that are next in line."""


class MoveAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``move``."""

    queue: QueueName
    to: QueueName
    count: Count = 1


class Dot(NamedTuple):
    """Where a waiting message is; ``record`` is None when it is on the disk only."""

    journal: Journal
    sequence: int
    size: int
    record: Record | None


class Inspection:
    """Answers in the same turn when all is in memory, else when it was read."""

    def __init__(self, broker: Broker, replica: Replica, topology: Topology) -> None:
        self._broker = broker
        self._replica = replica
        self._topology = topology

    def messages(self, argument: str, then: Then) -> None:
        """A page of what waits in a queue. Raises InvalidTopology.

        A message keeps its dot while it goes to the disk and back, so pages after each other have each message that waits all the
        while exactly once.
        """
        asked = _decoded(argument, MessagesAsked)
        if asked.after is None:
            dots, more = self._head(asked.queue, asked.count), False
        else:
            dots, more = _page(self._by_dot(asked.queue, asked.after), asked.count)
        following = [dots[-1].journal.name.hex(), dots[-1].sequence] if dots and more else None

        def answer(found: list[tuple[Dot, Message]]) -> None:
            then({"messages": [_row(message) for _, message in found], "next": following})

        self._read(dots, answer)

    def move(self, argument: str, then: Then) -> None:
        """Put what waits in a queue, or is held in a list, at the end of another queue, whatever its limits. Raises InvalidTopology."""
        asked = _decoded(argument, MoveAsked)
        if asked.queue == asked.to or asked.to in HELD_LISTS:
            raise InvalidTopology(f"messages can't be moved from {asked.queue!r} to {asked.to!r}; name another queue")
        if asked.queue in HELD_LISTS:
            letters = self._broker.dead_letters.of_queue(asked.queue)
            for letter in letters[: asked.count]:
                self._broker.dead_lettering.revive(replace(letter, message=self._into(letter.message, asked.to)))
            then({"moved": min(len(letters), asked.count), "more": len(letters) > asked.count})
            return
        dots, more = _page(self._by_dot(asked.queue, ("", 0)), asked.count)

        def answer(found: list[tuple[Dot, Message]]) -> None:
            if not self._broker.active:
                then(None)
                return
            then({"moved": sum(self._move(dot, message, asked.to) for dot, message in found), "more": more})

        self._read(dots, answer)

    # -- which --------------------

    def _head(self, queue: str, count: int) -> list[Dot]:
        """Those that are next in line; from the disk when memory has not enough of them."""
        records = sorted(self._records(queue), key=lambda record: (-kind_of(record.message)[1], record.order))
        dots = [Dot(record.journal, record.sequence, record.size, record) for record in records[:count]]
        if len(dots) < count:
            dots += islice((dot for dot in self._by_dot(queue, ("", 0)) if dot.record is None), count - len(dots))
        return _page(iter(dots), count)[0]

    def _records(self, queue: str) -> list[Record]:
        return [record for record in self._broker.records.values() if record.message.queue == queue and record.state in WAITING]

    def _by_dot(self, queue: str, after: tuple[str, int]) -> Iterator[Dot]:
        """All that waits, in the order of the dots, beyond one of them."""
        pages = self._replica.pages
        lanes = {number for number, (name, _) in enumerate(pages.lanes) if name == queue}
        in_memory: dict[bytes, list[Dot]] = {}
        for record in self._records(queue):
            dot = Dot(record.journal, record.sequence, record.size, record)
            in_memory.setdefault(record.journal.name, []).append(dot)
        for name in sorted(self._replica.journals):
            if name.hex() < after[0]:
                continue
            journal = self._replica.journals[name]
            first = after[1] + 1 if name.hex() == after[0] else 1
            records = sorted((dot for dot in in_memory.get(name, ()) if dot.sequence >= first), key=lambda dot: dot.sequence)
            yield from merge(records, self._paged(journal, first, lanes), key=lambda dot: dot.sequence)

    def _paged(self, journal: Journal, first: int, lanes: set[int]) -> Iterator[Dot]:
        for sequence, lane, size in journal.paged.walk(first, journal.upto) if lanes else ():
            if lane in lanes and not self._broker.paging.is_apart(journal, sequence):
                yield Dot(journal, sequence, size, None)

    # -- their bodies --------------------

    def _read(self, dots: list[Dot], then: Callable[[list[tuple[Dot, Message]]], None]) -> None:
        """The messages with their bodies, without those that were settled meanwhile."""
        whole: dict[int, Message] = {index: dot.record.message for index, dot in enumerate(dots) if dot.record is not None}
        wanted: dict[bytes, list[int]] = {}
        for index, dot in enumerate(dots):
            if dot.record is None:
                wanted.setdefault(dot.journal.name, []).append(index)
        left = len(wanted)

        def read(indexes: list[int], entries: list[Entry | None]) -> None:
            nonlocal left
            left -= 1
            whole.update((index, entry) for index, entry in zip(indexes, entries, strict=True) if type(entry) is Message)
            if not left:
                then([(dots[index], whole[index]) for index in sorted(whole)])

        if not wanted:
            then([(dots[index], whole[index]) for index in sorted(whole)])
        for indexes in wanted.values():
            sequences = [dots[index].sequence for index in indexes]
            self._replica.read(dots[indexes[0]].journal, sequences, partial(read, indexes))

    # -- moving --------------------

    def _move(self, dot: Dot, message: Message, to: str) -> bool:
        """One transaction with its new entry; False when it does not wait here any more."""
        broker = self._broker
        record = broker.records.get(message.id)
        if record is not None and (record.journal, record.sequence) == (dot.journal, dot.sequence):
            if record.state not in WAITING:
                return False
            broker.withdraw(record)
        elif dot.journal.paged.get(dot.sequence) is not None and not broker.paging.is_apart(dot.journal, dot.sequence):
            self._replica.settle(dot.journal, dot.sequence)
        else:
            return False
        self._replica.write(self._into(renewed(message, message.history, broker.skew_ms(dot.journal)), to))
        broker.expect_result(message, dot.journal)
        return True

    def _into(self, message: Message, queue: str) -> Message:
        properties = message.properties or Properties()
        placed = in_queue(properties, self._broker.arguments.of(queue).declaration, max(self._broker.wall_ms, message.eta_ms))
        if message.properties is not None or placed is not properties:
            return replace(message, queue=queue, properties=placed)
        return replace(message, queue=queue)


def _decoded(argument: str, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(argument, type=kind)
    except msgspec.DecodeError as error:
        raise InvalidTopology(f"a question that is not possible: {error}") from None


def _page(dots: Iterator[Dot], count: int) -> tuple[list[Dot], bool]:
    """The first of them, and whether there are more."""
    taken: list[Dot] = []
    size = 0
    for dot in dots:
        if len(taken) == count or (taken and size + dot.size > PAGE_BYTES):
            return taken, True
        taken.append(dot)
        size += dot.size
    return taken, False


def _chunks(chunks: Chunks | None) -> dict[str, Any] | None:
    if chunks is None:
        return None
    return {"body": chunks.body.hex(), "count": chunks.count, "size": chunks.size, "digest": chunks.digest}


def _row(message: Message) -> dict[str, Any]:
    """A message for people and files; the body is base64, or null when it is large: then ``chunks`` says how to ask for it."""
    row: dict[str, Any] = {
        "id": message.id,
        "queue": message.queue,
        "task": message.task,
        "size": message.size,
        "attempts": message.attempts,
        "eta_ms": message.eta_ms,
        "max_deliveries": message.max_deliveries,
        "body": message.body if message.chunks is None else None,
        "chunks": _chunks(message.chunks),
        "properties": None,
    }
    if message.properties is not None:
        row["properties"] = asdict(message.properties)
        del row["properties"]["declared"]
        row["properties"]["deaths"] = [asdict(death) for death in message.properties.deaths]
    return row
