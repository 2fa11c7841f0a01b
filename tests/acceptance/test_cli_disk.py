"""R20 and R21 with real nodes and real disks: damage, a disk that is nearly full, and one that is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import Machines, start_node, start_worker
from tests.machines import Machine
from tests.polling import poll_until

TASKS = Path(__file__).with_name("tasks.py")
PUBLISH = """
import sys, tasks
from mesh import errors
count, size, timeout_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
sent = 0
try:
    tasks.app.publish_timeout = timeout_s
    for number in range(count):
        tasks.echo.apply_async(("x" * size,), task_id=f"task-{sys.argv[4]}-{number}")
        sent += 1
except errors.PublishError as error:
    print(type(error).__name__, str(error).replace("\\n", " "))
print("sent", sent)
"""
MIB = 1 << 20
DEADLINE_S = 30.0
as_root = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can mount a small disk")


def publish(machine: Machine, name: str, count: int, size: int = 20, timeout_s: float = 10) -> str:
    """Publish with no worker in sight; returns what the program printed."""
    return machine.python("-c", PUBLISH, str(count), str(size), str(timeout_s), name)


def unsettled(machine: Machine) -> int:
    return sum(queue["ready"] + queue["unsettled"] for queue in machine.status()["queues"])


def findings(machine: Machine) -> dict[str, dict[str, str]]:
    """`mesh doctor --json` by check."""
    found = json.loads(machine.mesh("doctor", "--json", check=False).stdout)
    return {one["check"]: one for one in found}


# -- damage --------------------


def test_r20_a_damaged_file_costs_exactly_the_damaged_task_and_doctor_names_it(machine: Machine) -> None:
    machine.environment["MESH_TAKEOVER_PATIENCE_S"] = "1"
    machine.put(TASKS)
    start_node(machine)
    assert "sent 30" in publish(machine, "a", 30)
    machine.mesh("down")
    state = machine.home / "default" / "state.db"
    content = bytearray(state.read_bytes())
    content[content.rindex(b"task-a-17") + len(b"task-a-17") + 25] ^= 0xFF
    state.write_bytes(content)

    node = start_node(machine)
    poll_until(lambda: unsettled(machine) == 29, DEADLINE_S, "all other tasks are back")
    node.wait_for("lost, as no other node has it", DEADLINE_S)
    assert "(task task-a-17)" in node.output()
    assert len(list(state.parent.glob("state.db.damaged-*"))) == 1
    damage = findings(machine)["damage"]
    assert damage["verdict"] == "fail"
    assert "(task task-a-17)" in damage["text"]
    start_worker(machine, "tasks")
    poll_until(lambda: unsettled(machine) == 0, DEADLINE_S, "they run")


def test_r20_what_the_damaged_disk_lost_another_node_brings_back(machines: Machines) -> None:
    server, laptop = machines("server"), machines("laptop")
    server.put(TASKS)
    start_node(server)
    start_node(laptop, "--join", str(server.status()["nodes"][0]["address"]), secret=server.mesh("secret").stdout.strip())
    server.status_when("both hold everything", DEADLINE_S, nodes=2, deputies=1)
    assert "sent 30" in publish(server, "a", 30)
    laptop.mesh("down")
    state = laptop.home / "default" / "state.db"
    content = bytearray(state.read_bytes())
    for page in range(1, len(content) // 4096):  # all but the first page
        content[page * 4096 + 3800 : page * 4096 + 3900] = bytes(100)  # rows lie at the end of a page
    state.write_bytes(content)

    node = start_node(laptop)
    server.status_when("it is a full copy again", DEADLINE_S, deputies=1, under_replicated=0)
    poll_until(lambda: "got back what others hold" in node.output(), DEADLINE_S, "the node says that it is whole")
    assert "lost, as no other node has it" not in node.output()
    assert findings(laptop)["damage"]["verdict"] == "warn"
    assert unsettled(laptop) == 30


# -- a small disk --------------------


@pytest.fixture
def small(machines: Machines) -> Iterator[Machine]:
    """A machine whose state directory lies on a disk of 64 MiB."""
    machine = machines("small")
    machine.home.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(machine.home)], check=True)
    machine.put(TASKS)
    try:
        yield machine
    finally:
        machine.close()
        subprocess.run(["umount", str(machine.home)], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk with one file but for so many bytes."""
    ballast = folder / "ballast"
    disk = os.statvfs(folder)
    with ballast.open("ab") as file:
        left = disk.f_bavail * disk.f_frsize - leave
        while left > 0:
            file.write(bytes(min(left, MIB)))
            left -= MIB
    return ballast


@as_root
def test_r21_a_disk_that_is_nearly_full_takes_nothing_new_and_settles_what_is_there(small: Machine) -> None:
    node = start_node(small)
    assert "sent 20" in publish(small, "a", 20, 1000)
    ballast = fill(small.home, 2 * MIB)
    node.wait_for("the disk is nearly full", DEADLINE_S)
    refused = publish(small, "b", 1)
    assert "DiskLow" in refused
    assert "disk_reserve_bytes" in refused
    assert "sent 0" in refused
    assert findings(small)["disk"]["verdict"] == "fail"
    assert small.status()["coordinator"]  # nobody else could lead

    worker = start_worker(small, "tasks")
    poll_until(lambda: unsettled(small) == 0, DEADLINE_S, "what was accepted is run and settled")
    ballast.unlink()
    node.wait_for("publishers are let in", DEADLINE_S)
    assert "sent 5" in publish(small, "c", 5)
    worker.terminate()


@as_root
def test_r21_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(small: Machine) -> None:
    small.environment["MESH_DISK_RESERVE_FRACTION"] = "0"  # nothing is refused before the disk is full
    node = start_node(small)
    assert "sent 20" in publish(small, "a", 20, 1000)
    ballast = fill(small.home, 0)
    told = publish(small, "b", 2000, 100_000, timeout_s=3)
    assert "PublishUnknown" in told or "DiskLow" in told
    node.wait_for("nothing is confirmed until there is room", DEADLINE_S)
    assert node.running
    ballast.unlink()
    node.wait_for("what waited is written", DEADLINE_S)
    poll_until(lambda: "sent 5" in publish(small, "c", 5), DEADLINE_S, "publishers are let in again")
    held = unsettled(small)
    sent = int(told.split("sent ")[1])
    assert 25 + sent <= held <= 26 + sent  # and perhaps the one that nobody knew about
    node.kill()
    again = start_node(small)
    assert unsettled(small) == held
    assert "damaged" not in again.output()


@as_root
def test_r21_when_the_disk_is_full_the_reserve_lets_what_is_running_settle(small: Machine) -> None:
    node = start_node(small)
    assert "sent 200" in publish(small, "a", 200, 10_000)
    fill(small.home, 6 * MIB)
    reserve = small.home / "default" / "reserve"
    poll_until(reserve.exists, DEADLINE_S, "the reserve is made while there is room")
    fill(small.home, 0)
    start_worker(small, "tasks")
    poll_until(lambda: unsettled(small) == 0, DEADLINE_S, "all tasks are settled on the full disk")
    assert node.running
