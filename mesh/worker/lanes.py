"""The three kinds of pool inside a slot: one task after another, in threads, or as coroutines on an event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mesh.worker.coroutines import waited, waited_elsewhere
from mesh.worker.station import Station, Todo

_log = logging.getLogger("mesh.worker")


def serve(station: Station, pool: str, width: int) -> None:
    """Run tasks until the work pipe ends. ``pool`` is ``process``, ``thread`` or ``async``."""
    if pool == "process":
        run_in_turn(station)
    elif pool == "thread":
        run_in_threads(station, width)
    else:
        run_in_loop(station, width)


def run_in_turn(station: Station) -> None:
    """One task after another in this thread; coroutines on a loop that is kept between tasks."""
    loop = asyncio.new_event_loop()
    wait = partial(waited, loop)
    try:
        while True:
            station.receive()
            while (todo := station.take()) is not None:
                station.execute(*todo, wait)
            station.flush()
    except EOFError:
        return
    finally:
        _close_loop(loop)


def run_in_threads(station: Station, width: int) -> None:
    """Up to ``width`` tasks at once in threads; coroutines on one loop that all threads share."""
    loop = asyncio.new_event_loop()
    waiter = threading.Thread(target=_run_loop, args=(loop,), name="mesh-slot-loop", daemon=True)
    waiter.start()
    lanes = [threading.Thread(target=_lane, args=(station, loop), name=f"mesh-slot-lane-{number}", daemon=True) for number in range(width)]
    for lane in lanes:
        lane.start()
    try:
        while True:
            station.receive()
    except EOFError:
        for _ in lanes:
            station.todo.put(None)
        loop.call_soon_threadsafe(loop.stop)
        waiter.join()


def _lane(station: Station, loop: asyncio.AbstractEventLoop) -> None:
    wait = partial(waited_elsewhere, loop)
    while (todo := station.todo.get()) is not None:
        station.execute(*todo, wait)
        if station.todo.empty():
            station.flush()


def run_in_loop(station: Station, width: int) -> None:
    """Up to ``width`` coroutines at once on an event loop in this thread; plain functions in its thread pool."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(width, thread_name_prefix="mesh-slot-lane"))
    lanes = _LoopLanes(station, loop, width)
    threading.Thread(target=_read_for_loop, args=(station, lanes), name="mesh-slot-reader", daemon=True).start()
    _run_loop(loop)


def _read_for_loop(station: Station, lanes: _LoopLanes) -> None:
    try:
        while True:
            station.receive()
            lanes.loop.call_soon_threadsafe(lanes.start_more)
    except EOFError:
        lanes.loop.call_soon_threadsafe(lanes.loop.stop)


class _LoopLanes:
    """Which coroutines run; all of it belongs to the loop's thread."""

    def __init__(self, station: Station, loop: asyncio.AbstractEventLoop, width: int) -> None:
        self.loop = loop
        self._station = station
        self._free = width
        self._running: set[asyncio.Future[None]] = set()
        self._flush_is_due = False

    def start_more(self) -> None:
        """Start what waits, as far as there are free lanes."""
        while self._free and (todo := self._station.take()) is not None:
            work = self._begin(todo)
            self._free -= 1
            self._running.add(work)
            work.add_done_callback(self._ended)

    def _begin(self, todo: Todo) -> asyncio.Future[None]:
        cell, delivery = todo
        if self._station.executor.is_async(delivery):
            return self.loop.create_task(self._station.execute_async(cell, delivery))
        return self.loop.run_in_executor(None, self._station.execute, cell, delivery, partial(waited_elsewhere, self.loop))

    def _ended(self, work: asyncio.Future[None]) -> None:
        self._running.discard(work)
        self._free += 1
        self.start_more()
        if not self._flush_is_due:  # all that end in one turn of the loop leave together
            self._flush_is_due = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        self._station.flush()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until ``loop.stop``; SystemExit or KeyboardInterrupt of a user's background task does not end it."""
    while True:
        try:
            loop.run_forever()
            break
        except BaseException as error:
            _log.warning("a background task of the application raised %s; the slot goes on", type(error).__name__)
    _close_loop(loop)


def _close_loop(loop: asyncio.AbstractEventLoop) -> None:
    """End what tasks left running in the background, then the loop."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()
