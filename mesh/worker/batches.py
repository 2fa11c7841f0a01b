"""How much to hand to a slot at once, and how much to ask the mesh for: arithmetic on measured run times.

Short tasks travel in batches, as one wake-up per task costs more than the task. A long task, or one of a name that has not
been seen, travels alone: what lies behind it in a slot waits for it (Celery's prefetch is known for that).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from mesh.wire.messages import Delivery, Outcome

BATCH_S = 0.010
"""Most work, in seconds, that a lane of a slot is handed at once."""
LONG_S = 0.050
"""A task of this length moves the estimate at once, not by average."""
UNKNOWN_S = 60.0
"""Estimate for a task name that has never run here."""
WEIGHT = 0.1
"""Weight of one more task in a moving average."""


class RunTimes:
    """Moving averages of run times: of each task name, and over all."""

    def __init__(self) -> None:
        self.by_task: dict[str, float] = {}
        self.overall_s = UNKNOWN_S

    def record(self, task: str, count: int, total_s: float, longest_s: float) -> None:
        """``count`` tasks of a name took ``total_s`` together."""
        mean_s = total_s / count
        self.by_task[task] = _moved(self.by_task.get(task, UNKNOWN_S), count, mean_s, longest_s)
        self.overall_s = _moved(self.overall_s, count, mean_s, longest_s)


def _moved(before_s: float, count: int, mean_s: float, longest_s: float) -> float:
    if longest_s >= LONG_S:
        return longest_s if before_s == UNKNOWN_S else max(before_s + WEIGHT * (longest_s - before_s), longest_s)
    if before_s == UNKNOWN_S:
        return mean_s
    return before_s + (1 - (1 - WEIGHT) ** count) * (mean_s - before_s)


def margin(lanes: int, overall_s: float, target_s: float) -> int:
    """Tasks to hold ready beyond the ``lanes`` that can run at once: ``target_s`` of work for each, none if tasks are long."""
    if overall_s >= LONG_S:
        return 0
    return int(lanes * target_s / max(overall_s, 1e-6))


def capacity(lanes: int, overall_s: float, target_s: float, most: int) -> int:
    """What a worker offers to hold: its lanes and the margin, at most ``most`` unless the lanes are more."""
    return min(lanes + margin(lanes, overall_s, target_s), max(lanes, most))


class Load:
    """What one slot of ``width`` lanes has been handed and not finished, by estimate."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.held = 0
        self.slow = 0
        """Held tasks that are long or unknown: each occupies a lane by itself."""
        self.quick_s = 0.0

    def takes(self, estimate_s: float) -> bool:
        """Whether one more task would wait at most BATCH_S behind others."""
        if self.held < self.width:
            return True
        free = self.width - self.slow
        return estimate_s <= BATCH_S and free > 0 and self.quick_s + estimate_s <= BATCH_S * free

    def add(self, estimate_s: float) -> None:
        """One more is handed over."""
        self.held += 1
        if estimate_s > BATCH_S:
            self.slow += 1
        else:
            self.quick_s += estimate_s

    def remove(self, estimate_s: float) -> None:
        """One that was added with this estimate is finished or given back."""
        self.held -= 1
        if estimate_s > BATCH_S:
            self.slow -= 1
        else:
            self.quick_s = self.quick_s - estimate_s if self.held > self.slow else 0.0


def take(ready: deque[Delivery], load: Load, by_task: Mapping[str, float], most: int) -> list[tuple[Delivery, float]]:
    """Move from ``ready`` to ``load`` what fits, at most ``most``: deliveries with their estimates, in order."""
    batch: list[tuple[Delivery, float]] = []
    while ready and len(batch) < most:
        estimate_s = by_task.get(ready[0].task, UNKNOWN_S)
        if not load.takes(estimate_s):
            break
        load.add(estimate_s)
        batch.append((ready.popleft(), estimate_s))
    return batch


def chunks(outcomes: list[Outcome], most: int, most_bytes: int) -> list[list[Outcome]]:
    """The outcomes in order, in lists of at most ``most`` and about ``most_bytes``: each is one frame."""
    if len(outcomes) <= most and sum(map(size_bytes, outcomes)) <= most_bytes:
        return [outcomes] if outcomes else []
    result: list[list[Outcome]] = [[]]
    room_bytes = most_bytes
    for outcome in outcomes:
        size = size_bytes(outcome)
        if result[-1] and (size > room_bytes or len(result[-1]) >= most):
            result.append([])
            room_bytes = most_bytes
        result[-1].append(outcome)
        room_bytes -= size
    return result


def size_bytes(outcome: Outcome) -> int:
    """About how long the outcome is in a frame."""
    failure = outcome.failure
    if failure is None:
        return len(outcome.body)
    return len(failure.message) + len(failure.arguments) + len(failure.traceback)
