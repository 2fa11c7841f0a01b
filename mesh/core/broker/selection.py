"""Which of the waiting messages is next: by priority, by age, and else in the order in which they came."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Sequence

from mesh.config import Settings
from mesh.core.broker.lanes import Lane
from mesh.core.broker.queues import Record
from mesh.core.states import RecordEvent, RecordState

Rank = tuple[float, int]
"""What is lower goes first."""
PutAside = Callable[[Record], bool]
"""Whether a READY message that expires has, and was kept out of the way."""
SAMPLES_MAX = 4096
SAMPLES_A_LEVEL = 64
"""So exactly is it known when a message came, as parts of the time that is worth one level of priority."""
SAMPLE_S = 0.05
"""... and at most so exactly: a tick."""


class Ageing:
    """How long messages have waited, from a few samples of (place in the line, time) instead of a note for each.

    A level of priority is worth a head start of ``priority_ageing_s``: the urgency numbers of Jackson (Some Problems in Queueing with
    Dynamic Priorities, 1960). So of two messages the same one goes first whenever they are compared.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._orders: list[int] = []
        self._times: list[float] = []

    def reset(self) -> None:
        """A new reign, with nothing in line."""
        self._orders, self._times = [], []

    def came(self, order: int, at: float) -> None:
        """What has this place in the line, and what is behind it, came at that time or later; in ascending order."""
        if self._orders and self._orders[-1] == order:
            self._times[-1] = max(self._times[-1], at)
        elif not self._orders or at - self._times[-1] >= max(self._settings.priority_ageing_s / SAMPLES_A_LEVEL, SAMPLE_S):
            self._orders.append(order)
            self._times.append(at)
            if len(self._orders) > SAMPLES_MAX:  # of what is old the half is exact enough
                half = SAMPLES_MAX // 2
                self._orders = self._orders[:half:2] + self._orders[half:]
                self._times = self._times[:half:2] + self._times[half:]

    def rank(self, priority: int, order: int) -> Rank:
        """The rank of a message."""
        level_s = self._settings.priority_ageing_s
        if not level_s:
            return (-priority, order)
        sample = max(0, bisect_right(self._orders, order) - 1)
        return (self._times[sample] - priority * level_s if self._times else -priority * level_s, order)


def never(record: Record) -> bool:
    """Nothing is put aside."""
    return False


def take(lanes: Sequence[Lane], limit: int, ageing: Ageing, put_aside: PutAside = never) -> list[Record]:
    """Up to ``limit`` READY records of these lanes, best rank first; they are LEASED then.

    A lane whose first message has to be read from the disk is left out, but nothing of a lower priority passes it.
    """
    taken: list[Record] = []
    if len(lanes) == 1:
        lane = lanes[0]
        while len(taken) < limit and lane.available:
            _pop(lane, taken, put_aside)
        leave(lane)
    elif lanes:
        _merge(lanes, limit, ageing, taken, put_aside)
    return taken


def _merge(lanes: Sequence[Lane], limit: int, ageing: Ageing, taken: list[Record], put_aside: PutAside) -> None:
    """As a rule all priorities are equal, and the order of arrival is all that is compared."""
    heads: list[tuple[float, int, int]] = []
    touched: dict[int, Lane] = {}
    priority, mixed = lanes[0].priority, False
    for index, lane in enumerate(lanes):
        mixed = mixed or lane.priority != priority
        if lane.is_partly_away:
            touched[index] = lane
        if lane.available:
            heads.append((0.0, lane.records[0].order, index))
    away: list[tuple[int, Rank]] = []
    if mixed:
        heads = [(*ageing.rank(lanes[index].priority, order), index) for _, order, index in heads]
        away = [(lane.priority, ageing.rank(lane.priority, lane.next_paged)) for lane in touched.values() if not lane.available]
    heapq.heapify(heads)
    while heads and len(taken) < limit:
        level, order, index = heads[0]
        lane = lanes[index]
        if any(priority > lane.priority and other < (level, order) for priority, other in away):
            heapq.heappop(heads)
            continue
        _pop(lane, taken, put_aside)
        touched[index] = lane
        if lane.available:
            order = lane.records[0].order
            heapq.heapreplace(heads, (*ageing.rank(lane.priority, order), index) if mixed else (0.0, order, index))
        else:
            heapq.heappop(heads)
            if mixed and lane.is_partly_away:
                away.append((lane.priority, ageing.rank(lane.priority, lane.next_paged)))
    for lane in touched.values():
        leave(lane)


def leave(lane: Lane) -> None:
    """Have the next of a lane read where that is due, and forget a lane that is used up."""
    if lane.paged:
        if lane.needs_refill:
            lane.queue.hungry[lane.kind] = None
    elif lane.empty:
        lane.queue.forget(lane)


def _pop(lane: Lane, taken: list[Record], put_aside: PutAside) -> None:
    record = lane.records.popleft()
    if record.state is RecordState.READY:  # others stay in their lane until they come up
        properties = record.message.properties
        if properties is not None and properties.expires_ms and put_aside(record):
            return
        record.move(RecordEvent.DELIVERED)
        lane.queue.handed_out(record)
        taken.append(record)
