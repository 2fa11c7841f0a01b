"""A queue that is longer than the memory window: what it costs to fill it, to hold it, to start with it and to drain it."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator
from itertools import pairwise

from benchmarks.harness import Figure, Plan
from benchmarks.idle import resident_mb
from benchmarks.stage import HERE, LOOPBACK, one_machine, start_node, start_worker
from tests.machines import Machine, Process
from tests.polling import poll_until

LONG_S = 1800.0
START_S = 120.0
BLOCK = 30_000
"""Tasks of an empty queue: they fit into the window."""
PATIENT = {"MESH_DISCOVERY_TIMEOUT_S": str(START_S)}
"""The worker is started with the node, and has to wait until that has looked through its state."""
NOTED = 5_000
"""As in tasks.py: one task in so many says when it ran."""


def measure(plan: Plan) -> Iterator[Figure]:
    """Rates are compared with those of an empty queue in the same run: the first block of the publisher, a short queue on the same node."""
    count = plan.backlog // BLOCK * BLOCK
    with one_machine() as machine:
        machine.put(HERE / "publisher.py")
        node = start_node(machine)
        publish(machine, BLOCK)
        worker = start_worker(machine)
        short = drain_rate(machine, BLOCK)
        worker.terminate()
        before_mb = resident_mb(node.pid)
        seconds = publish(machine, count)
        growth_mb = resident_mb(node.pid) - before_mb
        yield _publishing(seconds)
        yield Figure("backlog, memory of the node", "MB more", (growth_mb,), 300, at_most=True, note=f"{count:,} tasks of 200 bytes")
        node.kill()
        start_s = restart(machine)
        yield Figure("backlog, restart to the first task", "s", (start_s,), 10, at_most=True, note="`mesh up` and `mesh worker` at once")
        long = drain_rate(machine, count)
        note = f"{long:,.0f} tasks/s; {BLOCK:,} tasks: {short:,.0f}"
        yield Figure("backlog, drain", "% of a short queue's rate", (long / short * 100,), 70, note=note)


def _publishing(seconds: list[float]) -> Figure:
    full = statistics.median(seconds[len(seconds) // 2 :])
    note = f"{BLOCK / full:,.0f} tasks/s; the first {BLOCK:,}: {BLOCK / seconds[0]:,.0f}"
    return Figure("backlog, publish", "% of the empty queue's rate", (seconds[0] / full * 100,), 70, note=note)


def publish(machine: Machine, count: int) -> list[float]:
    """Seconds for each block."""
    seconds: list[float] = json.loads(machine.python("publisher.py", str(count), str(BLOCK), timeout_s=LONG_S).splitlines()[-1])
    return seconds


def drain_rate(machine: Machine, count: int) -> float:
    """Wait until so many tasks have run; their median rate, tasks per second."""
    noted = machine.work / "noted"
    poll_until(lambda: noted.exists() and len(noted.read_text().split()) >= count // NOTED, LONG_S, "the queue is drained", pause_s=0.5)
    times = sorted(float(line) for line in noted.read_text().split())
    noted.unlink()
    return NOTED / statistics.median(b - a for a, b in pairwise(times))


def restart(machine: Machine) -> float:
    """Seconds from `mesh up` until the first task runs."""
    began = time.time()
    processes: list[Process] = [machine.mesh_spawn("up", *LOOPBACK), machine.mesh_spawn("worker", "-A", "tasks", "-c", "2", env=PATIENT)]
    noted = machine.work / "noted"
    poll_until(lambda: noted.exists() and noted.read_text(), START_S, f"a task has run of {len(processes)} processes")
    return float(noted.read_text().split()[0]) - began
