"""A queue that is longer than what a node holds in memory, with real processes and a real disk (decision 060)."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import start_node, start_worker
from tests.machines import Machine

TASKS = Path(__file__).with_name("tasks.py")
COUNT = 3000
FILL = f"""
from tasks import add, app
results = app.submit_many([add.s(number, number) for number in range({COUNT})])
print(*(result.id for result in results))
"""
ASK = """
import sys
from tasks import app
ids = open(sys.argv[1]).read()
results = [app.AsyncResult(id) for id in ids.split()]
assert [result.get(timeout=60) for result in results] == [2 * number for number in range(len(results))]
print(len(results))
"""


def test_a_queue_on_the_disk_only_outlives_its_node_and_is_run_to_the_end(machine: Machine) -> None:
    machine.environment["MESH_WINDOW_BYTES"] = "100000"
    machine.put(TASKS)
    node = start_node(machine)
    ids = machine.python("-c", FILL)
    assert machine.status()["queues"][0]["ready"] == COUNT
    node.kill()
    start_node(machine)
    start_worker(machine, "tasks", "-c", "2")
    (machine.work / "ids").write_text(ids)
    assert machine.python("-c", ASK, "ids", timeout_s=90).strip() == str(COUNT)
    assert not any(queue["ready"] for queue in machine.status()["queues"])
