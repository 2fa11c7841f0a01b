"""One machine: a node, a worker with two process slots, a client. No-op tasks, fsync on, all results kept, fetched and checked."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Plan
from benchmarks.stage import client, one_machine, start_node, start_worker

BATCH = "one machine, submit_many"
TRIPS = 500
MODES = {"batch": BATCH, "delay": "one machine, delay() one by one", "threads": "one machine, delay() from 16 threads"}


def measure(plan: Plan) -> Iterator[Figure]:
    """Tasks per second by way of submitting, and the round trip."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    p50_ms, p99_ms = [], []
    for _ in range(plan.repeats):
        with one_machine() as machine:
            start_node(machine)
            start_worker(machine)
            for mode, samples in rates.items():
                samples.append(client(machine, mode, plan.tasks)["tasks_per_s"])
            trips = client(machine, "trips", TRIPS)
            p50_ms.append(trips["p50_ms"])
            p99_ms.append(trips["p99_ms"])
    for mode, samples in rates.items():
        yield Figure(MODES[mode], "tasks/s", tuple(samples), 25_000 if mode == "batch" else None, note=f"{plan.tasks:,} tasks")
    yield Figure("round trip, p50", "ms", tuple(p50_ms), 1.2, at_most=True, note=f"{TRIPS} one after another")
    yield Figure("round trip, p99", "ms", tuple(p99_ms), 5, at_most=True)
