"""Who is let in, who is refused, and what each is told: real nodes on loopback, with mDNS there too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.conftest import LOOPBACK, START_S, Machines, start_node, wait_until_up
from tests.machines import Machine
from tests.polling import poll_until

ON_LOOPBACK = ("--interface", "127.0.0.1")
"""With mDNS, on loopback alone. Other meshes of the same test run may be heard there, as on any network."""
OTHER_SECRET = "abcdefghijklmnopqrstuvwxyz234567"
QUICK = {"MESH_DISCOVERY_TIMEOUT_S": "1"}


@pytest.fixture
def server(machines: Machines) -> Machine:
    """A machine whose node has founded a mesh and is announced on loopback."""
    server = machines("server")
    wait_until_up(server, server.mesh_spawn("up", *ON_LOOPBACK, "--found", "--name", "server"))
    return server


@pytest.fixture
def laptop(machines: Machines) -> Machine:
    """A machine without a mesh."""
    return machines("laptop")


def secret_of(machine: Machine) -> str:
    return machine.mesh("secret").stdout.strip()


def is_untouched(machine: Machine) -> bool:
    """No mesh was founded or joined, and its clients may still join as guests."""
    return not (machine.home / "default" / "secret").exists() and not (machine.home / "default" / "state.db").exists()


def test_with_the_secret_a_fresh_machine_joins_without_an_address(server: Machine, laptop: Machine) -> None:
    node = laptop.mesh_spawn("up", *ON_LOOPBACK, "--name", "laptop", env={"MESH_SECRET": secret_of(server)})
    server.status_when("the laptop is in", START_S, nodes=2)
    node.wait_for("(joined)", START_S)


def test_without_a_secret_a_mesh_that_is_here_is_left_alone(server: Machine, laptop: Machine) -> None:
    refused = laptop.mesh("up", *ON_LOOPBACK, check=False)
    assert refused.returncode == 3, refused
    assert refused.stderr.count("\n") == 1
    for hint in ("found a mesh at 127.0.0.1:", "mesh secret", "MESH_SECRET=... mesh up", "mesh up --found"):
        assert hint in refused.stderr
    assert is_untouched(laptop)
    assert len(server.status()["nodes"]) == 1


@pytest.mark.parametrize("with_address", [False, True])
def test_r5_a_wrong_secret_is_refused_and_changes_nothing(server: Machine, laptop: Machine, with_address: bool) -> None:
    address = ("--join", server.status()["nodes"][0]["address"]) if with_address else ()
    refused = laptop.mesh("up", *ON_LOOPBACK, *address, env={"MESH_SECRET": OTHER_SECRET}, check=False)
    assert refused.returncode == 3, refused
    assert "mesh secret" in refused.stderr
    assert is_untouched(laptop)
    assert len(server.status()["nodes"]) == 1


def test_r4_found_founds_a_second_mesh_beside_another(server: Machine, laptop: Machine) -> None:
    wait_until_up(laptop, laptop.mesh_spawn("up", *ON_LOOPBACK, "--found"))
    assert laptop.status()["id"] != server.status()["id"]


def test_an_address_where_nobody_answers_is_named(laptop: Machine) -> None:
    lost = laptop.mesh("up", *LOOPBACK, "--join", "127.0.0.1:9", env={"MESH_SECRET": OTHER_SECRET, **QUICK}, check=False)
    assert lost.returncode == 3, lost
    assert "127.0.0.1:9" in lost.stderr
    assert is_untouched(laptop)


def test_an_address_without_a_secret_is_refused(laptop: Machine) -> None:
    refused = laptop.mesh("up", *LOOPBACK, "--join", "127.0.0.1:9", check=False)
    assert refused.returncode == 3, refused
    assert "mesh secret" in refused.stderr


def test_alone_with_a_secret_a_machine_founds_with_it(laptop: Machine) -> None:
    start_node(laptop, secret=OTHER_SECRET)
    assert secret_of(laptop) == OTHER_SECRET


def test_the_secret_may_come_from_a_file(laptop: Machine) -> None:
    path = laptop.work / "secret.txt"
    path.write_text(OTHER_SECRET + "\n")
    start_node(laptop, "--secret-file", str(path))
    assert secret_of(laptop) == OTHER_SECRET


def test_a_weak_secret_is_refused_as_wrong_usage(laptop: Machine) -> None:
    weak = laptop.mesh("up", *LOOPBACK, env={"MESH_SECRET": "swordfish"}, check=False)
    assert weak.returncode == 2, weak
    assert "128" in weak.stderr
    assert is_untouched(laptop)


def test_a_member_comes_back_without_its_secret_and_waits_for_nobody(laptop: Machine) -> None:
    start_node(laptop)
    laptop.mesh("down")
    node = start_node(laptop, "--join", "127.0.0.1:9")
    assert laptop.status()["nodes"][0]["pid"] == node.pid


def test_a_member_given_another_secret_hears_both_ways_out(laptop: Machine) -> None:
    start_node(laptop)
    laptop.mesh("down")
    refused = laptop.mesh("up", *LOOPBACK, env={"MESH_SECRET": OTHER_SECRET}, check=False)
    assert refused.returncode == 3, refused
    assert "MESH_SECRET" in refused.stderr
    assert "--mesh" in refused.stderr
    start_node(laptop)


def test_a_home_that_others_can_read_is_refused_with_the_command_that_mends_it(laptop: Machine) -> None:
    start_node(laptop)
    laptop.mesh("down")
    (laptop.home / "default" / "secret").chmod(0o644)
    refused = laptop.mesh("up", *LOOPBACK, check=False)
    assert refused.returncode == 3, refused
    assert "chmod" in refused.stderr


def test_a_detached_node_that_is_refused_says_so_here(server: Machine, laptop: Machine) -> None:
    refused = laptop.mesh("up", "-d", *ON_LOOPBACK, check=False)
    assert refused.returncode == 3, refused
    assert "mesh secret" in refused.stderr
    assert laptop.strays() == []


def test_r4_two_meshes_of_one_user_live_side_by_side(laptop: Machine) -> None:
    start_node(laptop)
    laptop.mesh("up", "-d", *LOOPBACK, "--mesh", "shop")
    names = [laptop.mesh("status", "--mesh", name).stdout.split()[1] for name in ("default", "shop")]
    assert names == ["default", "shop"]
    laptop.mesh("down", "--mesh", "shop")
    assert laptop.status()["mesh"] == "default"


def test_down_without_a_node_is_not_found(laptop: Machine) -> None:
    nothing = laptop.mesh("down", check=False)
    assert nothing.returncode == 3
    assert "mesh up" in nothing.stderr


def test_secret_without_a_mesh_is_not_found(laptop: Machine) -> None:
    nothing = laptop.mesh("secret", check=False)
    assert nothing.returncode == 3
    assert nothing.stdout == ""


def test_a_log_file_takes_what_the_node_logs(laptop: Machine) -> None:
    log = Path(laptop.work / "node.log")
    node = start_node(laptop, "--logfile", str(log), "-l", "info")
    poll_until(lambda: " INFO coordinator is " in log.read_text(), START_S, "the log names the coordinator")
    assert " INFO " not in node.output()
