"""What a long table of bindings costs a publish."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator

from benchmarks.harness import Figure, Plan
from benchmarks.stage import HERE, one_machine, start_node


def measure(plan: Plan) -> Iterator[Figure]:
    """By turns on one node, so that both exchanges meet the same load; the medians of batches are compared."""
    with one_machine() as machine:
        machine.put(HERE / "routes.py")
        start_node(machine)
        seconds = json.loads(machine.python("routes.py", str(plan.tasks), timeout_s=300).splitlines()[-1])
    few, many = statistics.median(seconds["few"]), statistics.median(seconds["many"])
    note = f"batches of 500 with confirm; declaring all of them took {seconds['declare'][0]:.1f} s"
    yield Figure("topic exchange, 10,000 bindings", "x of 10 bindings", (many / few,), 2, at_most=True, note=note)
