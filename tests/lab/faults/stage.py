"""A mesh under load to inject faults into, and the time from the first publish to calm as one round."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.faults import evidence
from tests.lab.faults.row import Row
from tests.lab.fleet import START_S, Fleet
from tests.lab.history import HISTORY, History
from tests.lab.hosts import Host, Lab
from tests.lab.mounts import PowerDisk
from tests.machines import Process, kill_pid
from tests.polling import poll_until

WAITING = 40
"""Tasks that wait at any time, so that only the mesh can be why none starts."""
WARM = 60
"""Starts before a fault, so that all slots work."""
RESUMED_AFTER = 60
"""Starts after a fault by which dispatch has surely resumed."""
CALM_S = 40.0
CONVERGED_S = 3.0
"""Within this all nodes agree after a fault is over."""
SLOTS = 2
WITHOUT_PREFETCH = {"MESH_PREFETCH_TARGET_S": "0"}
"""The 50 ms of work that a worker holds by default would hide most pauses."""
ROUND_NUMBERS = 1_000_000


class Stage:
    """Nodes, workers and watchers on all hosts of a lab. ``settings`` are given to nodes and workers as environment; ``disk`` makes the
    one on which a host keeps its state.
    """

    def __init__(
        self,
        lab: Lab,
        settings: Mapping[str, str] | None = None,
        seed: int = 1,
        disk: Callable[[Path], PowerDisk | None] | None = None,
    ) -> None:
        self.lab = lab
        self.disks = {host.name: disk(host.home) for host in lab} if disk is not None else {}
        self.settings = dict(settings or {})
        self.fleet = Fleet(lab)
        self.random = random.Random(seed)
        self.workers: dict[str, Process] = {}
        self.next_number = 0
        self.fleet.up_all(env=self.settings)
        self.employ(*self.names)
        for host in lab:
            host.python_spawn("watch.py")
        self.agree()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all hosts."""
        return tuple(self.lab.hosts)

    def employ(self, *names: str) -> None:
        """A worker on each of these hosts."""
        self.workers |= self.fleet.workers(names, slots=SLOTS, env=WITHOUT_PREFETCH | self.settings)

    def restart(self, name: str, *options: str, env: Mapping[str, str] | None = None, injected: bool = False) -> None:
        """`mesh up` once more on a host whose node is gone; as ``Fleet.up``."""
        self.fleet.up(name, *options, env={**self.settings, **(env or {})}, injected=injected)

    def bring_workers_home(self) -> None:
        """A worker whose node was killed goes on through another one: start it anew, so that each side of a cut has its own."""
        known = {(worker["name"], worker["node"]) for worker in self.ask("status")["workers"]}
        astray = [name for name in self.names if (f"{name}-{self.workers[name].pid}", name) not in known]
        for name in astray:
            self.workers[name].terminate()
        if astray:
            self.employ(*astray)

    def agree(self, deadline_s: float = CALM_S) -> float:
        """Wait until all nodes agree; returns since when they do, by the wall clock."""

        def agreed() -> float | None:
            return evidence.agreed_since(evidence.views(self.lab), self.names)

        since = poll_until(agreed, deadline_s, "all nodes agree on coordinator, term, members and a deputy")
        assert since is not None
        return since

    def coordinator(self) -> str:
        """The name of the host whose node all take for the coordinator."""
        self.agree()
        return str(self.latest()[self.names[0]].coordinator)

    def latest(self) -> dict[str, evidence.View]:
        """How the mesh looks to each node now."""
        return {view.host: view for view in evidence.views(self.lab)}

    def ask(self, *arguments: str) -> Any:
        """What a `mesh ... --json` command prints on the first host."""
        return json.loads(self.lab[self.names[0]].mesh(*arguments, "--json").stdout)

    def begin(self, publishers: Sequence[str] = (), *, seconds: float = 0.02) -> Round:
        """A round with publishers on these hosts (default: the last one); returns when all slots work."""
        return Round(self, tuple(publishers or self.names[-1:]), seconds)


