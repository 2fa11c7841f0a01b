"""The work that every system does here: no-op additions, all results fetched and checked. Standard library only."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

CHAIN = 500
"""Round trips, one after another."""


def measure(submit: Callable[[int], Any], fetch: Callable[[Any], int], tasks: int) -> None:
    """Run the work and print its figures as one line of JSON.

    ``submit(i)`` sends the task ``i + i`` and returns what ``fetch`` needs to wait for its result. The clock runs from the first
    submit until the last result has been fetched and checked; one task before it makes sure that the workers are up.
    """
    assert fetch(submit(1)) == 2
    started = time.perf_counter()
    handles = [submit(number) for number in range(tasks)]
    for number, handle in enumerate(handles):
        assert fetch(handle) == 2 * number
    tasks_per_s = tasks / (time.perf_counter() - started)
    trips_ms = [_round_trip_ms(submit, fetch, number) for number in range(CHAIN)]
    quantiles = statistics.quantiles(trips_ms, n=100)
    print(json.dumps({"tasks_per_s": tasks_per_s, "p50_ms": statistics.median(trips_ms), "p99_ms": quantiles[98], "tasks": tasks}))


def _round_trip_ms(submit: Callable[[int], Any], fetch: Callable[[Any], int], number: int) -> float:
    started = time.perf_counter()
    assert fetch(submit(number)) == 2 * number
    return (time.perf_counter() - started) * 1000
