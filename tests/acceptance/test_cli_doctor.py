"""`mesh doctor` on a machine with and without a node."""

from __future__ import annotations

import json

from tests.acceptance.conftest import start_node, wait_until_up
from tests.machines import Machine, Process

LISTEN_ON_LOOPBACK = {"MESH_INTERFACE": "127.0.0.1"}


def verdicts(machine: Machine, exit_code: int) -> dict[str, str]:
    done = machine.mesh("doctor", "--json", env=LISTEN_ON_LOOPBACK, check=False)
    assert done.returncode == exit_code, done
    return {finding["check"]: finding["verdict"] for finding in json.loads(done.stdout)}


def test_a_healthy_node_has_nothing_to_mend(machine: Machine) -> None:
    node = machine.mesh_spawn("up", "--interface", "127.0.0.1", "--found")
    wait_until_up(machine, node)
    found = verdicts(machine, exit_code=0)
    assert "handshake" not in node.output(), "its own doctor is no stranger"
    assert "not admitted" not in node.output()
    for check in ("python", "encryption", "state", "disk", "clock", "node", "coordinator", "members", "copies", "ports", "multicast"):
        assert found[check] == "ok", found


def test_a_machine_without_a_node_is_told_how_to_start_one(machine: Machine) -> None:
    assert verdicts(machine, exit_code=0)["node"] == "warn"
    assert "mesh up" in machine.mesh("doctor", env=LISTEN_ON_LOOPBACK).stdout


def test_an_open_state_directory_fails_with_the_command_that_mends_it(machine: Machine, node: Process) -> None:
    machine.mesh("down")
    (machine.home / "default").chmod(0o755)
    assert verdicts(machine, exit_code=1)["state"] == "fail"
    assert "chmod" in machine.mesh("doctor", env=LISTEN_ON_LOOPBACK, check=False).stdout


def test_a_node_without_multicast_is_a_warning(machine: Machine) -> None:
    start_node(machine)
    assert verdicts(machine, exit_code=0)["multicast"] == "warn"
