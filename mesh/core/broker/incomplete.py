"""Workflows of which a part was never submitted: their program ended while it sent them (decision 120).

What waits for it ends when results of that time would have expired, and everybody who could have it has been heard.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.config import Settings
from mesh.core.broker.results import Removed
from mesh.wire.entries import Failure

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

LOOK_S = 5.0
PATIENCE_MIN_S = 3600.0
"""However soon results expire, a program has so long to send all of a workflow."""
AT_ONCE = 10_000
INCOMPLETE = "mesh.errors.WorkflowIncomplete"


class Incomplete:
    """Ids of tasks and gathers that somebody waits for, the longest first. A new reign begins to wait anew."""

    def __init__(self, broker: Broker, settings: Settings, everybody_is_here: Callable[[], bool]) -> None:
        self._broker = broker
        self._settings = settings
        self._everybody_is_here = everybody_is_here
        self._watched: deque[tuple[int, str]] = deque()
        self._looked_at = 0.0

    def reset(self) -> None:
        """The reign is over."""
        self._watched.clear()

    def watch(self, id: str) -> None:
        """Something waits for this task, or for the members of this gather."""
        self._watched.append((self._broker.wall_ms, id))

    def is_removed(self, id: str) -> bool:
        """Whether a task is known to be over, and its result to be gone."""
        return id in self._broker.pushes.removed and not self._may_end(id)

    def _may_end(self, id: str) -> bool:
        broker = self._broker
        return broker.is_live(id) or id in broker.results or broker.dead_letters.get(id) is not None

    def failure(self, id: str) -> Failure:
        """How a step ends that waits for this task in vain."""
        if id in self._broker.pushes.removed:
            failure = Removed.result(id).failure
            assert failure is not None
            return failure
        return Failure(INCOMPLETE, f"{id}, which this waits for, was never submitted; submit the workflow anew")

    def take_hopeless(self, lacks: Callable[[str], int]) -> list[str]:
        """Ids that were waited for long enough, of tasks that will not end and of gathers whose members do not exist.

        ``lacks`` says how many values a gather has to come, and 0 for what is none.
        """
        now, wall_ms = self._broker.now, self._broker.wall_ms
        if now - self._looked_at < LOOK_S:
            return []
        self._looked_at = now
        due_ms = wall_ms - 1000 * max(self._settings.result_expires_s, PATIENCE_MIN_S)
        if not self._watched or self._watched[0][0] > due_ms or not self._everybody_is_here():
            return []
        due: list[str] = []
        while self._watched and self._watched[0][0] <= due_ms and len(due) < AT_ONCE:
            due.append(self._watched.popleft()[1])
        coming = self._coming({id for id in due if lacks(id)})
        hopeless: list[str] = []
        for id in due:
            if coming[id] < lacks(id) or not self._may_end(id):
                hopeless.append(id)
            elif id not in self._broker.results:
                self._watched.append((wall_ms, id))
        return hopeless

    def _coming(self, gathers: set[str]) -> Counter[str]:
        """How many live messages are for each of these gathers."""
        if not gathers:
            return Counter()
        flows = (record.message.flow for record in self._broker.records.values())
        return Counter(flow.into for flow in flows if flow is not None and flow.into in gathers)
