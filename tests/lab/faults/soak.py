"""A random fault every half minute, for as long as wanted, while memory, open files and state on the disk of every node are sampled."""

from __future__ import annotations

import statistics
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.lab.faults.row import Row
from tests.lab.faults.stage import Round, Stage, children, kill_all, let_pass
from tests.lab.faults.table import THREE
from tests.lab.faults.watched import resident_bytes
from tests.lab.hosts import Lab

EVERY_S = 30.0
LASTS_S = 4.0
"""Of each fault: below takeover_patience_s."""
SAMPLE_S = 5.0
WARM_UP_S = 120.0
"""Caches, pools and the allocator fill before this; samples of a process are compared from here on."""
LEAST_SAMPLES = 12
SETTINGS = {"MESH_RESULT_EXPIRES_S": "30"}
"""Results are kept for a day by default, and memory grows with them until the first go: what is looked for is growth that has no end."""
RSS_SLOPE_MB_PER_H = 2.0
"""In the second half of a process's samples: in the first the tables fill that have a limit (removed results, pages of the database)."""
FILES_SLOPE_PER_H = 5.0
DISK_SLOPE_MB_PER_H = 20.0
RSS_NOISE_MB = 1.0
FILES_NOISE = 4.0
DISK_NOISE_MB = 4.0
"""Less growth than this in all is no slope, however short the time was."""


class Sample(NamedTuple):
    """One look at one node's process."""

    at_s: float
    host: str
    pid: int
    rss_mb: float
    files: int
    disk_mb: float


class Soak:
    """The mesh, its load, and what has been sampled. The last host's node is never killed: its samples go all the way."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.samples: list[Sample] = []
        self.faults: list[str] = []
        self.survivor = stage.names[-1]

    def run(self, seconds: float) -> Row:
        """Fault after fault; returns one row for all."""
        act = self.stage.begin(publishers=[self.survivor])
        act.strike(lambda: None)
        row = Row("26", f"soak: a random fault every {EVERY_S:g} s for {seconds / 60:g} min")
        begun = time.monotonic()
        try:
            while time.monotonic() - begun < seconds:
                self._fault_and_calm(act)
        except Exception as error:  # what was sampled until then counts all the same
            row.broken.append(f"ended after {(time.monotonic() - begun) / 60:.0f} min, at {self.faults[-1]}: {error}"[:200])
            traceback.print_exc()
        act.heal(lambda: None)
        row.pauses_s.append(act.history().longest_pause_s(act.struck_at_s))
        return act.end(row)

    def _fault_and_calm(self, act: Round) -> None:
        next_s = time.monotonic() + EVERY_S
        fault = self.stage.random.choice(FAULTS)
        self.faults.append(fault.__name__)
        fault(self, act)
        self._sample_until(next_s)

    def last(self, seconds: float) -> None:
        """Let time pass."""
        self._sample_until(time.monotonic() + seconds)

    def other(self) -> str:
        """A host whose node may be killed."""
        return self.stage.random.choice([name for name in self.stage.names if name != self.survivor])

    def _sample_until(self, moment_s: float) -> None:
        while True:
            now = time.monotonic()
            if not self.samples or time.time() - self.samples[-1].at_s >= SAMPLE_S:
                self._sample()
            if now >= moment_s:
                return
            let_pass(min(moment_s - now, SAMPLE_S))

    def _sample(self) -> None:
        for name, node in self.stage.fleet.nodes.items():
            files = len(list(Path(f"/proc/{node.pid}/fd").iterdir()))
            disk_mb = disk_bytes(self.stage.lab[name].home) / 1e6
            self.samples.append(Sample(time.time(), name, node.pid, resident_bytes(node.pid) / 1e6, files, disk_mb))


def node_killed(soak: Soak, act: Round) -> None:
    """SIGKILL, and up again."""
    name = soak.other()
    soak.stage.fleet.kill_node(name)
    soak.stage.restart(name)


def node_paused(soak: Soak, act: Round) -> None:
    """SIGSTOP, SIGCONT."""
    pid = soak.stage.fleet.nodes[soak.stage.random.choice(soak.stage.names)].pid
    soak.stage.lab.pause(pid)
    soak.last(LASTS_S)
    soak.stage.lab.resume(pid)


def node_left(soak: Soak, act: Round) -> None:
    """A polite goodbye, and up again."""
    name = soak.other()
    soak.stage.fleet.nodes.pop(name).terminate()
    soak.stage.restart(name)


def slots_killed(soak: Soak, act: Round) -> None:
    """SIGKILL to the slots of a worker."""
    kill_all(children(soak.stage.workers[soak.other()].pid))


def split(soak: Soak, act: Round) -> None:
    """One against two."""
    one = soak.stage.random.choice(soak.stage.names)
    _for_a_while(soak, lambda: soak.stage.lab.split([one], [name for name in soak.stage.names if name != one]))


def one_way(soak: Soak, act: Round) -> None:
    """One direction between two hosts."""
    sender, receiver = soak.stage.random.sample(soak.stage.names, 2)
    _for_a_while(soak, lambda: soak.stage.lab.cut_one_way(sender, receiver))


def loss(soak: Soak, act: Round) -> None:
    """A fifth of a host's frames."""
    _for_a_while(soak, lambda: soak.stage.lab.loss(soak.other(), 20))


