"""Tasks that every application has: one message for many calls of another task (mesh/canvas/maps.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from mesh.errors import UnknownTask

MAP = "mesh.map"
STARMAP = "mesh.starmap"


BUILTIN = frozenset([MAP, STARMAP])


class Runnable(Protocol):
    """What is needed of a task."""

    @property
    def run(self) -> Callable[..., Any]:
        """The function."""

    @property
    def is_async(self) -> bool:
        """Whether it was declared with ``async def``."""


def builtin_functions(tasks: Mapping[str, Runnable]) -> dict[str, Callable[..., Any]]:
    """The functions by the tasks' names; they call those of ``tasks``."""

    def xmap(task: Mapping[str, Any], it: list[Any]) -> list[Any]:
        """Call a task, given by the JSON form of its signature, for each item; returns the list of the values."""
        return _each(tasks, task, [(item,) for item in it])

    def xstarmap(task: Mapping[str, Any], it: list[Any]) -> list[Any]:
        """The same with a list of arguments for each call."""
        return _each(tasks, task, it)

    return {MAP: xmap, STARMAP: xstarmap}


def without_builtin(names: Iterable[str]) -> list[str]:
    """Names of tasks without those of this module, for people."""
    return [name for name in names if name not in BUILTIN]


def _each(tasks: Mapping[str, Runnable], form: Mapping[str, Any], calls: list[Any]) -> list[Any]:
    """The values in order. Raises UnknownTask, and what a call raises: those after it are not made then."""
    task = tasks.get(form["task"])
    if task is None:
        raise UnknownTask(f"this worker's application has no task {form['task']!r}")
    args, kwargs = form.get("args") or (), form.get("kwargs") or {}
    values = (task.run(*call, *args, **kwargs) for call in calls)
    if not task.is_async:
        return list(values)
    from asyncio import run  # slow to import, and who has coroutines has it

    return run(_in_turn(list(values)))


async def _in_turn(work: list[Any]) -> list[Any]:
    return [await one for one in work]
