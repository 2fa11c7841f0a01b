"""What really ran, read from the files that tasks write (tests/lab/tasks.py): the mesh is not asked."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.machines import Machine

HISTORY = "history.log"
"""Where tasks write, in the work folder of their host (tasks.py, which hosts have a copy of, says it again)."""

WRONG = "wrong"
"""What a step of a workflow writes that got other values than it should."""


class Event(NamedTuple):
    """One line of a history."""

    at_s: float
    """Wall clock; every host of a lab has the same."""
    what: str
    """``start`` or ``finish``."""
    number: int
    host: str = ""
    """Where it ran."""


class History:
    """The histories of some hosts, merged and in order of time, as they are at this moment."""

    def __init__(self, machines: Iterable[Machine]) -> None:
        events = [event for machine in machines for event in _read(machine.work / HISTORY, machine.name)]
        self.events = sorted(events)

    @property
    def starts(self) -> Counter[int]:
        """How often each task was begun."""
        return Counter(event.number for event in self.events if event.what == "start")

    @property
    def finishes(self) -> Counter[int]:
        """How often each task was finished."""
        return Counter(event.number for event in self.events if event.what == "finish")

    @property
    def repeated(self) -> dict[int, int]:
        """Tasks that were begun more than once, and how often."""
        return {number: times for number, times in self.starts.items() if times > 1}

    def longest_pause_s(self, since_s: float, until_s: float = 0.0) -> float:
        """The longest time without a start, from the last one before a moment of the wall clock on, and up to another if one is given."""
        starts = [event.at_s for event in self.events if event.what == "start"]
        before = [at_s for at_s in starts if at_s <= since_s]
        after = [at_s for at_s in starts if at_s > since_s]
        moments = [*before[-1:], *after]
        if until_s:
            moments = [*(at_s for at_s in moments if at_s < until_s), until_s]
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=float("inf"))


def _read(file: Path, host: str) -> list[Event]:
    if not file.exists():
        return []
    rows = (line.split() for line in file.read_text().splitlines())
    return [Event(float(at_s), what, int(number), host) for at_s, what, number in rows]