def _for_a_while(soak: Soak, cut: Callable[[], None]) -> None:
    cut()
    soak.last(LASTS_S)
    soak.stage.lab.heal()


FAULTS = [node_killed, node_paused, node_left, slots_killed, split, one_way, loss]


class Slope(NamedTuple):
    """How a process changed after its warm-up."""

    host: str
    pid: int
    minutes: float
    rss_mb: float
    rss_mb_per_h: float
    rss_late_mb_per_h: float
    """Of the second half."""
    files: float
    files_per_h: float
    disk_mb: float
    disk_mb_per_h: float

    def leaks(self) -> list[str]:
        """What grows, beyond noise."""
        hours = self.minutes / 60
        found = []
        if self.rss_late_mb_per_h > max(RSS_SLOPE_MB_PER_H, RSS_NOISE_MB / (hours / 2)):
            found.append(f"memory without slope: {self.rss_late_mb_per_h:+.1f} MB/h on {self.host}")
        if self.files_per_h > max(FILES_SLOPE_PER_H, FILES_NOISE / hours):
            found.append(f"open files without slope: {self.files_per_h:+.1f}/h on {self.host}")
        if self.disk_mb_per_h > max(DISK_SLOPE_MB_PER_H, DISK_NOISE_MB / hours):
            found.append(f"disk without slope: {self.disk_mb_per_h:+.0f} MB/h on {self.host}")
        return found


def slopes(samples: list[Sample]) -> list[Slope]:
    """Of each process that lived long enough, by least squares (statistics.linear_regression)."""
    found = []
    for pid in dict.fromkeys(sample.pid for sample in samples):
        mine = [sample for sample in samples if sample.pid == pid]
        mine = [sample for sample in mine if sample.at_s - mine[0].at_s >= WARM_UP_S]
        if len(mine) < LEAST_SAMPLES:
            continue
        hours = [(sample.at_s - mine[0].at_s) / 3600 for sample in mine]
        memory, half = [sample.rss_mb for sample in mine], len(mine) // 2
        rss = statistics.linear_regression(hours, memory)
        late = statistics.linear_regression(hours[half:], memory[half:])
        files = statistics.linear_regression(hours, [float(sample.files) for sample in mine])
        disk = statistics.linear_regression(hours, [sample.disk_mb for sample in mine])
        found.append(
            Slope(
                mine[0].host,
                pid,
                60 * hours[-1],
                mine[-1].rss_mb,
                rss.slope,
                late.slope,
                statistics.median(sample.files for sample in mine),
                files.slope,
                mine[-1].disk_mb,
                disk.slope,
            )
        )
    return found


def disk_bytes(folder: Path) -> int:
    """What a folder holds; files come and go while it is looked at."""
    total = 0
    for file in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += file.lstat().st_size
    return total


def run(seconds: float) -> dict[str, Any]:
    """A soak on a mesh of its own; what came of it as JSON."""
    with Lab(THREE) as lab:
        soak = Soak(Stage(lab, SETTINGS, seed=int(time.time())))
        row = soak.run(seconds)
    found = slopes(soak.samples)
    row.broken += [leak for slope in found if slope.host == soak.survivor for leak in slope.leaks()]
    print(f"{row.title}: {row.tasks} tasks, lost {row.lost}, twice {row.duplicated}; {row.broken or 'no promise broken'}")
    return {
        "row": row.as_json(),
        "faults": soak.faults,
        "slopes": [slope._asdict() for slope in found],
        "samples": [list(sample) for sample in soak.samples],
        "broken": row.broken,
    }
