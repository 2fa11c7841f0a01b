"""Large arguments and results with real processes: bounded in time and memory, and small tasks go on beside them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machines, start_node, start_worker
from tests.machines import Machine, Process

TASKS = Path(__file__).with_name("tasks.py")
LIMIT = {"MESH_MAX_BODY_BYTES": str(80 << 20)}
BODY_BYTES = 64 << 20
BOUND_S = 90
"""Ten times what it takes on a machine with nothing else to do, and a bound nevertheless."""
GROWTH_BYTES = 48 << 20
"""Less than one such body: no node holds it in memory."""

ECHO = f"""
import os, threading, time
from tasks import add, echo
body = os.urandom({BODY_BYTES})
add.delay(1, 1).get(timeout=20)
beside, done = [], threading.Event()

def small():
    while not done.is_set():
        add.delay(20, 22).get(timeout=60)
        beside.append(time.monotonic())

thread = threading.Thread(target=small)
thread.start()
result = echo.delay(body)
published = time.monotonic()
value = result.get(timeout={BOUND_S})
done.set()
thread.join()
print(value == body, result.copies, sum(at < published for at in beside), sum(at > published for at in beside))
"""
TOO_LARGE = """
from tasks import echo
from mesh.errors import BodyTooLarge
try:
    echo.delay(bytes(81 << 20))
except BodyTooLarge as error:
    print(error)
"""


def peak_bytes(node: Process) -> int:
    """The most memory that a node ever had."""
    status = Path(f"/proc/{node.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def pair(machines: Machines) -> tuple[Machine, Machine, list[Process]]:
    """Two members of one mesh, and their nodes; the first coordinates."""
    first, second = machines("first"), machines("second")
    for machine in (first, second):
        machine.environment |= LIMIT
        machine.put(TASKS)
    nodes = [start_node(first, "--name", "first")]
    secret = first.mesh("secret").stdout.strip()
    nodes.append(start_node(second, "--name", "second", "--join", first.status()["nodes"][0]["address"], secret=secret))
    first.status_when("the second is a deputy", nodes=2, deputies=["second"])
    return first, second, nodes


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_64_mib_go_to_another_machine_and_back_beside_small_tasks_and_no_node_holds_them_in_memory(machines: Machines) -> None:
    first, second, nodes = pair(machines)
    start_worker(second, "tasks", "-c", "2")
    before = [peak_bytes(node) for node in nodes]
    right, copies, while_publishing, while_running = first.python("-c", ECHO, timeout_s=2 * BOUND_S).split()
    assert right == "True"
    assert copies == "2"
    assert int(while_publishing) >= 5, "small tasks had their round trips while the body was published"
    assert int(while_running) >= 5, "... and while it was fetched and its value came back"
    growth = [peak_bytes(node) - size for node, size in zip(nodes, before, strict=True)]
    assert max(growth) < GROWTH_BYTES, growth


def test_a_body_beyond_the_limit_is_refused_with_its_size_and_the_setting(machines: Machines) -> None:
    machine = machines("one")
    machine.environment |= LIMIT
    machine.put(TASKS)
    start_node(machine)
    said = machine.python("-c", TOO_LARGE)
    assert "max_body_bytes" in said
    assert str(80 << 20) in said
    assert str((81 << 20) + 10)[:5] in said
