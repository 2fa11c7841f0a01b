"""R3 with real nodes: a copied state directory does not start; one that gets past its seal is noticed, and the newer is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.acceptance.conftest import LOOPBACK, Machines, start_node
from tests.machines import Machine
from tests.polling import poll_until


def copy_home(original: Machine, copy: Machine) -> None:
    """As ``cp -a`` onto another machine does."""
    shutil.copytree(original.home, copy.home, ignore=lambda folder, names: {"run"} & set(names), symlinks=True)


def test_r3_a_copied_state_directory_refuses_to_start_until_its_identity_is_reset(machines: Machines) -> None:
    server, laptop = machines("server"), machines("laptop")
    start_node(server)
    server.mesh("down")
    copy_home(server, laptop)
    start_node(server)

    refused = laptop.mesh("up", *LOOPBACK, check=False)
    assert refused.returncode == 3, refused
    assert refused.stderr.count("\n") == 1
    assert "mesh identity reset" in refused.stderr

    laptop.mesh("identity", "reset")
    address = str(server.status()["nodes"][0]["address"])
    start_node(laptop, "--join", address)
    status = server.status_when("the copy is a member of its own", 20, nodes=2)
    assert len({node["id"] for node in status["nodes"]}) == 2
    assert {node["state"] for node in status["nodes"]} == {"alive"}


def test_r3_the_same_home_on_a_host_of_another_name_refuses(machine: Machine) -> None:
    machine.environment["MESH_MACHINE_ID"] = "host-1"
    start_node(machine)
    machine.mesh("down")
    assert Path(machine.home / "default" / "seal").exists()
    refused = machine.mesh("up", *LOOPBACK, env={"MESH_MACHINE_ID": "host-2"}, check=False)
    assert refused.returncode == 3, refused
    assert "mesh identity reset" in refused.stderr
    start_node(machine)


def test_r3_of_two_live_nodes_with_one_key_the_newer_is_refused_and_both_say_so(machines: Machines) -> None:
    server, laptop, clone = machines("server"), machines("laptop"), machines("clone")
    start_node(server)
    original = start_node(laptop, "--join", str(server.status()["nodes"][0]["address"]), secret=server.mesh("secret").stdout.strip())
    server.status_when("both are in", 20, nodes=2)
    copy_home(laptop, clone)
    (clone.home / "default" / "seal").unlink()  # as on a virtual machine that was cloned whole

    newer = clone.mesh_spawn("up", *LOOPBACK)
    assert newer.wait(20) == 3
    assert "another process with this node's key is alive" in newer.output()
    assert "mesh identity reset" in newer.output()
    original.wait_for("has this node's key and was refused", 10)
    assert original.running
    status = server.status()
    assert {node["pid"] for node in status["nodes"] if node["state"] == "alive"} == {node.pid for node in (server.processes[0], original)}

    clone.mesh("identity", "reset")
    start_node(clone)
    server.status_when("the clone is a member of its own", 20, nodes=3)


def test_r3_a_node_that_was_killed_and_restarted_at_once_is_not_taken_for_its_twin(machines: Machines) -> None:
    server, laptop = machines("server"), machines("laptop")
    start_node(server)
    first = start_node(laptop, "--join", str(server.status()["nodes"][0]["address"]), secret=server.mesh("secret").stdout.strip())
    server.status_when("both are in", 20, nodes=2)
    for _ in range(3):
        first.kill()
        first = start_node(laptop)
    poll_until(lambda: [node["state"] for node in server.status()["nodes"]] == ["alive", "alive"], 20, "it is back")
    assert first.running
    assert "key" not in "".join(line for line in first.output().splitlines() if "ERROR" in line)
    assert "two processes" not in server.logs()
