"""What is in memory only, as users see it: on no disk, gone with the last node, and kept by the others when one dies."""

from __future__ import annotations

import json

from tests.acceptance.conftest import Machines, start_node
from tests.machines import Machine

SECRET = "only-in-memory-7f3a"  # a body to look for in files


def ready(machine: Machine) -> dict[str, int]:
    """Queue to what waits in it."""
    return {row["name"]: row["ready"] for row in json.loads(machine.mesh("queue", "list", "--json").stdout)}


def files_with(machine: Machine, text: str) -> list[str]:
    """The files of a machine that contain a text."""
    found = [path for path in machine.home.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in found if text.encode() in path.read_bytes()]


def test_with_the_only_node_what_is_transient_goes_and_what_is_durable_stays(machine: Machine) -> None:
    node = start_node(machine)
    machine.mesh("queue", "declare", "kept")
    machine.mesh("queue", "declare", "tmp", "--temporary")
    transient = json.loads(machine.mesh("publish", "kept", SECRET, "--transient", "--json").stdout)
    temporary = json.loads(machine.mesh("publish", "tmp", SECRET, "--json").stdout)
    durable = json.loads(machine.mesh("publish", "kept", "on-the-disk-91c2", "--json").stdout)
    assert (transient["copies"], temporary["copies"], durable["copies"]) == (0, 0, 1)
    assert ready(machine) == {"kept": 2, "tmp": 1}
    assert files_with(machine, "on-the-disk-91c2"), "bodies are stored as they are, so it would be seen"
    assert files_with(machine, SECRET) == []
    node.kill()
    assert files_with(machine, SECRET) == []
    start_node(machine)
    assert ready(machine) == {"kept": 1}
    assert machine.mesh("consume", "kept", "--count", "1").stdout == "on-the-disk-91c2\n"
    assert "tmp" not in machine.mesh("queue", "list").stdout


def test_a_takeover_keeps_what_is_transient_and_a_restarted_node_knows_the_temporary_queue_again(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    coordinator = start_node(first, "--name", "first")
    join = ("--name", "second", "--join", first.status()["nodes"][0]["address"])
    start_node(second, *join, secret=first.mesh("secret").stdout.strip())
    first.status_when("the second holds a copy", nodes=2, deputies=["second"], under_replicated=0)
    first.mesh("queue", "declare", "tmp", "--temporary")
    first.mesh("publish", "tmp", SECRET)
    after = json.loads(first.mesh("publish", "kept", "after it in the stream", "--json").stdout)
    assert after["copies"] == 2
    coordinator.kill()
    second.status_when("the deputy has taken over", 20, coordinator="second")
    assert ready(second) == {"kept": 1, "tmp": 1}
    start_node(first, "--name", "first")
    first.status_when("it is back", 20, coordinator="second", nodes=2)
    assert json.loads(first.mesh("publish", "tmp", "two", "--json").stdout)["copies"] == 0
    assert second.mesh("consume", "tmp", "--count", "2").stdout == f"{SECRET}\ntwo\n"
    assert files_with(first, SECRET) + files_with(second, SECRET) == []
