"""The coordinator is killed, told to leave, or cut off, again and again while work waits: how long nothing starts, what is lost.

Three hosts. Two nodes take turns in coordinating and falling; the third never coordinates and has the client and the worker, whose
tasks write down when they start. The pause is the longest time between two starts from the blow on, so it also holds what is not
the election's: a task's own 10 ms and the way of its delivery. The worker takes nothing ahead of its free slots
(prefetch_target_s=0): the 50 ms of work that it holds by default would hide most pauses.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.harness import Figure, Plan, percentile
from tests.lab.fleet import Fleet
from tests.lab.history import History
from tests.lab.hosts import Lab, why_unavailable
from tests.polling import poll_until

TASK_S = 0.01
WAITING = 400
OBSERVER = "observer"
SETTLED_S = 30.0
RESUMED_AFTER = 100
"""Starts after the blow by which dispatch has surely resumed."""


def measure(plan: Plan) -> Iterator[Figure]:
    """Pauses after kills and after polite goodbyes; needs the lab."""
    if why_unavailable():
        return
    with Lab(["server", "laptop", OBSERVER]) as lab:
        scene = Scene(lab)
        kills = [scene.pause_after(scene.kill) for _ in range(plan.kills)]
        handovers = [scene.pause_after(scene.leave) for _ in range(max(3, plan.kills // 2))]
        vanished = [scene.pause_after(scene.unplug) for _ in range(max(2, plan.kills // 4))]
        lost, repeated = scene.end()
    blows = f"{len(kills)} kills"
    yield Figure("no dispatch after SIGKILL, p50", "s", (percentile(kills, 50),), 1, at_most=True, note=blows)
    yield Figure("no dispatch after SIGKILL, p95", "s", (percentile(kills, 95),), 2, at_most=True, note=f"longest {max(kills):.2f} s")
    yield Figure("no dispatch after `mesh down`", "s", tuple(handovers), 0.25, at_most=True, note=f"{len(handovers)} times")
    yield Figure("no dispatch after its machine vanished", "s", tuple(vanished), note=f"link down, {len(vanished)} times")
    yield Figure("lost", "tasks", (lost,), 0, at_most=True, note=f"of {scene.submitted:,}; {repeated} ran twice")


class Scene:
    """Three hosts with work under way."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fleet = Fleet(lab)
        self.submitted = 0
        lab[OBSERVER].put(Path(__file__).with_name("steady.py"))
        self.fleet.up("server")
        self.fleet.up("laptop")
        self.fleet.up(OBSERVER, "--never-coordinate")
        self._settle()
        self.fleet.worker(OBSERVER, env={"MESH_PREFETCH_TARGET_S": "0"})
        self._client = lab[OBSERVER].python_spawn("steady.py", str(WAITING), str(TASK_S))
        self._client.wait_for("begins", SETTLED_S)
        poll_until(lambda: self._starts_since(0) > RESUMED_AFTER, SETTLED_S, "work is under way")

    def pause_after(self, blow: Callable[[str], None]) -> float:
        """Hit the coordinator; returns the longest pause in dispatch, in seconds, and leaves three settled nodes."""
        victim = self.fleet.coordinator(OBSERVER)
        at_s = time.time()
        blow(victim)
        poll_until(lambda: self._starts_since(at_s) > RESUMED_AFTER, SETTLED_S, f"dispatch resumes after {victim} is gone")
        pause_s = History([self.lab[OBSERVER]]).longest_pause_s(at_s)
        self._restore(victim)
        return pause_s

    def kill(self, victim: str) -> None:
        """SIGKILL."""
        self.fleet.kill_node(victim)

    def leave(self, victim: str) -> None:
        """What `mesh down` sends, without the time that the command itself takes to start."""
        self.fleet.nodes.pop(victim).terminate()

    def unplug(self, victim: str) -> None:
        """The machine is gone without a word: only silence tells."""
        self.lab.link_down(victim)

    def _restore(self, victim: str) -> None:
        self.lab.link_up(victim)
        if victim not in self.fleet.nodes:
            self.fleet.up(victim)
        self._settle()

    def end(self) -> tuple[int, int]:
        """Let the client finish; returns how many tasks were lost and how many ran more than once."""
        (self.lab[OBSERVER].work / "stop").touch()
        assert self._client.wait(180) == 0, self._client.output()
        answer = json.loads(self._client.output().splitlines()[-1])
        self.submitted = answer["submitted"]
        return answer["lost"], len(History([self.lab[OBSERVER]]).repeated)

    def _settle(self) -> None:
        for host in self.lab:
            host.status_when("three nodes and a caught-up deputy", SETTLED_S, nodes=3, deputies=1)

    def _starts_since(self, at_s: float) -> int:
        return sum(event.what == "start" and event.at_s > at_s for event in History([self.lab[OBSERVER]]).events)
