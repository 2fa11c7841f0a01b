"""Following a task: ``for change in result.watch()`` and ``async for``."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

from mesh.client.client import Client
from mesh.client.news import News
from mesh.client.pending import Pending
from mesh.errors import ResultTimeout
from mesh.wire.bodies import decode
from mesh.wire.calls import TaskState


class StateChange(NamedTuple):
    """Where a task is."""

    state: str
    """Celery's name, or the task's own."""
    info: Any
    """What it said with that; in the end its value or exception."""


class Watching:
    """States of one task as they come; the last one is how it ended."""

    def __init__(self, client: Client, pending: Pending, end: Callable[[], StateChange], timeout: float | None) -> None:
        self._client = client
        self._pending = pending
        self._end = end
        self._timeout = timeout

    def __iter__(self) -> Iterator[StateChange]:
        deadline_s = None if self._timeout is None else time.monotonic() + self._timeout
        news = News(self._client, self._pending)
        try:
            while True:
                state = news.next(deadline_s)
                if state is not None:
                    yield change_of(state)
                elif self._pending.result is not None:
                    yield self._end()
                    return
                elif deadline_s is not None and time.monotonic() >= deadline_s:
                    raise ResultTimeout(f"task {self._pending.id} has no result after {self._timeout:g} s")
        finally:
            news.close()

    async def __aiter__(self) -> AsyncIterator[StateChange]:
        from asyncio import to_thread  # slow to import, and whoever awaits has it

        steps = iter(self)
        try:
            while (step := await to_thread(next, steps, None)) is not None:
                yield step
        finally:
            steps.close()  # type: ignore[attr-defined]


def change_of(state: TaskState) -> StateChange:
    """A state as people see it."""
    return StateChange(state.state, decode(state.meta) if state.meta else None)
