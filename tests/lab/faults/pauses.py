"""Nodes that stand still, starve, or have the wrong time."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import START_S, Stage
from tests.polling import poll_until

HOUR_S = 3600.0
YEAR_S = 365 * 24 * HOUR_S
COUNTDOWN_S = 3.0
EARLY_S = 2.0
"""Earlier than this before its time nothing may start (R23)."""
ONE_COORDINATOR_S = 1.0
"""After a paused coordinator goes on, no two take themselves for it for longer than this."""
QUOTA_PERCENT = 5
DELAYED = """
import sys
from tasks import note
number, countdown = int(sys.argv[1]), float(sys.argv[2])
note.apply_async((number,), countdown=countdown, task_id=f"task-{number}")
"""


def coordinator_paused_1_s(stage: Stage, sizes: Sizes) -> Row:
    """2: SIGSTOP to the coordinator, SIGCONT a second later: about as long as others bear silence."""
    return _paused(stage, 1)


def coordinator_paused_5_s(stage: Stage, sizes: Sizes) -> Row:
    """2: five seconds: it is deposed meanwhile."""
    return _paused(stage, 5)


def coordinator_paused_30_s(stage: Stage, sizes: Sizes) -> Row:
    """2: thirty seconds: longer than patience."""
    return _paused(stage, 30)


def _paused(stage: Stage, seconds: float) -> Row:
    row = Row(f"2 ({seconds:g} s)", f"coordinator paused for {seconds:g} s")
    victim = stage.coordinator()
    pid = stage.fleet.nodes[victim].pid
    other = next(name for name in stage.names if name != victim)
    act = stage.begin(publishers=[other])
    act.strike(lambda: stage.lab.pause(pid))
    act.go_on(seconds)
    act.heal(lambda: stage.lab.resume(pid))
    row.pauses_s.append(act.resume_s())
    row = act.end(row)
    row.require(row.repeated == 0, "what runs is not begun again")
    row.require(row.rivals_s[-1] <= ONE_COORDINATOR_S, f"at most one coordinator {ONE_COORDINATOR_S:g} s after it goes on")
    return row


def starved(stage: Stage, sizes: Sizes) -> Row:
    """18: the coordinator's node gets a twentieth of one processor."""
    row = Row("18", f"coordinator with {QUOTA_PERCENT} % of a processor for {sizes.starved_s:g} s")
    try:
        limit = CpuLimit(QUOTA_PERCENT)
    except OSError as error:
        row.not_run = f"no cgroup for the processor here: {error}"
        return row
    try:
        victim = stage.coordinator()
        act = stage.begin(publishers=[name for name in stage.names if name != victim][:1])
        act.strike(lambda: limit.take(stage.fleet.nodes[victim].pid))
        act.go_on(sizes.starved_s)
        row.notes.append(f"{act.starts_since(act.struck_at_s) / sizes.starved_s:.0f} starts/s meanwhile")
        act.heal(limit.close)
        row.pauses_s.append(act.resume_s())
        row = act.end(row)
        row.require(row.duplicated == 0, "nothing runs twice")
        return row
    finally:
        limit.close()


class CpuLimit:
    """A control group that lets its processes have a share of one processor. Raises OSError where there can be none."""

    def __init__(self, percent: int) -> None:
        root = Path("/sys/fs/cgroup")
        version_1 = root / "cpu"
        name = f"meshlab-{os.getpid()}"
        self._parent = version_1 if version_1.is_dir() else root
        self._group = self._parent / name
        if self._parent is root:
            (root / "cgroup.subtree_control").write_text("+cpu")
        self._group.mkdir(exist_ok=True)
        if self._parent is version_1:
            (self._group / "cpu.cfs_period_us").write_text("100000")
            (self._group / "cpu.cfs_quota_us").write_text(str(1000 * percent))
        else:
            (self._group / "cpu.max").write_text(f"{1000 * percent} 100000")

    def take(self, pid: int) -> None:
        """Put a process with all its threads into the group."""
        (self._group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Let all processes go and delete the group; a second time does nothing."""
        if not self._group.exists():
            return
        for pid in (self._group / "cgroup.procs").read_text().split():
            (self._parent / "cgroup.procs").write_text(pid)
        self._group.rmdir()


def clock_an_hour_off(stage: Stage, sizes: Sizes) -> Row:
    """21: the coordinator's wall clock is an hour ahead."""
    return _clock_off(stage, "1 h", HOUR_S)


def clock_a_year_off(stage: Stage, sizes: Sizes) -> Row:
    """21: a year ahead."""
    return _clock_off(stage, "1 y", YEAR_S)


def _clock_off(stage: Stage, how_much: str, offset_s: float) -> Row:
    row = Row(f"21 ({how_much})", f"a coordinator's wall clock {how_much} ahead")
    host = stage.names[0]
    stage.fleet.nodes.pop(host).terminate()
    stage.restart(host, injected=True, env={"LAB_WALL_CLOCK_OFFSET_S": str(offset_s)})
    for name in stage.names[1:]:
        stage.fleet.nodes.pop(name).terminate()
    for name in stage.names[1:]:
        stage.restart(name, "--never-coordinate")
    assert stage.coordinator() == host
    act = stage.begin()
    number = stage.next_number
    stage.next_number += 1
    act.strike(lambda: stage.lab[stage.names[-1]].python("-c", DELAYED, str(number), str(COUNTDOWN_S)))
    asked_at_s = time.time()
    poll_until(lambda: number in act.history().starts, COUNTDOWN_S + START_S, "the task with a countdown begins")
    begun_at_s = next(event.at_s for event in act.history().events if event.number == number)
    row.notes.append(f"a task with a countdown of {COUNTDOWN_S:g} s began after {begun_at_s - asked_at_s:.1f} s")
    row.pauses_s.append(act.resume_s())
    row = act.end(row)
    row.require(begun_at_s - asked_at_s > COUNTDOWN_S - EARLY_S, f"nothing begins more than {EARLY_S:g} s early")
    return row
