"""Tasks that ask to be run again, some times and at some time: each run beyond the first is one that was asked for, and not early (R23)."""

from __future__ import annotations

import zlib
from collections import Counter
from typing import TYPE_CHECKING

from mesh.wire.messages import Delivery, Outcome, OutcomeKind

if TYPE_CHECKING:
    from tests.simulation.history import History
    from tests.simulation.world import World

STUBBORN = "stubborn"
"""Tasks of this name ask to be run again, as often as their id says."""
EARLY_S = 2.0
"""As for I13: wall clocks differ."""
DELAYS_MS = (0, 50, 1000, 3000, 5000)
RETRIES_MAX = 2
WISHED_S = RETRIES_MAX * max(DELAYS_MS) / 1000
"""As long as a task may wait because it has asked for that."""


def retries_of(id: str) -> int:
    """How often a task asks."""
    return zlib.crc32(id.encode()) % (RETRIES_MAX + 1)


class Asked:
    """Which further runs were asked for in a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due_s: dict[tuple[str, int], float] = {}
        """By id and number of the retry: true time before which it must not run, the earliest that any run of the one before named."""

    def end_of(self, delivery: Delivery) -> Outcome:
        """How this run of a stubborn task ends."""
        retries = self._begun(delivery)
        if retries >= retries_of(delivery.id):
            return Outcome(delivery.id, body=b"r")
        return Outcome(delivery.id, OutcomeKind.RETRY, delay_ms=self._world.rng.choice(DELAYS_MS))

    def ended(self, delivery: Delivery, outcome: Outcome) -> None:
        """The worker says so now."""
        key = (delivery.id, _retries(delivery) + 1)
        due_s = self._world.now + outcome.delay_ms / 1000
        self._due_s[key] = min(due_s, self._due_s.get(key, due_s))

    def without_those_asked_for(self, history: History) -> list[str]:
        """Tasks that ran more often than they were published and asked for."""
        asked = Counter(id for id, _ in self._due_s)
        return [id for id in history.duplicates() if len(history.starts[id]) > 1 + asked[id]]

    def times(self, id: str) -> int:
        """How often a task was asked to be run again."""
        return sum(asked == id for asked, _ in self._due_s)

    def by_a_changed_clock(self) -> set[str]:
        """Tasks whose next run goes by a coordinator's clock, in a world in which one was changed: it may be years away."""
        return {id for id, _ in self._due_s} if self._world.clock_changed_at is not None else set()

    def _begun(self, delivery: Delivery) -> int:
        retries = _retries(delivery)
        if retries:
            due_s = self._due_s.get((delivery.id, retries))
            if due_s is None:
                self._world.violate(f"retry {retries} of {delivery.id} runs, and no run has asked for it")
            elif self._world.now < due_s - EARLY_S and self._world.clock_changed_at is None:
                self._world.violate(f"R23: retry {retries} of {delivery.id} runs {due_s - self._world.now:.1f} s early")
        return retries


def _retries(delivery: Delivery) -> int:
    return delivery.call.retries if delivery.call is not None else 0
