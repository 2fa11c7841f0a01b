"""A queue that is far longer than what a node keeps in memory: it fills up while there is no worker, and is drained."""

from __future__ import annotations

import json
import statistics
import time
from collections import Counter

from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import Stage
from tests.lab.faults.watched import resident_bytes
from tests.machines import Process
from tests.polling import poll_until

FILL = """
import json, sys, time
from tasks import app, tally
first, count, block = map(int, sys.argv[1:])
seconds = []
for begin in range(first, first + count, block):
    began = time.perf_counter()
    for start in range(begin, begin + block, 1000):
        app.submit_many([tally.signature((number, "x" * 180), task_id=f"task-{number}") for number in range(start, start + 1000)])
    seconds.append(time.perf_counter() - began)
print(json.dumps(seconds))
"""
TALLY = "tally.log"
"""Where the tasks write (tasks.py says it again)."""
FILLED_S = 1200.0
DRAINED_S = 1800.0
SETTINGS = {"MESH_RESULT_EXPIRES_S": "60"}
"""Else the memory of a million results would be on top of what the queue takes."""
RSS_MAX_BYTES = 300_000_000
LEAST_SHARE = 0.7
"""Of the rates of a short queue."""
MUCH = 10
"""A queue that is longer than so many short ones shows what its length costs; the rates of less are noise."""


class Pile:
    """Tasks that are published without a worker, and then run."""

    def __init__(self, stage: Stage, count: int, block: int) -> None:
        self.stage = stage
        self.numbers = range(stage.next_number, stage.next_number + count)
        self.block = block
        stage.next_number = self.numbers.stop

    def fill(self) -> list[float]:
        """Publish all, on the last host; returns tasks per second of each block, confirms included."""
        arguments = (str(self.numbers.start), str(len(self.numbers)), str(self.block))
        said = self.stage.lab[self.stage.names[-1]].python("-c", FILL, *arguments, timeout_s=FILLED_S)
        return [self.block / seconds for seconds in json.loads(said.splitlines()[-1])]

    def drain(self) -> float:
        """Run all, with workers of its own; returns tasks per second from the first to the last."""
        workers = self.stage.fleet.workers(self.stage.names, env=self.stage.settings)
        poll_until(lambda: self._lines() >= len(self.numbers), DRAINED_S, "all have run", pause_s=0.5)
        _end(workers)
        times = [at_s for at_s, _ in self._ran()]
        return len(times) / max(0.001, max(times) - min(times))

    def runs(self) -> Counter[int]:
        """How often each has run."""
        return Counter(number for _, number in self._ran())

    def forget(self) -> None:
        """Remove what the tasks wrote."""
        for host in self.stage.lab:
            (host.work / TALLY).unlink(missing_ok=True)

    def _lines(self) -> int:
        return sum((host.work / TALLY).read_bytes().count(b"\n") for host in self.stage.lab if (host.work / TALLY).exists())

    def _ran(self) -> list[tuple[float, int]]:
        files = [host.work / TALLY for host in self.stage.lab if (host.work / TALLY).exists()]
        rows = (line.split() for file in files for line in file.read_text().splitlines())
        return [(float(at_s), int(number)) for at_s, number in rows]


def backlog(stage: Stage, sizes: Sizes) -> Row:
    """25: the long queue against a short one on the same mesh, just before."""
    row = Row("25", f"{sizes.backlog:,} tasks of 200 bytes wait, then are drained")
    act = stage.begin()
    act.stop_publishing()
    _end(stage.workers)
    act.strike(lambda: None)
    short, long = Pile(stage, sizes.backlog_block, sizes.backlog_block), Pile(stage, sizes.backlog, sizes.backlog_block)
    short_rates = short.fill()[0], short.drain()
    short.forget()
    leader = stage.coordinator()
    rss = resident_bytes(stage.fleet.nodes[leader].pid)
    filled = long.fill()
    grown = resident_bytes(stage.fleet.nodes[leader].pid) - rss
    began = time.monotonic()
    drained = long.drain()
    rates = statistics.median(filled[len(filled) // 2 :]), drained
    runs = long.runs()
    long.forget()
    row.notes.append(_told(grown, rates, short_rates, len(short.numbers), time.monotonic() - began))
    row.require(grown <= RSS_MAX_BYTES, f"memory grows by at most {RSS_MAX_BYTES / 1e6:g} MB")
    if sizes.backlog > MUCH * sizes.backlog_block:
        for what, rate, reference in zip(("publishing", "draining"), rates, short_rates, strict=True):
            row.require(rate >= LEAST_SHARE * reference, f"{what} keeps {LEAST_SHARE:.0%} of a short queue's rate")
    stage.employ(*stage.names)
    row = act.end(row)
    row.tasks += sizes.backlog
    row.lost += sum(number not in runs for number in long.numbers)
    row.duplicated += sum(times > 1 for times in runs.values())
    row.require(row.lost == 0, "nothing of it is lost")
    row.require(row.duplicated == 0, "nothing of it runs twice")
    row.running = row.repeated = 0
    return row


def _end(workers: dict[str, Process]) -> None:
    for worker in workers.values():
        worker.terminate()


def _told(grown: float, rates: tuple[float, float], short: tuple[float, float], short_count: int, seconds: float) -> str:
    published, drained = (f"{rate:,.0f}/s ({rate / reference:.0%})" for rate, reference in zip(rates, short, strict=True))
    return (
        f"coordinator's RSS +{grown / 1e6:.0f} MB, published {published}, run {drained} in {seconds:.0f} s; % of the rates of a queue of "
        f"{short_count:,} on the same mesh"
    )
