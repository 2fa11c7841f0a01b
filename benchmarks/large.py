"""What a body of 64 MiB costs those that travel beside it: the round trip of a small task with and without one under way.

One client sends small tasks one after another; another has a task echo 64 MiB, so that it goes there and back. On two hosts the clients
are on one and the worker is on the other, so that all of it crosses the link twice, and each chunk is on two disks before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import Figure, Plan
from benchmarks.stage import PROGRAMS, one_machine, start_node, start_worker
from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab, why_unavailable
from tests.machines import Machine

BODY_BYTES = 64 << 20
LIMIT = {"MESH_MAX_BODY_BYTES": str(80 << 20)}
PROBE = Path(__file__).with_name("probe.py")
QUIET_S = 5.0
START_S = 30.0
TIMEOUT_S = 180.0
SLOTS = 3
"""One for the large body, and two for the small ones as in other benchmarks."""


def measure(plan: Plan) -> Iterator[Figure]:
    """Round trips beside a large body, and how long that takes itself; the part with two hosts needs the lab."""
    count = min(plan.repeats, 3)
    with one_machine() as machine:
        machine.environment |= LIMIT
        start_node(machine)
        start_worker(machine, slots=SLOTS)
        yield from beside("one machine", machine, count)
    if why_unavailable():
        return
    with Lab(["server", "laptop"]) as lab:
        for host in lab:
            host.environment |= LIMIT
        fleet = Fleet(lab)
        for host in lab:
            host.put(*PROGRAMS)
        coordinator = fleet.up_all()
        (other,) = fleet.others(coordinator)
        fleet.worker(coordinator, slots=SLOTS)
        yield from beside("two hosts", lab[other], count)


def beside(where: str, machine: Machine, count: int) -> Iterator[Figure]:
    """The figures of one stage."""
    machine.put(PROBE)
    without = _answer(machine.python("probe.py", "probe", str(QUIET_S), timeout_s=TIMEOUT_S))
    large = machine.python_spawn("probe.py", "large", str(count), str(BODY_BYTES))
    probes = []
    while large.running:
        probes.append(_answer(machine.python("probe.py", "probe", str(QUIET_S), timeout_s=TIMEOUT_S)))
    assert large.exit_code == 0, large.output()
    bodies = _answer(large.output())
    beside = {name: tuple(probe[name] for probe in probes) for name in ("p50_ms", "p99_ms", "max_ms")}
    yield Figure(f"{where}: small round trip, p50", "ms", beside["p50_ms"], note=f"{without['p50_ms']:.1f} ms without a large body")
    yield Figure(f"{where}: small round trip, p99", "ms", beside["p99_ms"], note=f"{without['p99_ms']:.1f} ms without a large body")
    yield Figure(f"{where}: small round trip, longest", "ms", beside["max_ms"], note=f"{without['max_ms']:.1f} ms without a large body")
    added = tuple(p99 - without["p99_ms"] for p99 in beside["p99_ms"])
    yield Figure(f"{where}: delay added by a 64 MiB body, p99", "ms", added, 50, at_most=True)
    yield Figure(f"{where}: 64 MiB published", "s", tuple(bodies["publish_s"]))
    yield Figure(f"{where}: 64 MiB there and back", "s", tuple(bodies["trip_s"]))


def _answer(output: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer
