"""What the benchmarks share: figures with their targets, the table, and the JSON that is kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("mesh", "pyzmq", "msgspec", "msgpack", "zeroconf")


@dataclass(frozen=True)
class Figure:
    """One row: what was measured, how often, and what it was to reach."""

    name: str
    unit: str
    samples: tuple[float, ...]
    target: float | None = None
    at_most: bool = False
    """The target is a ceiling; else a floor."""
    note: str = ""

    @property
    def value(self) -> float:
        """The median of the samples."""
        return statistics.median(self.samples)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    tasks: int = 20_000
    repeats: int = 3
    kills: int = 20
    backlog: int = 1_000_000


Suite = Callable[[Plan], Iterable[Figure]]


def percentile(samples: Sequence[float], percent: int) -> float:
    """The smallest sample that is at least as large as ``percent`` of all (nearest rank)."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def number(value: float) -> str:
    """A figure with three significant digits, as people read it."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Iterable[Figure]) -> Table:
    """The figures for a terminal."""
    drawn = Table("figure", "median", "lowest", "highest", "target", "", "note", title="mesh: benchmarks")
    for column in drawn.columns[1:5]:
        column.justify = "right"
    for figure in figures:
        target = "" if figure.target is None else f"{'≤' if figure.at_most else '≥'} {number(figure.target)}"
        verdict = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[figure.reached]
        ends = (number(min(figure.samples)), number(max(figure.samples))) if len(figure.samples) > 1 else ("", "")
        drawn.add_row(figure.name, f"{number(figure.value)} {figure.unit}", *ends, target, verdict, figure.note)
    return drawn


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "load_1_min": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def write_json(figures: Sequence[Figure], measured_on: dict[str, Any]) -> Path:
    """Keep the figures in benchmarks/results under the present time."""
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    rows = [
        {
            "name": figure.name,
            "unit": figure.unit,
            "median": figure.value,
            "samples": list(figure.samples),
            "target": figure.target,
            "at_most": figure.at_most,
            "reached": figure.reached,
            "note": figure.note,
        }
        for figure in figures
    ]
    file.write_text(json.dumps({"machine": measured_on, "figures": rows}, indent=2) + "\n")
    return file


def show(figures: Iterable[Figure]) -> None:
    """Print the table."""
    Console(width=None if os.isatty(1) else 150).print(table(figures))
