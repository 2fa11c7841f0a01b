"""R3 with real nodes: a copied state directory does not start; one that gets past its seal is noticed, and the newer is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.acceptance.conftest import LOOPBACK, Machines, start_node
from tests.machines import Machine


def copy_home(original: Machine, copy: Machine) -> None:
    """As ``cp -a`` onto another machine does."""
    shutil.copytree(original.home, copy.home, ignore=lambda folder, names: {"run"} & set(names), symlinks=True)


def test_a_copied_state_directory_refuses_to_start_until_its_identity_is_reset(machines: Machines) -> None:
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


def test_the_same_home_on_a_host_of_another_name_refuses(machine: Machine) -> None:
    machine.environment["MESH_MACHINE_ID"] = "host-1"
    start_node(machine)
    machine.mesh("down")
    assert Path(machine.home / "default" / "seal").exists()
    refused = machine.mesh("up", *LOOPBACK, env={"MESH_MACHINE_ID": "host-2"}, check=False)
    assert refused.returncode == 3, refused
    assert "mesh identity reset" in refused.stderr
    start_node(machine)
