"""Limits of running time, as far as a slot can hold tasks to them itself: an exception is raised in the task when its time is over.

Python raises nothing in a thread that is inside a call of C code: there it comes when that returns. In a slot's main thread a signal
also ends the waits of the standard library (PEP 475: what a handler raises gets through).
"""

from __future__ import annotations

import ctypes
import heapq
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from mesh.errors import TaskRevokedError

Interrupt = Callable[[type[BaseException]], None]
"""Raises an exception of this type in one task."""
SETTLE_S = 0.0005
_WAKE = getattr(signal, "SIGUSR1", None)


class Alarm:
    """Something to be done at an instant, unless it is settled before."""

    __slots__ = ("_acted", "_armed", "act")

    def __init__(self, act: Callable[[], None]) -> None:
        self.act = act
        self._armed = [True]
        self._acted = False

    def take(self) -> bool:
        """Whether it was still to be done; afterwards it is not."""
        try:
            return self._armed.pop()  # of two threads one gets it, without a lock that an exception could leave locked
        except IndexError:
            return False

    def ring(self) -> None:
        """The instant has come."""
        if self.take():
            try:
                self.act()
            finally:
                self._acted = True

    def settle(self) -> bool:
        """The task has ended: whether that was before the instant. If not, what was to be done is done when this returns."""
        if self.take():
            return True
        while not self._acted:
            time.sleep(SETTLE_S)
        return False


class Timekeeper:
    """A thread that rings alarms; it begins with the first of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._over = 0
        self._thread: threading.Thread | None = None

    def set(self, after_s: float, act: Callable[[], None]) -> Alarm:
        """``act`` is called in this thread, ``after_s`` from now."""
        alarm = Alarm(act)
        at_s = time.monotonic() + after_s
        with self._changed:
            heapq.heappush(self._due, (at_s, next(self._numbers), alarm))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="mesh-slot-timekeeper", daemon=True)
                self._thread.start()
            elif self._due[0][2] is alarm:
                self._changed.notify()
        return alarm

    def settled(self) -> None:
        """One alarm less is of use: when most are not, they go."""
        self._over += 1
        if self._over > 100 and self._over * 2 > len(self._due):
            with self._changed:
                self._due = [entry for entry in self._due if entry[2]._armed]
                heapq.heapify(self._due)
                self._over = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                alarm = heapq.heappop(self._due)[2]
            alarm.ring()


class ThreadInterrupt:
    """Raises in the thread that made it, between two of its bytecodes."""

    def __init__(self) -> None:
        self._thread = ctypes.c_ulong(threading.get_ident())

    def __call__(self, kind: type[BaseException]) -> None:
        """Raise it there."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(kind))

    def clear(self) -> None:
        """What has not been raised yet is not raised any more."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)


class SignalInterrupt:
    """Raises in the main thread by a signal, which ends waits too."""

    _pending: type[BaseException] | None = None

    def __init__(self) -> None:
        assert _WAKE is not None, "only where there are signals"
        if signal.getsignal(_WAKE) != SignalInterrupt._handle:
            signal.signal(_WAKE, SignalInterrupt._handle)

    @staticmethod
    def _handle(number: int, frame: Any) -> None:
        kind, SignalInterrupt._pending = SignalInterrupt._pending, None
        if kind is not None:
            raise kind

    def __call__(self, kind: type[BaseException]) -> None:
        """Raise it there."""
        SignalInterrupt._pending = kind
        assert _WAKE is not None, "as above"
        signal.pthread_kill(threading.main_thread().ident or 0, _WAKE)

    def clear(self) -> None:
        """As ThreadInterrupt's."""
        SignalInterrupt._pending = None


def interrupt_here() -> ThreadInterrupt | SignalInterrupt:
    """For the task that this thread is about to run."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    return SignalInterrupt() if in_main_thread and sys.platform != "win32" else ThreadInterrupt()


class Ends:
    """By which running tasks can be ended by somebody else: alarms without an instant, by the task's id."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}

    def put(self, id: str, interrupt: Interrupt) -> Alarm:
        """From now on the task runs, until :meth:`take`."""
        alarm = self._alarms[id] = Alarm(lambda: interrupt(TaskRevokedError))
        return alarm

    def take(self, id: str) -> None:
        """It has ended."""
        self._alarms.pop(id, None)

    def end(self, id: str) -> bool:
        """Raise TaskRevokedError in a task; False for one that does not run here."""
        alarm = self._alarms.get(id)
        if alarm is None:
            return False
        alarm.ring()
        return True


def run_within(
    keeper: Timekeeper, limits: list[tuple[float, type[BaseException]]], work: Callable[[], Any], ends: Ends | None = None, id: str = ""
) -> Any:
    """Call ``work``; at each of the ``limits`` (seconds) that exception is raised in it, and by ``ends``. Raises what ``work`` raises."""
    interrupt = interrupt_here()
    alarms = [keeper.set(after_s, _raising(interrupt, kind)) for after_s, kind in limits]
    end = ends.put(id, interrupt) if ends is not None else None
    try:
        return work()
    finally:
        if ends is not None:
            ends.take(id)
        settled = [alarm.settle() for alarm in (*alarms, *([end] if end is not None else []))]
        if not all(settled):
            interrupt.clear()
        for _ in alarms:
            keeper.settled()


def _raising(interrupt: Interrupt, kind: type[BaseException]) -> Callable[[], None]:
    return lambda: interrupt(kind)
