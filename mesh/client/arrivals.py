"""Several awaited results, in the order in which they come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from mesh.client.questions import held_latch

if TYPE_CHECKING:
    from mesh.client.client import Client
    from mesh.client.pending import Pending


class Arrivals:
    """Waits for results of one client; :meth:`close` has to follow. For one thread."""

    def __init__(self, client: Client, pendings: Iterable[Pending]) -> None:
        self._client = client
        self._latch: threading.Lock = held_latch()
        self._come: deque[int] = deque()
        self._calls = [(pending, partial(self._arrived, index)) for index, pending in enumerate(pendings)]
        with client.lock:
            for index, (pending, call) in enumerate(self._calls):
                if pending.result is not None:
                    self._come.append(index)
                else:
                    pending.waiters = [*(pending.waiters or ()), call]

    def next(self, deadline_s: float | None) -> int | None:
        """The index of the next result that is there, each once; None at the deadline (monotonic seconds).

        Raises MeshNotFound, NotAllowed when there never was a node, MeshError when the client was closed.
        """
        while True:
            while self._come:
                index = self._come.popleft()
                if self._calls[index][0].result is not None:
                    return index
                self._client.raise_why()
                self._wait_again(index)
            if not self._client.await_latch(self._latch, deadline_s):
                return None

    def close(self) -> None:
        """Nobody waits any more."""
        with self._client.lock:
            for pending, call in self._calls:
                if pending.result is None and pending.waiters:
                    pending.waiters = [waiter for waiter in pending.waiters if waiter is not call] or None

    def _arrived(self, index: int) -> None:
        self._come.append(index)
        try:
            self._latch.release()
        except RuntimeError:
            pass  # another one has woken us

    def _wait_again(self, index: int) -> None:
        pending, call = self._calls[index]
        with self._client.lock:
            if pending.result is not None:
                self._come.append(index)
            elif call not in (pending.waiters or ()):
                pending.waiters = [*(pending.waiters or ()), call]
