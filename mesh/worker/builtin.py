"""Tasks that every worker has: one message for many calls of another task (mesh/canvas/maps.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mesh.errors import UnknownTask

MAP = "mesh.map"
STARMAP = "mesh.starmap"


class Runnable(Protocol):
    """What is needed of a task."""

    @property
    def run(self) -> Callable[..., Any]:
        """The function."""

    @property
    def is_async(self) -> bool:
        """Whether it was declared with ``async def``."""


class Mapper:
    """Calls a task of the application for each item, in order, and returns the list of the values."""

    is_async = False

    def __init__(self, tasks: Mapping[str, Runnable], *, starred: bool) -> None:
        self._tasks = tasks
        self._starred = starred

    def run(self, task: Mapping[str, Any], it: list[Any]) -> list[Any]:
        """``task`` is the JSON form of a signature. Raises UnknownTask, and what a call raises; the rest is not called then."""
        found = self._tasks.get(task["task"])
        if found is None:
            raise UnknownTask(f"this worker's application has no task {task['task']!r}")
        args, kwargs = task.get("args") or (), task.get("kwargs") or {}
        values = [found.run(*(item if self._starred else (item,)), *args, **kwargs) for item in it]
        if not found.is_async:
            return values
        from asyncio import run  # slow to import, and who has coroutines has it

        return run(_in_turn(values))


def builtin_tasks(tasks: Mapping[str, Runnable]) -> dict[str, Mapper]:
    """The tasks of this module, which call those of ``tasks``."""
    return {MAP: Mapper(tasks, starred=False), STARMAP: Mapper(tasks, starred=True)}


async def _in_turn(work: list[Any]) -> list[Any]:
    return [await one for one in work]
