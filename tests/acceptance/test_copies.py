"""R6 and R8 with real processes: how many copies a publish has, and what it says when it does not know, or has too few."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.acceptance.conftest import LOOPBACK, Machines, start_node, start_worker, wait_until_up
from tests.machines import Machine

TASKS = Path(__file__).with_name("tasks.py")
PUBLISH = """
from tasks import add, app
from mesh import NotEnoughCopies
app.publish_timeout = 1.5
try:
    result = add.apply_async((20, 22), task_id="the-answer")
    print("confirmed", result.copies, result.get(timeout=20))
except NotEnoughCopies as error:
    print(error.outcome, error.task_id, error.copies, error.result.get(timeout=20))
"""
ANY_ERROR = """
from tasks import add, app
from mesh import PublishError
app.publish_timeout = 1.0
try:
    result = add.apply_async((20, 22), task_id="the-answer")
    print("confirmed", result.copies)
except PublishError as error:
    print(type(error).__name__, error.outcome.replace(" ", "-"), *error.task_ids)
"""
STOPPED = """
import os, signal, time
from tasks import app
app.client.greeting(time.monotonic() + 5)
os.kill({pid}, signal.SIGSTOP)
"""


def test_r6_delay_returns_with_the_number_of_copies_that_there_are(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    start_node(first, "--name", "first")
    first.put(TASKS)
    ask = "from tasks import add; print(add.delay(1, 2).copies)"
    assert first.python("-c", ask).split() == ["1"]
    join = ("--name", "second", "--join", first.status()["nodes"][0]["address"])
    start_node(second, *join, secret=first.mesh("secret").stdout.strip())
    first.status_when("the second holds a copy", nodes=2, deputies=["second"], under_replicated=0)
    assert first.python("-c", ask).split() == ["2"]


def test_r8_a_publish_without_an_answer_is_unknown_and_the_same_id_again_runs_once(machine: Machine) -> None:
    node = start_node(machine)
    machine.put(TASKS)
    assert machine.python("-c", STOPPED.format(pid=node.pid) + ANY_ERROR).split() == ["PublishUnknown", "unknown", "the-answer"]
    node.signal(signal.SIGCONT)
    start_worker(machine, "tasks", "-c", "1")
    assert machine.python("-c", PUBLISH).split() == ["confirmed", "1", "42"]
    assert machine.status()["counters"]["finished"] == 1


def test_a_publish_that_the_node_refuses_is_not_accepted(machine: Machine) -> None:
    full = {"MESH_DISK_RESERVE_BYTES": str(1 << 60), "MESH_DISK_RESERVE_FRACTION": "1"}
    wait_until_up(machine, machine.mesh_spawn("up", *LOOPBACK, env=full))
    machine.put(TASKS)
    assert machine.python("-c", ANY_ERROR).split() == ["DiskLow", "not-accepted", "the-answer"]


def test_r6_durability_safe_raises_at_the_deadline_and_the_task_runs_all_the_same(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    start_node(first, "--name", "first")
    join = ("--name", "second", "--join", first.status()["nodes"][0]["address"])
    other = start_node(second, *join, secret=first.mesh("secret").stdout.strip())
    first.status_when("the second is a deputy", nodes=2, deputies=["second"])
    first.mesh("config", "set", "durability", "safe")
    first.put(TASKS)
    start_worker(first, "tasks", "-c", "1")

    other.kill()
    first.status_when("it is seen that the second is gone", coordinator="first", dispatching=True)
    assert first.python("-c", PUBLISH).split() == ["accepted", "the-answer", "1", "42"]

    start_node(second, *join)
    first.status_when("everything has its copies again", under_replicated=0)
    assert first.python("-c", PUBLISH).split() == ["confirmed", "2", "42"]
    assert first.status()["counters"]["finished"] == 1
