"""Waking a coroutine from the thread that hears of what it waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


def waker(loop: asyncio.AbstractEventLoop, woken: asyncio.Future[None]) -> Callable[[], None]:
    """What any thread may call, also more than once: ``woken`` is done then. Does nothing when the loop is closed: nobody waits in it."""

    def wake() -> None:
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set, woken)

    return wake


def _set(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
