"""How long a user waits: from the first `mesh up` to the first result, and until a second machine has joined."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.harness import Figure, Plan
from benchmarks.stage import LOOPBACK, one_machine
from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab, why_unavailable
from tests.polling import poll_until

FIRST_CALL = "from tasks import add; assert add.delay(2, 2).get(timeout=30) == 4"


def measure(plan: Plan) -> Iterator[Figure]:
    """Both figures include the start of every process on the way; the second also needs the lab."""
    firsts = tuple(first_result_s() for _ in range(plan.repeats))
    yield Figure("first `mesh up` to first result", "s", firsts, 2, at_most=True, note="`up -d`, then worker and client at once")
    if not why_unavailable():
        joins = tuple(joined_s() for _ in range(plan.repeats))
        yield Figure("second host joined", "s", joins, 3, at_most=True, note="by mDNS, seen in the first host's status")


def first_result_s() -> float:
    """A new home, a node, a worker, a client: until the client has its result."""
    with one_machine() as machine:
        started = time.perf_counter()
        machine.mesh("up", "-d", *LOOPBACK)
        machine.mesh_spawn("worker", "-A", "tasks", "-c", "2")
        machine.python("-c", FIRST_CALL)
        return time.perf_counter() - started


def joined_s() -> float:
    """From `mesh up` on the second host until the first lists it."""
    with Lab(["server", "laptop"]) as lab:
        fleet = Fleet(lab)
        fleet.up("server")
        started = time.perf_counter()
        lab["laptop"].mesh_spawn("up", env={"MESH_SECRET": fleet.secret})
        poll_until(lambda: len(lab["server"].status()["nodes"]) == 2, 30, "the laptop has joined", pause_s=0.01)
        return time.perf_counter() - started
