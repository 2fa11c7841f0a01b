"""In which order and where tasks run, as users meet it: real nodes and workers on two machines."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Machines, start_node, start_worker
from tests.machines import Machine
from tests.polling import poll_until

PLACED = Path(__file__).with_name("placed.py")
RUN = """
import json, sys
from placed import where, app
calls = [where.s().clone(call.get("args", ()), **call.get("options", {})) for call in json.loads(sys.argv[1])]
results = app.submit_many(calls)
print(json.dumps([result.get(timeout=30) for result in results]))
"""
NOTE = """
import sys
from placed import note
for word, priority in (("low", 0), ("high", 9), ("middle", 5), ("low", 0)):
    note.apply_async((sys.argv[1], word), priority=priority)
"""
SINGLE = """
import json, time
from mesh import Queue
from placed import app
changes = Queue("ordered", single_active_consumer=True).changes()
app.client.query("topology-change", json.dumps({"changes": changes}), time.monotonic() + 10)
"""


@pytest.fixture
def pair(machines: Machines) -> tuple[Machine, Machine]:
    """Two machines of one mesh; the first coordinates."""
    first, second = machines("first"), machines("second")
    start_node(first, "--name", "first")
    join = ("--name", "second", "--join", first.status()["nodes"][0]["address"])
    start_node(second, *join, secret=first.mesh("secret").stdout.strip())
    first.status_when("the second holds a copy", nodes=2, deputies=["second"])
    for machine in (first, second):
        machine.put(PLACED)
    return first, second


def run(machine: Machine, *calls: dict[str, Any]) -> list[str]:
    """Submit calls as one batch, and where each of them ran."""
    ran: list[str] = json.loads(machine.python("-c", RUN, json.dumps(calls)))
    return ran


def queues_of(machine: Machine, worker: str) -> list[str]:
    """What a worker consumes, as the mesh knows it."""
    return next((one["queues"] for one in machine.status()["workers"] if one["name"] == worker), [])


def test_what_a_busy_worker_holds_goes_to_a_worker_that_is_idle(pair: tuple[Machine, Machine]) -> None:
    """The task was short so far, so that the worker asked for many; each takes just too short a while for it to notice by itself."""
    first, second = pair
    start_worker(first, "placed", "-c", "1", "-n", "one")
    assert set(run(first, *[{}] * 100)) == {"first"}
    batch = first.python_spawn("-c", RUN, json.dumps([{"args": [0.08]}] * 60))
    first.status_when("the first worker holds them", workers=1)
    poll_until(lambda: first.status()["workers"][0]["active"] > 20, 10, "the worker holds many")
    start_worker(second, "placed", "-c", "4", "-n", "other")
    assert batch.wait(30) == 0
    ran = Counter(json.loads(batch.output().splitlines()[-1]))
    assert ran["second"] >= 10, ran
    assert first.status()["counters"]["redelivered"] == 0


def test_queues_are_shared_and_changed_at_run_time(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    start_worker(first, "placed", "-Q", "a,b", "-c", "2", "-n", "one")
    start_worker(second, "placed", "-Q", "b", "-c", "2", "-n", "other")
    for_a, for_b = {"args": [0.3], "options": {"queue": "a"}}, {"args": [0.3], "options": {"queue": "b"}}
    assert set(run(second, *[for_a] * 3)) == {"first"}
    assert set(run(first, *[for_b] * 8)) == {"first", "second"}
    told = first.mesh("control", "add_consumer", "a", "-d", "other").stdout
    assert told == "the worker other on second consumes b, a\n"
    poll_until(lambda: queues_of(second, "other") == ["b", "a"], 10, "it consumes a")
    assert set(run(first, *[for_a] * 8)) == {"first", "second"}
    rows = json.loads(second.mesh("control", "cancel_consumer", "a", "-d", "one", "--json").stdout)
    assert [(row["name"], row["node"], row["queues"]) for row in rows] == [("one", "first", ["b"])]
    poll_until(lambda: queues_of(first, "one") == ["b"], 10, "it no longer consumes a")
    assert set(run(first, *[for_a] * 4)) == {"second"}
    missing = first.mesh("control", "add_consumer", "a", "-d", "nobody", check=False)
    assert (missing.returncode, missing.stderr) == (3, "mesh: the mesh has no worker 'nobody'; mesh status lists them\n")


def test_priorities_hold_across_queues_and_targets_are_kept(pair: tuple[Machine, Machine], tmp_path: Path) -> None:
    first, second = pair
    lines = tmp_path / "lines"
    first.python("-c", NOTE, str(lines))
    start_worker(second, "placed", "-c", "1", "-n", "other")
    poll_until(lambda: lines.exists() and len(lines.read_text().split()) == 4, 10, "all have run")
    assert lines.read_text().split() == ["high", "middle", "low", "low"]
    start_worker(first, "placed", "-c", "2", "-n", "one")
    assert set(run(first, *[{"options": {"node": "second"}}] * 10)) == {"second"}
    assert set(run(first, *[{"options": {"worker": "one"}}] * 10)) == {"first"}
    near = run(first, *[{"args": [0.2], "options": {"affinity": "local"}}] * 2)
    assert set(near) == {"first"}
    assert set(run(first, *[{"args": [0.5], "options": {"affinity": "local"}}] * 3)) == {"first", "second"}, "it is busy"


def test_a_queue_with_a_single_active_consumer_is_served_by_one_worker_at_a_time(pair: tuple[Machine, Machine]) -> None:
    first, second = pair
    first.python("-c", SINGLE)
    one = start_worker(first, "placed", "-Q", "ordered", "-c", "2", "-n", "one")
    start_worker(second, "placed", "-Q", "ordered", "-c", "2", "-n", "other")
    call = {"args": [0.1], "options": {"queue": "ordered"}}
    assert set(run(second, *[call] * 6)) == {"first"}
    row = next(row for row in second.status()["queues"] if row["name"] == "ordered")
    assert (row["consumers"], row["active_consumer"]) == (2, "one")
    assert one.terminate() == 0
    assert set(run(first, *[call] * 6)) == {"second"}
