"""Groups, chords, chains and countdowns on one machine, and the same by Celery where it is installed, in the same run."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, Plan
from benchmarks.rivals import servers
from benchmarks.rivals.run import BIN, HERE, TIMEOUT_S
from benchmarks.stage import one_machine, start_node, start_worker
from tests.machines import Machine

PROGRAMS = (Path(__file__).parent / "composer.py", HERE / "canvas_work.py")
COUNTS = {"group": 10_000, "chord": 10_000, "chain": 1_000, "countdown": 100_000}
CELERY_SHARE = {"group": 0.2, "chord": 0.2, "chain": 0.2, "countdown": 0.05}
"""Of what mesh gets: it shows the same rate with less, and a chord of 10,000 takes it minutes."""
FACTOR = 10
"""How many times faster groups and chords are to be."""
STEP_MS = 2.0
Runs = dict[str, list[dict[str, float]]]


def measure(plan: Plan) -> Iterator[Figure]:
    """Tasks per second of groups and chords, the time of a chain's step, and tasks with a countdown."""
    share = min(1.0, plan.tasks / Plan.tasks)
    counts = {kind: max(10, int(count * share)) for kind, count in COUNTS.items()}
    ours: Runs = {kind: [] for kind in counts}
    theirs: Runs = {kind: [] for kind in counts}
    with tempfile.TemporaryDirectory(prefix="mesh-bench-rival-") as folder:
        for _ in range(plan.repeats):
            _measure_mesh(counts, ours)
        if not why_unavailable():
            _measure_celery({kind: max(10, int(count * CELERY_SHARE[kind])) for kind, count in counts.items()}, theirs, Path(folder))
    yield from figures(ours, theirs, counts)


def why_unavailable() -> str:
    """What `make bench-rivals` would install, empty when all is there."""
    absent = servers.missing() + ([] if (BIN / "celery").exists() else ["celery"])
    return f"not installed: {', '.join(absent)}; `make bench-rivals` does that" if absent else ""


def _measure_mesh(counts: dict[str, int], runs: Runs) -> None:
    for kind, count in counts.items():
        with one_machine() as machine:
            machine.put(*PROGRAMS)
            start_node(machine)
            start_worker(machine)
            runs[kind].append(_composer(machine, kind, count))


def _composer(machine: Machine, kind: str, count: int) -> dict[str, float]:
    done: dict[str, float] = json.loads(machine.python("composer.py", kind, str(count), timeout_s=TIMEOUT_S).splitlines()[-1])
    return done


def _measure_celery(counts: dict[str, int], runs: Runs, folder: Path) -> None:
    with servers.rabbitmq() as amqp, servers.redis() as redis:
        environment = os.environ | {"AMQP_URL": amqp, "RESULT_URL": redis, "PYTHONPATH": str(HERE)}
        worker = [str(BIN / "celery"), "-A", "celery_canvas", "worker", "--concurrency", "2"]
        for kind, count in counts.items():
            with servers.running(worker, environment, folder / "worker.log", lambda: True):
                client = [str(BIN / "python"), str(HERE / "celery_canvas.py"), kind, str(count)]
                done = subprocess.run(
                    client, env=environment, cwd=folder, capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False
                )
            if done.returncode:
                raise RuntimeError(f"Celery's {kind} failed:\n{done.stderr[-2000:]}")
            runs[kind].append(json.loads(done.stdout.splitlines()[-1]))


def figures(ours: Runs, theirs: Runs, counts: dict[str, int]) -> Iterator[Figure]:
    """The rows; those of Celery and the ratios where it was measured."""
    units = {"group": "tasks_per_s", "chord": "tasks_per_s", "chain": "step_ms", "countdown": "submits_per_s"}
    for kind, value in units.items():
        unit, step = ("ms", True) if kind == "chain" else ("tasks/s", False)
        name = {"chain": "chain, one step", "countdown": "countdown, submitted"}.get(kind, f"{kind} with get()")
        mine = Figure(name, unit, _samples(ours, kind, value), STEP_MS if step else None, at_most=step, note=f"{counts[kind]:,} steps")
        yield mine
        if kind == "countdown":
            yield Figure("countdown, done after it is due", "tasks/s", _samples(ours, kind, "tasks_per_s"))
        if theirs[kind]:
            other = Figure(f"Celery, {name}", unit, _samples(theirs, kind, value), note="RabbitMQ, Redis results, prefork 2")
            yield other
            ratio = other.value / mine.value if step else mine.value / other.value
            yield Figure(f"mesh / Celery, {name}", "times", (ratio,), FACTOR if kind in ("group", "chord") else None, note="same run")


def _samples(runs: Runs, kind: str, value: str) -> tuple[float, ...]:
    return tuple(run[value] for run in runs[kind])
