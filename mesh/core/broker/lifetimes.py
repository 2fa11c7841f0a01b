"""Queues that go by themselves: exclusive ones with their owner, auto_delete ones after the last consumer, others when unused for long.

Each reason runs on a timer of the coordinator that begins anew with a reign. A program that moves to another node is gone for a moment, so
owners and consumers have the time that a lost worker has, ``orphan_grace_s``; but not those that said goodbye.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mesh.config import Settings
from mesh.wire.topology import QueueDeclaration

OWNER_SEPARATOR = "/"
"""A program with several consumers names them ``PROGRAM/ANYTHING``."""
EXCLUSIVE = "the queue {!r} is exclusive to another program; use a queue of another name"


class Lifetimes:
    """Since when a queue could go, and for which reason."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since: dict[tuple[str, str], float] = {}
        """(queue, reason) to when it began."""
        self._expected: dict[tuple[str, str], float] = {}
        """(reason, owner or queue) of programs that were lost, to when they will not come back any more."""
        self._left: set[tuple[str, str]] = set()
        """(reason, owner or queue) whose last program has said goodbye."""

    def reset(self) -> None:
        """A reign is over, or the coordinator could not see everybody: all timers begin anew."""
        self._since.clear()
        self._expected.clear()
        self._left.clear()

    def left(self, consumer: str, queues: Iterable[str], now: float, *, by_itself: bool) -> None:
        """A consumer is gone, ``by_itself`` with a word; another one that was lost a moment ago may still come back for its queue."""
        for key in (("owner", owner_of(consumer)), *(("consumers", queue) for queue in queues)):
            if not by_itself:
                self._expected[key] = now + self._settings.orphan_grace_s
                self._left.discard(key)
            elif self._expected.get(key, now) <= now:
                self._left.add(key)

    def looked(self, owners: set[str], consumed: set[str], now: float) -> None:
        """After a look: forget who is there again, and who is past."""
        self._left = {key for key in self._left if key[1] not in (owners if key[0] == "owner" else consumed)}
        self._expected = {key: until for key, until in self._expected.items() if until > now}

    def touch(self, queue: str) -> None:
        """The queue was used otherwise than by a consumer."""
        self._since.pop((queue, "unused"), None)

    def forget(self, queue: str) -> None:
        """The queue is gone."""
        for reason in ("owner", "consumers", "unused"):
            self._since.pop((queue, reason), None)

    def is_over(self, queue: QueueDeclaration, owners: set[str], consumed: set[str], now: float) -> bool:
        """Whether a queue's time has come. ``owners``: programs with consumers; ``consumed``: names of queues with a consumer."""
        over = False
        for reason, holds, long_enough_s in self._reasons(queue, owners, consumed):  # each has its timer
            over |= self._has_lasted(queue.name, reason, holds, long_enough_s, now)
        return over

    def _reasons(self, queue: QueueDeclaration, owners: set[str], consumed: set[str]) -> Iterator[tuple[str, bool, float]]:
        """(reason, whether it holds now, how long it has to)."""
        idle = queue.name not in consumed
        if queue.exclusive:
            yield "owner", queue.exclusive not in owners, self._grace_s("owner", queue.exclusive)
        if queue.auto_delete:
            yield "consumers", idle and queue.used, self._grace_s("consumers", queue.name)
        if queue.expires_ms:
            yield "unused", idle, queue.expires_ms / 1000

    def _grace_s(self, reason: str, who: str) -> float:
        return 0.0 if (reason, who) in self._left else self._settings.orphan_grace_s

    def _has_lasted(self, queue: str, reason: str, holds: bool, long_enough_s: float, now: float) -> bool:
        if not holds:
            self._since.pop((queue, reason), None)
            return False
        return now - self._since.setdefault((queue, reason), now) >= long_enough_s


def owner_of(consumer: str) -> str:
    """The program that a consumer belongs to."""
    return consumer.partition(OWNER_SEPARATOR)[0]
