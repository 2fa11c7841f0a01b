"""Celery and Dramatiq on private servers, with the interpreter of .venv-rivals (made by `make bench-rivals`).

Celery keeps its results where its first steps with RabbitMQ put them, in RabbitMQ (rpc://); Dramatiq has no such backend, so its
results are in Redis, as its own benchmark does it.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness import Figure, Plan
from benchmarks.rivals import servers

HERE = Path(__file__).resolve().parent
BIN = HERE.parent.parent / ".venv-rivals" / "bin"
TIMEOUT_S = 180


@dataclass(frozen=True)
class Rival:
    """How a rival's worker is started and how much it is given."""

    name: str
    program: str
    worker: tuple[str, ...]
    results_in_redis: bool
    share: float
    """Of the tasks that mesh gets: slow systems show the same rate with fewer."""
    ratio: float
    """How many times faster mesh is to be."""


CELERY = Rival(
    "Celery (prefork 2, RabbitMQ, rpc results)",
    "celery_rabbit",
    ("celery", "-A", "celery_rabbit", "worker", "--concurrency", "2"),
    False,
    0.5,
    15,
)
DRAMATIQ = Rival(
    "Dramatiq (2 x 8 threads, RabbitMQ, Redis results)",
    "dramatiq_rabbit",
    ("dramatiq", "dramatiq_rabbit", "--processes", "2", "--threads", "8"),
    True,
    1,
    6,
)
RIVALS = (CELERY, DRAMATIQ)


def why_unavailable() -> str:
    """What `make bench-rivals` would install, empty when all is there."""
    absent = servers.missing() + [rival.worker[0] for rival in RIVALS if not (BIN / rival.worker[0]).exists()]
    return f"not installed: {', '.join(absent)}; `make bench-rivals` does that" if absent else ""


def measure(plan: Plan) -> Iterator[Figure]:
    """Tasks per second and round trips of each rival; nothing where they are not installed."""
    if why_unavailable():
        return
    with servers.rabbitmq() as amqp, servers.redis() as redis:
        for rival in RIVALS:
            environment = os.environ | {
                "AMQP_URL": amqp,
                "RESULT_URL": redis if rival.results_in_redis else "rpc://",
                "PYTHONPATH": str(HERE),
            }
            yield from compare(rival, plan, environment)


def compare(rival: Rival, plan: Plan, environment: dict[str, str]) -> Iterator[Figure]:
    """One rival's figures, with a worker started afresh for each repetition."""
    runs = [run(rival, int(plan.tasks * rival.share), environment) for _ in range(plan.repeats)]
    tasks = f"{runs[0]['tasks']:,.0f} tasks"
    yield Figure(rival.name, "tasks/s", tuple(one["tasks_per_s"] for one in runs), note=tasks)
    yield Figure(f"{rival.name.split()[0]}, round trip, p50", "ms", tuple(one["p50_ms"] for one in runs))
    yield Figure(f"{rival.name.split()[0]}, round trip, p99", "ms", tuple(one["p99_ms"] for one in runs))


def run(rival: Rival, tasks: int, environment: dict[str, str]) -> dict[str, float]:
    """One worker, one client; returns what the client measured."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-rival-") as folder:
        worker = [str(BIN / rival.worker[0]), *rival.worker[1:]]
        with servers.running(worker, environment, Path(folder) / "worker.log", lambda: True):
            client = [str(BIN / "python"), str(HERE / f"{rival.program}.py"), str(tasks)]
            done = subprocess.run(client, env=environment, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{rival.name} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def ratios(figures: list[Figure], batch: str, one_by_one: str) -> Iterator[Figure]:
    """How many times faster mesh was than each rival in this run; nothing without both.

    Rivals submit one by one, which is what their clients are made for. The second row compares that with mesh's own delay(), which
    unlike theirs returns only when the message is on disk and confirmed.
    """
    by_name = {figure.name: figure for figure in figures}
    for rival in RIVALS:
        theirs = by_name.get(rival.name)
        for ours, target, note in (
            (batch, rival.ratio, "same work, same run"),
            (one_by_one, None, "each delay() confirmed from disk, theirs not"),
        ):
            if theirs and ours in by_name:
                yield Figure(
                    f"mesh / {rival.name.split()[0]}, {ours.split(', ')[1]}",
                    "times",
                    (by_name[ours].value / theirs.value,),
                    target,
                    note=note,
                )
