"""Waiting for many sockets and instants at once, in the one thread of the node's loop."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable

import zmq

from mesh.transport.poller import READ, Poller, Source

Action = Callable[[], None]


class Reactor:
    """Sources with what to do when they are ready, and timers."""

    def __init__(self) -> None:
        self._poller = Poller()
        self._actions: dict[Source, Action | None] = {}
        self._timers: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def register(self, source: Source, action: Action | None, events: int = READ) -> None:
        """Watch a source. Without an action its readiness is only reported by :meth:`wait`."""
        self._actions[source] = action
        self._poller.register(source, events)

    def forget(self, source: Source) -> None:
        """Stop watching a source; before it is closed."""
        del self._actions[source]
        self._poller.unregister(source)

    def used(self, socket: zmq.Socket[bytes]) -> None:
        """Something was sent by a ZeroMQ socket that is watched."""
        self._poller.used(socket)

    def after(self, delay_s: float, action: Action) -> None:
        """Run ``action`` once, not before ``delay_s``. There is no cancelling: the action looks whether it still matters."""
        heapq.heappush(self._timers, (time.monotonic() + delay_s, next(self._order), action))

    def wait(self, timeout_s: float) -> list[Source]:
        """Wait at most ``timeout_s``, run the actions of sources and timers that are due, return the ready sources without one."""
        if self._timers:
            timeout_s = min(timeout_s, max(0.0, self._timers[0][0] - time.monotonic()))
        ready: list[Source] = []
        for source, _ in self._poller.poll(timeout_s):
            if source not in self._actions:
                continue  # an action before this one has closed it
            action = self._actions[source]
            if action is None:
                ready.append(source)
            else:
                action()
        if self._timers:
            self._run_due()
        return ready

    def close(self) -> None:
        """Watch nothing any more."""
        self._poller.close()

    def _run_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
