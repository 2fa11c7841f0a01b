"""States that tasks say of themselves: the first at once, and then at most ten in a second, the last one always."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from mesh.request import Context
from mesh.wire import bodies
from mesh.wire.calls import TaskState
from mesh.worker.limits import Timekeeper

PAUSE_S = 0.1


class Saying:
    """Passes on the states of the tasks of one slot. Tasks call it from their own threads."""

    def __init__(self, keeper: Timekeeper, tell: Callable[[TaskState], None]) -> None:
        self._keeper = keeper
        self._tell = tell
        self._told_at_s: dict[str, float] = {}
        self._waiting: dict[str, TaskState] = {}
        """The last state of tasks that have said one a moment ago."""

    def __call__(self, context: Context, state: str, meta: Any) -> None:
        """Say it now, or soon unless there is a later one. Raises NotEncodable."""
        id = context.delivery.id
        context.said = True
        news = TaskState(id, state, bodies.encode(meta) if meta is not None else b"", int(time.time() * 1000))
        waits = id in self._waiting
        self._waiting[id] = news
        if not waits:
            pause_s = self._told_at_s.get(id, 0.0) + PAUSE_S - time.monotonic()
            if pause_s <= 0:
                self._say(id)
            else:
                self._keeper.set(pause_s, lambda: self._say(id))

    def _say(self, id: str) -> None:
        news = self._waiting.pop(id, None)
        if news is not None:
            self._told_at_s[id] = time.monotonic()
            self._tell(news)

    def forget(self, id: str) -> None:
        """The task has ended: its result says more."""
        self._told_at_s.pop(id, None)
        self._waiting.pop(id, None)
