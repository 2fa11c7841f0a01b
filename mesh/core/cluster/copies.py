"""What waits until the transaction that it belongs to is on enough disks (R6, R7)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping

from mesh.config import Settings
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.streams import LAG_S, Stream
from mesh.core.turn import Turn


class Waits:
    """Actions that wait until all that was decided before them has its copies (R6, R7); first in, first out."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, Callable[[int], None]]] = deque()

    def add(self, mark: int, action: Callable[[int], None]) -> None:
        """Run ``action(copies)`` once everything up to ``mark`` has its copies."""
        self._queue.append((mark, action))

    def release(self, durable_mark: int, copy_marks: list[tuple[int, int]], needed: int, *, short: bool) -> None:
        """Run what has its copies: this disk, and ``needed - 1`` others, or what there is when ``short``.

        ``copy_marks``: for each stream the mark that it has reached and the disks that it stands for.
        """
        queue = self._queue
        while queue:
            mark, action = queue[0]
            if durable_mark < mark:
                return
            copies = 1
            for copy_mark, disks in copy_marks:
                copies += disks if copy_mark >= mark else 0
            if copies < needed and not short:
                return
            queue.popleft()
            action(copies)

    def covered(self, mark: int) -> bool:
        """Whether nothing waits that was decided up to ``mark``."""
        return not self._queue or self._queue[0][0] > mark

    def __len__(self) -> int:
        return len(self._queue)


class Copies:
    """The disks that hold what was decided here, as far as the streams know, and who waits for them."""

    def __init__(self, membership: Membership, turn: Turn, settings: Settings, streams: Mapping[str, Stream]) -> None:
        self._membership = membership
        self._turn = turn
        self._settings = settings
        self._streams = streams
        self.waits = Waits()
        self.settlements = Waits()
        """What holders of an entry shall hear when the transaction that settled it has a second copy, however long that takes (R7)."""
        self.keeps = Waits()
        """What workers shall hear of outcomes: who clears its outbox too early has them run again under another coordinator."""
        self._everywhere: deque[tuple[int, float, Callable[[], None]]] = deque()
        """(mark, until when, action): what has its copies, and waits until all others know it too."""
        self._short_since: float | None = None

    def when_copied(self, action: Callable[[int], None]) -> None:
        """Run ``action(copies)`` when all that was decided so far has its copies."""
        self.waits.add(self._turn.mark, action)

    def when_kept(self, action: Callable[[int], None]) -> None:
        """As ``when_copied``; while others may rule without these copies it goes on with what there is only after the patience."""
        self.keeps.add(self._turn.mark, action)

    def when_settled(self, action: Callable[[int], None]) -> None:
        """Run ``action(copies)`` when all that was settled so far has a second copy, if there can be one."""
        self.settlements.add(self._turn.mark, action)

    def when_everywhere(self, action: Callable[[], None]) -> None:
        """Run ``action`` when all that was decided so far has its copies, and every node that can be reached has it on its disk.

        Nobody waits for longer than LAG_S for a node that lags, or is about to reconcile (R15).
        """
        mark, until_s = self._turn.mark, self._membership.now + LAG_S
        self.when_copied(lambda copies: self._everywhere.append((mark, until_s, action)))

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for what other nodes have."""
        return bool(self.waits or self.keeps or self._everywhere)

    def _is_everywhere(self, mark: int) -> bool:
        streams = self._streams
        return all(peer.id in streams and streams[peer.id].idle_mark(self._turn.mark) >= mark for peer in self._membership.reachable())

    def needed(self) -> int:
        """How many disks shall hold an entry: a target over admitted members, not over live ones (R6)."""
        return min(self._settings.copies, max(1, len(self._membership.admitted())))

    def release(self, now: float, *, leading: bool) -> None:
        """Let go what has its copies by now."""
        if not (self.waits or self.keeps or self.settlements or self._everywhere):
            self._note_shortage(now, short=self._is_short(now))
            return
        counting = [stream for stream in self._streams.values() if _counts(stream, now)]
        needed = self.needed()
        if self.settlements:
            self.settlements.release(self._turn.durable_mark, self._marks(counting), min(2, needed), short=False)
        if self.waits or self.keeps:
            self._release_waits(counting, needed, now, leading=leading)
        else:
            self._note_shortage(now, short=not counting and needed > 1)
        while self._everywhere and (now >= self._everywhere[0][1] or self._is_everywhere(self._everywhere[0][0])):
            self._everywhere.popleft()[2]()

    def _release_waits(self, counting: list[Stream], needed: int, now: float, *, leading: bool) -> None:
        safe = self._settings.durability == "safe"
        if not leading and not safe:
            needed = min(2, needed)  # the coordinator has waited for further disks; what it has acknowledged with is what there is
        reachable = len(counting) + 1 if leading else needed if counting else 1
        self._note_shortage(now, short=reachable < needed)
        short_s = -1.0 if safe or self._short_since is None else now - self._short_since
        short = short_s >= self._settings.short_copies_after_s
        marks = self._marks(counting)
        self.waits.release(self._turn.durable_mark, marks, needed, short=short)
        if self.keeps:
            self.keeps.release(self._turn.durable_mark, marks, needed, short=short and self._is_alone(counting, short_s))

    def _is_alone(self, counting: list[Stream], short_s: float) -> bool:
        """Whether nobody can rule without this node and the disks that count, or the patience for it is over."""
        patient = short_s < self._settings.takeover_patience_s
        return not (patient and self._membership.others_may_rule(stream.peer for stream in counting))

    def _is_short(self, now: float) -> bool:
        """Whether no other disk counts although there should be one."""
        for stream in self._streams.values():
            if _counts(stream, now):
                return False
        return self.needed() > 1

    def _marks(self, streams: list[Stream]) -> list[tuple[int, int]]:
        return [(stream.idle_mark(self._turn.mark), stream.acked_copies) for stream in streams]

    def _note_shortage(self, now: float, *, short: bool) -> None:
        if not short:
            self._short_since = None
        elif self._short_since is None:
            self._short_since = now


def _counts(stream: Stream, now: float) -> bool:
    """Whether a peer's disk counts as a copy of what this node decides: the coordinator's for a member, a full deputy's for it."""
    return stream.everything and stream.complete and not stream.lags(now)
