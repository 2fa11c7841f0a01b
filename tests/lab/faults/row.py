"""What came of injecting one fault: a row of the report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness import percentile


@dataclass
class Row:
    """One fault, injected ``runs`` times. Times in seconds."""

    fault: str
    """Its number in the table of faults, with a variant: ``2 (5 s)``."""
    title: str
    runs: int = 1
    tasks: int = 0
    """Confirmed."""
    lost: int = 0
    """Confirmed and not run to the end by any worker."""
    excused: int = 0
    """Of the lost: confirmed with one copy, whose disk the fault destroyed."""
    duplicated: int = 0
    """Begun more than once."""
    pauses_s: list[float] = field(default_factory=list)
    """Longest time without a start, from the fault on."""
    running: int = 0
    """Begun and not finished when the fault struck."""
    repeated: int = 0
    """Of those that ran: begun again."""
    elections: int = 0
    """By how much the term rose."""
    converged_s: list[float] = field(default_factory=list)
    """From the end of the fault until all nodes agree on coordinator and term, see each other, and there is a deputy."""
    rivals_s: list[float] = field(default_factory=list)
    """From the end of the fault until at most one node takes itself for the coordinator."""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    """Promises that it broke."""
    not_run: str = ""
    """Why not, when it was not."""
    evidence: list[str] = field(default_factory=list)
    """Of a broken promise: which tasks ran more than once, where and when, and how the mesh looked to each node meanwhile."""

    def require(self, holds: bool, promise: str) -> None:
        """Note a promise as broken unless it holds."""
        if not holds:
            self.broken.append(promise)

    def told(self) -> str:
        """All of it, for a failing test."""
        fields = dataclasses.replace(self, evidence=[])
        return "\n".join([str(fields), *self.evidence])

    @property
    def duplicated_percent(self) -> float:
        """Share of the tasks that were begun more than once."""
        return 100 * self.duplicated / self.tasks if self.tasks else 0.0

    def as_json(self) -> dict[str, Any]:
        """For the file of a run."""
        return dataclasses.asdict(self)


SUMMED = ("runs", "tasks", "lost", "excused", "duplicated", "running", "repeated", "elections", "seconds")
JOINED = ("pauses_s", "converged_s", "rivals_s")


def merged(rows: Sequence[Row]) -> Row:
    """Repetitions of one fault as one row; notes and broken promises of any of them, each once."""
    total = dataclasses.replace(rows[0])
    for name in SUMMED:
        setattr(total, name, sum(getattr(row, name) for row in rows))
    for name in JOINED:
        setattr(total, name, [value for row in rows for value in getattr(row, name)])
    total.notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    total.broken = list(dict.fromkeys(promise for row in rows for promise in row.broken))
    total.evidence = [line for row in rows if row.broken for line in row.evidence]
    total.not_run = next((row.not_run for row in rows if row.not_run), "")
    return total


def from_json(value: Mapping[str, Any]) -> Row:
    """A row of a file."""
    return Row(**value)


def span(samples: Sequence[float]) -> str:
    """``p50 / p95``, one figure when there is one sample, nothing without."""
    if not samples:
        return ""
    if len(samples) == 1:
        return f"{samples[0]:.2f}"
    return f"{percentile(samples, 50):.2f} / {percentile(samples, 95):.2f}"
