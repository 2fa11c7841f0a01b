"""Three hosts of the lab: the coordinator, the client and the worker on one each; every message has two fsynced copies."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.harness import Figure, Plan
from benchmarks.stage import PROGRAMS, client
from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab, why_unavailable


def measure(plan: Plan) -> Iterator[Figure]:
    """Tasks per second; needs the lab."""
    if why_unavailable():
        return
    rates = tuple(tasks_per_s(plan.tasks) for _ in range(plan.repeats))
    yield Figure("three hosts, copies=2, submit_many", "tasks/s", rates, 8_000, note="client, worker, coordinator on one host each")


def tasks_per_s(count: int) -> float:
    """One run on fresh hosts."""
    with Lab(["server", "laptop", "third"]) as lab:
        fleet = Fleet(lab)
        for host in lab:
            host.put(*PROGRAMS)
        coordinator = fleet.up_all()
        here, there = fleet.others(coordinator)
        fleet.worker(there)
        figures = client(lab[here], "batch", count)
        assert figures["copies"] == 2, figures
        return figures["tasks_per_s"]
