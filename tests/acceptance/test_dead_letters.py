"""Settings of the whole mesh, and tasks that kill their worker, with the processes that a user starts (R22, R24)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import START_S, start_node, start_worker
from tests.machines import Machine, Process
from tests.polling import poll_until

TASKS = Path(__file__).with_name("poison.py")


@pytest.fixture
def ready(machine: Machine, node: Process) -> Machine:
    """A machine with a node and a worker of poison.py."""
    machine.put(TASKS)
    start_worker(machine, "poison", "-c", "1", "-n", "taster", "-Q", "default,mine")
    return machine


def config(machine: Machine) -> dict[str, Any]:
    rows: dict[str, Any] = json.loads(machine.mesh("config", "show", "--json").stdout)
    return rows


def dead_letters(machine: Machine, queue: str) -> list[dict[str, Any]]:
    letters: list[dict[str, Any]] = json.loads(machine.mesh("queue", "dead-letters", queue, "--json").stdout)
    return letters


def runs(machine: Machine, name: str) -> int:
    """How often a task of poison.py was begun."""
    return len((machine.work / f"{name}.runs").read_text().splitlines())


CALL = """
from poison import {task}
from mesh import DeliveriesExhausted
result = {task}.apply_async(({name!r},), queue={queue!r})
try:
    result.get(timeout=60)
except DeliveriesExhausted as error:
    print(result.id, type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("task", "queue", "limit"), [("twice", "default", 2), ("drink", "mine", 3)], ids=["the task's limit of 2", "the queue's limit of 3"]
)
def test_r24_a_task_that_kills_its_worker_ends_as_a_dead_letter_and_can_be_requeued(
    ready: Machine, task: str, queue: str, limit: int
) -> None:
    assert ready.mesh("queue", "set", "mine", "max_deliveries", "3").stdout == "queue:mine:max_deliveries = 3\n"
    id, kind, text = ready.python("-c", CALL.format(task=task, name="cup", queue=queue)).split(maxsplit=2)
    assert kind == "DeliveriesExhausted"
    assert f"max_deliveries = {limit}" in text
    assert runs(ready, "cup") == limit

    (letter,) = dead_letters(ready, queue)
    assert (letter["id"], letter["task"], letter["queue"]) == (id, f"poison.{task}", queue)
    assert len(letter["attempts"]) == limit
    for attempt in letter["attempts"]:
        assert attempt["node"] == ready.status()["nodes"][0]["name"]
        assert attempt["worker"] == "taster"
        assert attempt["started_ms"] <= attempt["ended_ms"] <= letter["at_ms"]
        assert "died" in attempt["how"]
    assert "taster" in ready.mesh("queue", "dead-letters", queue, "-v").stdout
    assert {one["name"]: one["dead_letters"] for one in ready.status()["queues"]}[queue] == 1

    (ready.work / "antidote").touch()
    assert ready.mesh("queue", "requeue", queue, "--task", id).stdout == f"{id}\n"
    poll_until(lambda: "cured" in ready.mesh("result", id, check=False).stdout, 20, "it has run once more, and returned")
    assert runs(ready, "cup") == limit + 1
    assert dead_letters(ready, queue) == []


def test_r24_dead_letters_survive_the_end_of_all_nodes(machine: Machine, ready: Machine) -> None:
    ready.python("-c", CALL.format(task="twice", name="cup", queue="default"))
    before = dead_letters(ready, "default")
    next(process for process in ready.processes if "up" in process.log.name).kill()
    start_node(ready)
    poll_until(lambda: dead_letters(ready, "default") == before, START_S, "the dead letter is there again")
    assert len(before) == 1


def test_r22_a_setting_of_the_mesh_counts_at_once_and_survives_a_restart(machine: Machine, node: Process) -> None:
    assert config(machine)["takeover_patience_s"]["origin"] == "default"
    assert machine.mesh("config", "set", "takeover_patience_s", "30").stdout == "takeover_patience_s = 30\n"
    machine.mesh("queue", "set", "mail", "max_deliveries", "9")
    changed = config(machine)
    assert (changed["takeover_patience_s"]["value"], changed["takeover_patience_s"]["origin"]) == (30, "mesh")
    assert changed["queue:mail:max_deliveries"]["value"] == 9
    node.kill()
    again = start_node(machine)
    assert again.pid != node.pid
    assert config(machine) == changed
    machine.mesh("config", "set", "takeover_patience_s", "")
    machine.mesh("queue", "set", "mail", "max_deliveries", "--default")
    assert config(machine)["takeover_patience_s"]["value"] == 10
    assert "queue:mail:max_deliveries" not in config(machine)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("config", "set", "copys", "2"), ("copys", "copies", "durability", "max_deliveries")),
        (("config", "set", "durability", "maybe"), ("durability", "available, safe", "maybe")),
        (("config", "set", "copies", "9"), ("copies", "between 1 and 7")),
        (("config", "set", "takeover_patience_s", "nan"), ("takeover_patience_s", "between 0 and 3600")),
        (("config", "set", "takeover_patience_s", "soon"), ("takeover_patience_s", "needs a number")),
        (("queue", "set", "mail", "copies", "2"), ("copies", "max_deliveries")),
    ],
    ids=str,
)
def test_a_wrong_key_or_value_is_refused_with_what_there_is(
    machine: Machine, node: Process, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    before = config(machine)
    refused = machine.mesh(*arguments, check=False)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.count("\n") == 1
    assert all(word in refused.stderr for word in words), refused.stderr
    assert config(machine) == before


def test_a_dead_letter_that_is_not_there_is_not_found(machine: Machine, node: Process) -> None:
    missing = machine.mesh("queue", "requeue", "mail", "--task", "00000000-0000-7000-8000-000000000000", check=False)
    assert missing.returncode == 3, missing
    assert "mesh queue dead-letters mail" in missing.stderr
