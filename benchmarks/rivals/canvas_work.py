"""The workflows that every system does here: no-op tasks, values fetched and checked. Standard library only."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

TIMEOUT_S = 170
DUE_S = 10
"""How long the tasks with a countdown have to be submitted in, so that all wait together."""


def measure(canvas: Any, add: Any, size: Any, count_all: Callable[[list[Any]], list[Any]], kind: str, count: int) -> None:
    """Run one kind of work and print its figures as one line of JSON.

    ``canvas`` has ``group``, ``chain`` and ``chord``; ``add`` and ``size`` are tasks; ``count_all`` submits signatures and returns results.
    """
    assert add.delay(1, 1).get(timeout=60) == 2
    figures = {"group": _group, "chord": _chord, "chain": _chain}
    if kind == "countdown":
        done = _countdown(count_all, add, count)
    else:
        done = figures[kind](canvas, add, size, count)
    print(json.dumps(done))


def _group(canvas: Any, add: Any, size: Any, count: int) -> dict[str, float]:
    started = time.perf_counter()
    values = canvas.group(add.s(number, number) for number in range(count))().get(timeout=TIMEOUT_S)
    spent_s = time.perf_counter() - started
    assert values == [2 * number for number in range(count)]
    return {"tasks_per_s": count / spent_s, "spent_s": spent_s}


def _chord(canvas: Any, add: Any, size: Any, count: int) -> dict[str, float]:
    started = time.perf_counter()
    value = canvas.chord((add.s(number, number) for number in range(count)), size.s())().get(timeout=TIMEOUT_S)
    spent_s = time.perf_counter() - started
    assert value == count
    return {"tasks_per_s": count / spent_s, "spent_s": spent_s}


def _chain(canvas: Any, add: Any, size: Any, count: int) -> dict[str, float]:
    started = time.perf_counter()
    value = canvas.chain([add.s(1, 0), *[add.s(1) for _ in range(count - 1)]])().get(timeout=TIMEOUT_S)
    spent_s = time.perf_counter() - started
    assert value == count
    return {"step_ms": spent_s / count * 1000, "spent_s": spent_s}


def _countdown(count_all: Callable[[list[Any]], list[Any]], add: Any, count: int) -> dict[str, float]:
    started = time.perf_counter()
    results = count_all([add.s(number, number).set(countdown=DUE_S) for number in range(count)])
    submitted_s = time.perf_counter() - started
    for number, result in enumerate(results):
        assert result.get(timeout=TIMEOUT_S) == 2 * number
    late_s = time.perf_counter() - started - max(submitted_s, DUE_S) - (DUE_S if submitted_s > DUE_S else 0)
    return {"submits_per_s": count / submitted_s, "tasks_per_s": count / max(late_s, 1e-3), "late_s": late_s}
