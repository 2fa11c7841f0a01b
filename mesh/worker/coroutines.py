"""Coroutines of tasks: run to their end on a loop of this thread or of another one, and interrupted with an exception of our own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

Wait = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end on the slot's event loop and returns its value, or raises what it raised."""


def contain(work: Awaitable[Any]) -> Coroutine[Any, Any, tuple[Any, BaseException | None]]:
    """Await ``work`` and return (value, None) or (None, error).

    asyncio lets SystemExit and KeyboardInterrupt of a task out of the loop that runs it; here they must not get that far.
    """

    async def contained() -> tuple[Any, BaseException | None]:
        try:
            return await work, None
        except BaseException as error:
            return None, error

    return contained()


def waited(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` on a loop that belongs to this thread."""
    value, error = loop.run_until_complete(contain(work))
    return _value_or_raise(value, error)


def waited_elsewhere(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` on a loop that runs in another thread."""
    value, error = asyncio.run_coroutine_threadsafe(contain(work), loop).result()
    return _value_or_raise(value, error)


def _value_or_raise(value: Any, error: BaseException | None) -> Any:
    if error is None:
        return value
    try:
        raise error
    finally:
        del error  # the frame and the error would keep each other alive


class Interruptible:
    """Awaits a coroutine into which :meth:`interrupt` can throw an exception.

    asyncio can only cancel what waits: that wakes the coroutine here, which gets the other exception in its place.
    """

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        self._task: asyncio.Task[Any] | None = None
        self._pending: BaseException | None = None

    def interrupt(self, error: BaseException) -> None:
        """Throw ``error`` where the coroutine waits. On the loop's thread; nothing happens when it has ended or not begun."""
        task = self._task
        if task is not None and not task.done():
            self._pending = error
            task.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        self._task = asyncio.current_task()
        steps = self._work.__await__()
        error: BaseException | None = None
        try:
            while True:
                try:
                    waits_for = steps.send(None) if error is None else steps.throw(error)
                except StopIteration as end:
                    return end.value
                error = None
                try:
                    yield waits_for
                except asyncio.CancelledError as cancelled:
                    error = self._taken() or cancelled
                except BaseException as other:
                    error = other
        finally:
            self._task = None

    def _taken(self) -> BaseException | None:
        error, self._pending = self._pending, None
        if error is not None and self._task is not None:
            self._task.uncancel()
        return error
