"""Who may publish to a queue that is limited: room is reserved before a node accepts, so that nothing accepted is ever rejected later.

Only the coordinator knows how long a queue is. Nodes ask it for room, and who finds none stands in line until consumers make some
(credit for publishers, as RabbitMQ's flow control has it for connections). First come, first served, for each queue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from mesh.core.broker.arguments import Arguments, QueueArguments, describe
from mesh.core.broker.queues import Queue
from mesh.wire.messages import Reserve, Reserved

Answer = Callable[[str, Reserved], None]
"""(node, answer)."""


class Room:
    """What is left in a queue, or reserved of it."""

    __slots__ = ("bytes", "length")

    def __init__(self, length: int = 0, bytes: int = 0) -> None:
        self.length = length
        self.bytes = bytes

    def add(self, other: Room, sign: int = 1) -> None:
        """Take ``other`` into the sum, or out of it."""
        self.length += sign * other.length
        self.bytes += sign * other.bytes


class Admission:
    """The lines of those who wait, and what is reserved for those who were let in."""

    def __init__(
        self, arguments: QueueArguments, queues: Callable[[], Mapping[str, Queue]], answer: Answer, tell: Callable[[str], None]
    ) -> None:
        self._arguments = arguments
        self._queues = queues
        self._answer = answer
        self._tell = tell
        """Something for the log."""
        self._told: set[str] = set()
        self._lines: dict[str, OrderedDict[tuple[str, int], Reserve]] = {}
        """By the queue that has no room for the first of the messages: (node, its number) to what it wants."""
        self._places: dict[tuple[str, int], str] = {}
        """The line in which somebody stands."""
        self._granted: dict[tuple[str, int], dict[str, Room]] = {}
        self._reserved: dict[str, Room] = {}
        """The sums of what is granted, by queue."""

    def on_reserve(self, node: str, wanted: Reserve) -> None:
        """A node wants room, or needs no longer what it wanted."""
        self._release(node, wanted.number)
        if wanted.wants and not self._grant(node, wanted):
            queue = self._lacking(wanted)
            self._stand_in_line(queue, node, wanted)
            self._answer(node, Reserved(wanted.number, 0, self._why(queue)))

    def _stand_in_line(self, queue: str, node: str, wanted: Reserve) -> None:
        self._lines.setdefault(queue, OrderedDict())[node, wanted.number] = wanted
        self._places[node, wanted.number] = queue

    def _lacking(self, wanted: Reserve, *, first_of: str = "") -> str:
        """The queue in whose line it has to stand. ``first_of``: it is the first of that line."""
        if wanted.whole:
            for queue, sizes in wanted.wants:
                if not self._fits(queue, sizes, first=queue == first_of):
                    return queue
        return wanted.wants[0][0]

    def _fits(self, queue: str, sizes: list[int], *, first: bool) -> bool:
        """Whether a queue has room for all of these."""
        limits = self._arguments.limits(queue)
        if limits is None or not limits.rejects:
            return True
        return (first or queue not in self._lines) and _fitting(self._room(queue, limits), sizes) == len(sizes)

    def advance(self) -> None:
        """Let in those for whom there is room by now."""
        for queue, line in list(self._lines.items()) if self._lines else ():
            while line:
                (node, number), wanted = next(iter(line.items()))
                if not self._grant(node, wanted, first_of=queue):
                    lacking = self._lacking(wanted, first_of=queue)
                    if lacking == queue:
                        break
                    self._stand_in_line(lacking, node, wanted)  # here it had its turn, and shall not hold up others
                    del line[node, number]
                    continue
                del line[node, number], self._places[node, number]
            if not line:
                del self._lines[queue]

    def forget(self, node: str) -> None:
        """A node is gone, or repeats all that it wants."""
        for number in [number for owner, number in [*self._granted, *self._places] if owner == node]:
            self._release(node, number)

    def reset(self) -> None:
        """The reign is over."""
        self._lines.clear()
        self._places.clear()
        self._granted.clear()
        self._reserved.clear()
        self._told.clear()

    def waiting(self, queue: str) -> int:
        """Submits in line for a queue."""
        return len(self._lines.get(queue, ()))

    # -- room --------------------

    def _grant(self, node: str, wanted: Reserve, *, first_of: str = "") -> bool:
        """Reserve room for as many of the messages, from the first on, as there is, or for all; False when that is none."""
        if wanted.whole and not all(self._fits(queue, sizes, first=queue == first_of) for queue, sizes in wanted.wants):
            return False
        taken: dict[str, Room] = {}
        count = 0
        for queue, sizes in wanted.wants:
            limits = self._arguments.limits(queue)
            if limits is None or not limits.rejects:
                count += len(sizes)
                continue
            room = self._room(queue, limits) if first_of or queue not in self._lines else Room()
            fit = _fitting(room, sizes)
            count += fit
            if fit:
                taken.setdefault(queue, Room()).add(Room(fit, sum(sizes[:fit])))
                self._reserve(queue, Room(fit, sum(sizes[:fit])))
            if fit < len(sizes):
                break
        if count:
            if taken:
                self._granted[node, wanted.number] = taken
            self._answer(node, Reserved(wanted.number, count))
        return count > 0

    def _room(self, queue: str, limits: Arguments) -> Room:
        found, reserved = self._queues().get(queue), self._reserved.get(queue)
        room = Room(limits.max_length or 1 << 62, limits.max_bytes or 1 << 62)
        if found is not None:
            room.add(Room(found.length, found.bytes), -1)
        if reserved is not None:
            room.add(reserved, -1)
        return room

    def _reserve(self, queue: str, room: Room, sign: int = 1) -> None:
        reserved = self._reserved.setdefault(queue, Room())
        reserved.add(room, sign)
        if not reserved.length:
            del self._reserved[queue]

    def _release(self, node: str, number: int) -> None:
        granted = self._granted.pop((node, number), None)
        if granted is not None:
            for queue, room in granted.items():
                self._reserve(queue, room, -1)
        place = self._places.pop((node, number), None)
        if place is not None:
            del self._lines[place][node, number]

    def _why(self, queue: str) -> str:
        limits, found = self._arguments.limits(queue), self._queues().get(queue)
        assert limits is not None
        length, size = (found.length, found.bytes) if found is not None else (0, 0)
        if queue not in self._told:
            self._told.add(queue)
            self._tell(f"the queue {queue!r} is full ({describe(limits)}): its publishers wait for room")
        return (
            f"queue-full: {length} messages of {size} bytes wait in the queue {queue!r}; its limit is {describe(limits)}: start more "
            f"workers or consumers for it, or change the limit (mesh queue set {queue} ...)"
        )


def _fitting(room: Room, sizes: list[int]) -> int:
    """How many of the bodies, from the first on, fit."""
    fit, left = 0, room.bytes
    for size in sizes[: max(0, room.length)]:
        left -= size
        if left < 0:
            break
        fit += 1
    return fit
