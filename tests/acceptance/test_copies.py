"""R6 with real processes: what a publish says when too few disks can be reached and one copy is not enough."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.conftest import Machines, start_node, start_worker

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
