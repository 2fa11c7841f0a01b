"""Nodes die, leave, vanish and return: nothing confirmed is lost, and nothing runs twice that need not."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab
from tests.machines import Process
from tests.polling import poll_until

Build = Callable[[Sequence[str]], Lab]
THREE = ["server", "laptop", "third"]
FINISH_S = 60.0


def outcome(load: Process) -> dict[str, Any]:
    """What load.py prints last."""
    assert load.wait(FINISH_S) == 0, load.output()
    answer: dict[str, Any] = json.loads(load.output().splitlines()[-1])
    return answer


def finished(fleet: Fleet, count: int) -> bool:
    return sum(fleet.history().finishes.values()) >= count


def test_coordinator_killed_under_load_loses_nothing_and_repeats_nothing(lab: Build) -> None:
    fleet = Fleet(lab(THREE))
    victim = fleet.up_all()
    near, far = fleet.others(victim)
    fleet.worker(near)
    fleet.worker(far)
    load = fleet.load(near, 400, 0.02)
    poll_until(lambda: finished(fleet, 60), 20, "the work is under way")

    killed_at_s = fleet.kill_node(victim)
    assert outcome(load) == {"submitted": 400, "right": 400}

    assert fleet.coordinator(near, other_than=victim) in (near, far)
    history = fleet.history()
    assert set(history.finishes) == set(range(400))
    assert history.repeated == {}
    assert history.longest_pause_s(killed_at_s) < 5


def test_a_worker_whose_node_died_goes_on_elsewhere_and_returns_when_it_is_back(lab: Build) -> None:
    fleet = Fleet(lab(["server", "laptop"]))
    fleet.up_all()
    fleet.worker("laptop")
    server = fleet.lab["server"]

    def attached_to() -> list[str]:
        return [worker["node"] for worker in server.status()["workers"]]

    load = fleet.load("server", 24, 1.5)
    poll_until(lambda: finished(fleet, 2), 20, "the work is under way")
    fleet.kill_node("laptop")
    poll_until(lambda: attached_to() == ["server"], 15, "the worker goes on elsewhere")
    fleet.up("laptop")
    poll_until(lambda: attached_to() == ["laptop"], 15, "it is at home")
    assert load.running, "it moved while it worked"
    assert outcome(load) == {"submitted": 24, "right": 24}
    assert fleet.history().repeated == {}


def test_a_short_split_runs_nothing_twice(lab: Build) -> None:
    """The hard one: the coordinator is the one that is cut off, and both sides publish."""
    fleet = Fleet(lab(THREE))
    minority = fleet.up_all()
    near, far = fleet.others(minority)
    fleet.worker(near)
    before = fleet.load(near, 150, 0.02)
    poll_until(lambda: finished(fleet, 20), 20, "the work is under way")

    fleet.lab.split([minority], [near, far])
    alone = fleet.load(minority, 50, 0.01, "default", 1000)
    fleet.coordinator(near, other_than=minority)
    poll_until(lambda: finished(fleet, 120), 20, "the majority goes on")
    fleet.lab.heal()

    assert outcome(before) == {"submitted": 150, "right": 150}
    assert outcome(alone) == {"submitted": 50, "right": 50}
    history = fleet.history()
    assert set(history.finishes) == {*range(150), *range(1000, 1050)}
    assert history.repeated == {}
    seen = {fleet.coordinator(name) for name in THREE}
    assert len(seen) == 1


def test_a_coordinator_that_is_told_to_leave_hands_over_and_nothing_is_redelivered(lab: Build) -> None:
    fleet = Fleet(lab(THREE))
    leaver = fleet.up_all()
    near, far = fleet.others(leaver)
    fleet.worker(near)
    load = fleet.load(far, 300, 0.02)
    poll_until(lambda: finished(fleet, 40), 20, "the work is under way")

    asked_at_s = time.time()
    assert fleet.lab[leaver].mesh("down").returncode == 0
    assert fleet.nodes[leaver].wait(5) == 0

    assert outcome(load) == {"submitted": 300, "right": 300}
    history = fleet.history()
    assert history.repeated == {}
    assert history.longest_pause_s(asked_at_s) < 2


def test_everything_confirmed_is_there_after_all_nodes_were_killed_at_once(lab: Build) -> None:
    fleet = Fleet(lab(THREE))
    fleet.up_all()
    load = fleet.load("laptop", 100, 0.0)
    load.wait_for("submitted", 20)
    for name in THREE:
        fleet.kill_node(name)
    load.kill()

    fleet.up_all()
    fleet.worker("third")
    poll_until(lambda: set(fleet.history().finishes) == set(range(100)), 30, "all that was confirmed has run")
    assert fleet.history().repeated == {}


def test_of_two_nodes_the_other_leads_at_once_when_the_host_refuses(lab: Build) -> None:
    """The process is gone but its host answers: a refused connection is a proof (R11)."""
    fleet = Fleet(lab(["server", "laptop"]))
    victim = fleet.up_all(env={"MESH_TAKEOVER_PATIENCE_S": "30"})
    (survivor,) = fleet.others(victim)
    fleet.worker(survivor)
    killed_at_s = fleet.kill_node(victim)
    load = fleet.load(survivor, 20, 0.0)
    assert outcome(load) == {"submitted": 20, "right": 20}
    first_start_s = fleet.history().events[0].at_s
    assert first_start_s - killed_at_s < 8


def test_of_two_nodes_the_other_waits_for_patience_when_the_machine_vanished(lab: Build) -> None:
    """Silence may be a cut: work that the other side may be running is not begun before patience is over (R10, R11)."""
    patience_s = 6
    fleet = Fleet(lab(["server", "laptop"]))
    gone = fleet.up_all(env={"MESH_TAKEOVER_PATIENCE_S": str(patience_s)})
    (survivor,) = fleet.others(gone)
    fleet.worker(survivor)
    cut_at_s = time.time()
    fleet.lab.link_down(gone)
    load = fleet.load(survivor, 20, 0.0)
    load.wait_for("submitted", FINISH_S)
    assert outcome(load) == {"submitted": 20, "right": 20}
    first_start_s = fleet.history().events[0].at_s
    assert patience_s - 0.5 < first_start_s - cut_at_s < patience_s + 5
    fleet.lab.link_up(gone)
    poll_until(lambda: len({fleet.coordinator(name) for name in fleet.lab.hosts}) == 1, 20, "they are one mesh again")
    assert fleet.history().repeated == {}
