"""Limits as their users meet them: real nodes, programs that publish, and the commands that set, show and explain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machines, start_node, start_worker
from tests.machines import Machine, Process
from tests.polling import poll_until

TASKS = Path(__file__).with_name("tasks.py")
PUBLISH = """
import sys, time, tasks
from mesh import errors
count, timeout_s = int(sys.argv[1]), float(sys.argv[2])
tasks.app.publish_timeout = timeout_s
sent, began = [], time.monotonic()
try:
    for number in range(count):
        began = time.monotonic()
        sent.append(tasks.echo.apply_async((number,), task_id=f"{sys.argv[3]}-{number}"))
        print("sent", len(sent), flush=True)
except errors.PublishError as error:
    print(type(error).__name__, error.outcome, str(error).replace("\\n", " "))
    print("within", time.monotonic() - began < timeout_s + 0.5)
"""
DEADLINE_S = 30.0


@pytest.fixture
def server(machine: Machine) -> Machine:
    """A machine with a node."""
    machine.put(TASKS)
    start_node(machine)
    return machine


def publish(machine: Machine, count: int, timeout_s: float, name: str) -> list[str]:
    """Publish one after the other; returns the lines that the program printed."""
    return machine.python("-c", PUBLISH, str(count), str(timeout_s), name).splitlines()


def start_publisher(machine: Machine, count: int, timeout_s: float, name: str) -> Process:
    """The same, while the test goes on."""
    return machine.python_spawn("-c", PUBLISH, str(count), str(timeout_s), name)


def queue(machine: Machine, name: str = "default") -> dict[str, object]:
    """A queue as `mesh queue list --json` shows it."""
    rows = json.loads(machine.mesh("queue", "list", "--json").stdout)
    return next((row for row in rows if row["name"] == name), {})


def findings(machine: Machine) -> dict[str, dict[str, str]]:
    """`mesh doctor --json` by check."""
    found = json.loads(machine.mesh("doctor", "--json", check=False).stdout)
    return {one["check"]: one for one in found}


def test_a_full_queue_is_queue_full_at_the_deadline_and_what_was_accepted_runs(server: Machine) -> None:
    server.mesh("queue", "set", "default", "max_length", "5")
    told = publish(server, 8, 1.0, "a")
    assert told[:5] == [f"sent {number}" for number in range(1, 6)]
    assert told[5].startswith("QueueFull not accepted queue-full: 5 messages")
    assert "max_length = 5" in told[5]
    assert "mesh queue set default" in told[5]
    assert told[6] == "within True"
    shown = queue(server)
    assert (shown["ready"], shown["max_length"], shown["overflow"]) == (5, 5, "reject-publish")
    start_worker(server, "tasks")
    poll_until(lambda: not queue(server)["ready"], DEADLINE_S, "what was accepted runs")
    assert [server.mesh("result", f"a-{number}").stdout.strip() for number in range(5)] == ["0", "1", "2", "3", "4"]


def test_a_publisher_that_waits_goes_on_as_soon_as_a_worker_makes_room(machines: Machines) -> None:
    server, laptop = machines("server"), machines("laptop")
    for machine in (server, laptop):
        machine.put(TASKS)
    start_node(server)
    start_node(laptop, "--join", str(server.status()["nodes"][0]["address"]), secret=server.mesh("secret").stdout.strip())
    server.status_when("both are there", DEADLINE_S, nodes=2)
    server.mesh("queue", "set", "default", "max_length", "3")
    publisher = start_publisher(laptop, 40, 60, "b")
    publisher.wait_for("sent 3", DEADLINE_S)
    poll_until(lambda: queue(server)["publishers_waiting"] == 1, DEADLINE_S, "it waits")
    assert "wait for room in the queue default" in server.mesh("status").stdout
    assert findings(server)["queues"]["verdict"] == "warn"
    start_worker(server, "tasks")
    publisher.wait_for("sent 40", DEADLINE_S)


def test_a_queue_that_drops_its_head_counts_says_so_and_the_caller_gets_task_dropped(server: Machine) -> None:
    server.mesh("queue", "set", "default", "max_length", "3")
    server.mesh("queue", "set", "default", "overflow", "dead-letter")
    assert publish(server, 5, 5.0, "c")[-1] == "sent 5"
    shown = queue(server)
    assert (shown["ready"], shown["dropped"], shown["dead_letters"]) == (3, 2, 2)
    assert "2 tasks of the queue default were dropped" in server.mesh("status").stdout
    failed = server.mesh("result", "c-0", check=False)
    assert failed.returncode == 1
    assert "TaskDropped" in failed.stderr
    letters = json.loads(server.mesh("queue", "dead-letters", "default", "--json").stdout)
    assert [letter["id"] for letter in letters] == ["c-0", "c-1"]
    start_worker(server, "tasks")
    poll_until(lambda: not queue(server)["ready"], DEADLINE_S, "the others run")
    server.mesh("queue", "requeue", "default", "--all")
    poll_until(lambda: server.mesh("result", "c-0", check=False).stdout.strip() == "0", DEADLINE_S, "what was put back runs")


def test_short_memory_stops_publishers_shows_everywhere_and_lets_them_in_again(machine: Machine) -> None:
    machine.put(TASKS)
    node = start_node(machine)
    machine.mesh("config", "set", "memory_limit_bytes", "1000000")
    node.wait_for("memory is short", DEADLINE_S)
    told = publish(machine, 1, 1.0, "d")
    assert told[0].startswith("MeshBusy not accepted busy: the node takes")
    assert "memory_limit_bytes" in told[0]
    assert told[1] == "within True"
    assert machine.status()["alarms"][0]["kind"] == "memory"
    assert "all publishers wait for memory" in machine.mesh("status").stdout
    assert findings(machine)["room"]["verdict"] == "fail"
    publisher = start_publisher(machine, 1, 60, "e")
    machine.mesh("config", "set", "memory_limit_bytes", "--default")
    publisher.wait_for("sent 1", DEADLINE_S)
    assert node.output().count("memory is short") == 1
    assert node.output().count("there is memory again") == 1
    assert machine.status()["alarms"] == []


def test_a_result_that_was_removed_to_make_room_says_so(server: Machine) -> None:
    server.mesh("config", "set", "max_results_bytes", str(1 << 16))
    start_worker(server, "tasks")
    script = "import tasks\nfor n in range(5): print(len(tasks.echo.apply_async(('x' * 30000,), task_id=f'f-{n}').get(timeout=20)))"
    assert server.python("-c", script).split() == ["30000"] * 5
    poll_until(lambda: server.status()["results"]["evicted"] == 3, DEADLINE_S, "the oldest went")
    assert "3 results were removed before their time" in server.mesh("status").stdout
    removed = server.mesh("result", "f-0", check=False)
    assert removed.returncode != 0
    assert "result was removed" in removed.stderr
    assert server.mesh("result", "f-4").stdout.strip().startswith("xxx")
