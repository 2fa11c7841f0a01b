"""The console story of the README, literally, on two hosts that know nothing of each other's addresses."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab

Build = Callable[[Sequence[str]], Lab]
JOINED_WITHIN_S = 3.0


def test_a_laptop_joins_by_mdns_and_runs_what_the_server_asks_for(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop"]))
    server, laptop = fleet.lab["server"], fleet.lab["laptop"]
    fleet.up("server")

    asked = time.monotonic()
    laptop.mesh_spawn("up", env={"MESH_SECRET": fleet.secret})
    server.status_when("both machines are in one mesh", JOINED_WITHIN_S - (time.monotonic() - asked), nodes=2)
    assert sorted(node["name"] for node in laptop.status()["nodes"]) == ["laptop", "server"]

    fleet.worker("laptop", queue="laptop_task")
    assert server.python("script.py").strip() == "4 run on laptop"


def test_a_wrong_secret_is_refused_and_the_other_mesh_is_untouched(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop"]))
    fleet.up("server")
    before = fleet.lab["server"].status()
    wrong = fleet.secret[::-1]
    for options in ((), ("--join", before["nodes"][0]["address"])):
        refused = fleet.lab["laptop"].mesh("up", *options, env={"MESH_SECRET": wrong}, check=False)
        assert refused.returncode == 3, refused
        assert "mesh secret" in refused.stderr
        assert refused.stderr.count("\n") == 1
    after = fleet.lab["server"].status()
    assert (after["id"], after["nodes"], after["term"]) == (before["id"], before["nodes"], before["term"])


def test_without_a_secret_a_mesh_that_is_found_is_not_joined(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop"]))
    fleet.up("server")
    refused = fleet.lab["laptop"].mesh("up", check=False)
    assert refused.returncode == 3, refused
    assert "MESH_SECRET" in refused.stderr
    assert len(fleet.lab["server"].status()["nodes"]) == 1


def test_without_multicast_an_address_is_enough(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop"]))
    fleet.up("server", "--no-mdns")
    address = fleet.lab["server"].status()["nodes"][0]["address"]
    fleet.up("laptop", "--no-mdns", "--join", address)
    fleet.lab["server"].status_when("both machines are in one mesh", 5, nodes=2)
    fleet.worker("laptop", queue="laptop_task")
    assert fleet.lab["server"].python("script.py").strip() == "4 run on laptop"


def test_a_client_and_a_worker_need_no_node_on_their_machine(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop", "third"]))
    fleet.up("server")
    allowed = {"MESH_SECRET": fleet.secret}
    worker = fleet.lab["third"].mesh_spawn("worker", "-A", "tasks", "-Q", "laptop_task", env=allowed)
    fleet.lab["server"].status_when("the worker is attached", 15, workers=1)
    assert fleet.lab["laptop"].python("script.py", env=allowed).split()[0] == "4"
    assert len([node for node in fleet.lab["server"].status()["nodes"] if node["role"] == "coordinator"]) == 1
    assert worker.terminate() == 0


def test_a_client_that_finds_no_mesh_says_so_within_the_discovery_timeout(lab: Build) -> None:
    alone = Fleet(lab(["laptop"])).lab["laptop"]
    asked = time.monotonic()
    failed = alone.mesh("status", check=False, timeout_s=15)
    assert time.monotonic() - asked < 7
    assert failed.returncode == 3, failed
    assert "mesh up" in failed.stderr