class Round:
    """One fault's time: begin, strike, heal, end."""

    def __init__(self, stage: Stage, publishers: Sequence[str], seconds: float) -> None:
        self.stage = stage
        self.fleet = stage.fleet
        self.lab = stage.lab
        stage.bring_workers_home()
        stage.agree()
        self.began_at_s = time.time()
        self.struck_at_s = 0.0
        self.healed_at_s = 0.0
        self.running: set[int] = set()
        self.first = stage.next_number
        self.publishers: list[tuple[Host, Process]] = []
        self._forget_earlier_rounds()
        self.term = stage.latest()[stage.names[0]].term
        for name in publishers:
            self.publish_on(name, seconds)
        poll_until(lambda: self.starts_since(self.began_at_s) >= WARM, START_S, "the work is under way")

    def _forget_earlier_rounds(self) -> None:
        """Files of long runs would take long to read; all are opened for each line, so they may go at any time."""
        for host in self.lab:
            for name in (HISTORY, evidence.PUBLISHED, "stop"):
                (host.work / name).unlink(missing_ok=True)

    def publish_on(self, name: str, seconds: float = 0.02) -> range:
        """Start a publisher on a host; returns the numbers that are its own."""
        numbers = range(self.stage.next_number, self.stage.next_number + ROUND_NUMBERS)
        self.stage.next_number = numbers.stop
        process = self.lab[name].python_spawn("publish.py", str(numbers.start), str(WAITING), str(seconds))
        process.wait_for("begins", START_S)
        self.publishers.append((self.lab[name], process))
        return numbers

    # -- what happens ------------------------------------------------------------------------------------------------------

    def strike(self, blow: Callable[[], object]) -> None:
        """Inject the fault, and remember when and what ran."""
        self.struck_at_s = time.time()
        blow()
        self.running = evidence.running_at(self.history(), self.struck_at_s)

    def resume_s(self) -> float:
        """Wait until work goes on; returns the longest time without a start since the fault."""
        poll_until(lambda: self.starts_since(self.struck_at_s) > RESUMED_AFTER, CALM_S, "work goes on after the fault")
        return self.history().longest_pause_s(self.struck_at_s)

    def go_on(self, seconds: float) -> None:
        """Let the fault last: the time since it struck is what is waited for."""
        let_pass(self.struck_at_s + seconds - time.time())

    def heal(self, mend: Callable[[], object]) -> None:
        """End the fault, and remember when."""
        mend()
        self.healed_at_s = time.time()

    def history(self) -> History:
        """What ran on all hosts in this round."""
        return self.fleet.history()

    def starts_since(self, at_s: float) -> int:
        """How many tasks of this round began after a moment."""
        return sum(event.what == "start" and event.at_s > at_s and event.number >= self.first for event in self.history().events)

    # -- what came of it ---------------------------------------------------------------------------------------------------

    def end(self, row: Row, *, destroyed: Callable[[evidence.Published], set[int]] = lambda _: set(), converges: bool = True) -> Row:
        """Stop publishing, wait until all that was confirmed has run and all nodes agree, and fill in the row.

        ``destroyed`` tells what the fault had the right to lose; only for that nothing waits. With ``converges`` all have to agree soon.
        """
        self.stop_publishing()
        confirmed = evidence.published(self.lab)
        excused = destroyed(confirmed)
        wanted = set(confirmed.confirms) - excused
        calm = True
        try:
            poll_until(lambda: wanted <= set(self.history().finishes), CALM_S, "all that was confirmed has run", pause_s=0.2)
        except AssertionError:
            calm = False  # the row says what is lost
        agreed_at_s = self.stage.agree()
        if calm:
            poll_until(self.all_is_settled, CALM_S, "all is settled and has its copies")
        history = self.history()
        starts = {number: times for number, times in history.starts.items() if number >= self.first}
        again = evidence.begun_again(history, self.running, self.struck_at_s)
        row.tasks = len(confirmed.confirms)
        lost = set(confirmed.confirms) - set(history.finishes)
        row.lost, row.excused = len(lost), len(excused)
        row.require(lost == excused, f"lost other tasks than the fault may lose: {len(lost ^ excused)}")
        twice = [number for number, times in starts.items() if times > 1]
        row.duplicated = len(twice)
        if twice:
            row.evidence += evidence.runs_told(history, twice, self.struck_at_s)
            row.evidence += evidence.seen_told(evidence.views(self.lab), self.struck_at_s)
        row.running, row.repeated = len(self.running), len(again)
        row.elections = self.stage.latest()[self.stage.names[0]].term - self.term
        row.seconds = time.time() - self.began_at_s
        if self.healed_at_s:
            row.converged_s.append(max(0.0, agreed_at_s - self.healed_at_s))
            row.rivals_s.append(max(0.0, evidence.rivals_until(evidence.claims(self.lab), self.healed_at_s)))
            row.require(not converges or row.converged_s[-1] <= CONVERGED_S, f"all agree within {CONVERGED_S:g} s")
        return row

    def stop_publishing(self) -> None:
        """Tell all publishers to stop, and wait until they have."""
        for host, _ in self.publishers:
            (host.work / "stop").touch()
        for _, process in self.publishers:
            assert process.wait(CALM_S) == 0, process.output()

    def all_is_settled(self) -> bool:
        """Whether nothing is left to run, and all has its copies, as each node sees it."""
        return all(view.unsettled == 0 and view.under == 0 for view in self.stage.latest().values())


def let_pass(seconds: float) -> None:
    """A fault that lasts, not a wait for something: that much time, or none when it is negative."""
    time.sleep(max(0.0, seconds))


def children(pid: int) -> list[int]:
    """Child processes of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_all(pids: Sequence[int]) -> None:
    """SIGKILL to each."""
    for pid in pids:
        kill_pid(pid)
