"""Plain messages at the coordinator: a message without a task, which ends without a result."""

from __future__ import annotations

from collections.abc import Collection

from mesh.wire.entries import Message
from mesh.wire.messages import Outcome, OutcomeKind
from mesh.wire.working import stage_of

ENDED_MAX = 50_000
"""Ids of plain messages that have ended and are remembered, at least half as many; about 8 MB."""
TERMINAL = frozenset([OutcomeKind.DONE, OutcomeKind.ACKED])
"""Outcomes that count whoever holds the lease by now."""


def is_plain(message: Message) -> bool:
    """Whether nobody expects a result of it."""
    return not message.task and (message.flow is None or message.flow.gathers < 0)


def is_of_earlier(outcome: Outcome, message: Message) -> bool:
    """Whether an outcome, said again, is of a delivery after which the message went on with the same id."""
    return outcome.stage is not None and outcome.stage < stage_of(message.properties, message.call, message.attempts + 1)


class Ended:
    """The plain messages that ended last, against a retry of their publish (R8): in memory, as nothing else of them is kept.

    Two sets, the older of which goes as a whole, cost less than to forget one id for each that comes.
    """

    def __init__(self) -> None:
        self._last: set[str] = set()
        self._before: set[str] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._last or id in self._before

    def has_any(self, ids: Collection[str]) -> bool:
        """Whether one of these has ended."""
        return not (self._last.isdisjoint(ids) and self._before.isdisjoint(ids))

    def add(self, id: str) -> None:
        """It will not be handed out again."""
        if len(self._last) >= ENDED_MAX // 2:
            self._last, self._before = set(), self._last
        self._last.add(id)

    def forget(self, id: str) -> None:
        """It is to be handed out after all."""
        self._last.discard(id)
        self._before.discard(id)
