"""What a task says of itself on the way, for one who follows it."""

from __future__ import annotations

from collections import deque

from mesh.client.client import Client
from mesh.client.pending import Pending
from mesh.client.questions import held_latch
from mesh.wire.calls import TaskState

NEWS_MAX = 1000
"""States that wait for who follows; the oldest go first."""


class News:
    """States of one task, until :meth:`close`. It is told of those from now on, and of the last one before."""

    def __init__(self, client: Client, pending: Pending) -> None:
        self._client = client
        self._pending = pending
        self._states: deque[TaskState] = deque(maxlen=NEWS_MAX)
        with client.lock:
            client.check_usable()
            if pending.result is None:
                pending.followers = [*(pending.followers or ()), self._states]
                client.follow(pending, True)

    def next(self, deadline_s: float | None) -> TaskState | None:
        """The next one, waited for; None when there is a result, or it is that late."""
        latch = held_latch()
        pending, client = self._pending, self._client
        with client.lock:
            client.check_usable()
            waits = not self._states and pending.result is None
            if waits:
                pending.askers = [*(pending.askers or ()), latch.release]
        if waits:
            client.await_latch(latch, deadline_s)
            with client.lock:
                pending.askers = [one for one in pending.askers or () if one != latch.release] or None
        return self._states.popleft() if self._states else None

    def close(self) -> None:
        """Nobody follows any more."""
        pending = self._pending
        with self._client.lock:
            pending.followers = [one for one in pending.followers or () if one is not self._states] or None
            if pending.followers is None:
                self._client.follow(pending, False)
