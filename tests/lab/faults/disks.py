"""Disks that are wiped or old, and much that lies on them."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

from tests.lab.faults import evidence
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, Stage
from tests.polling import poll_until

ALONE_S = 3.0
"""Below takeover_patience_s: what is published alone only waits."""
FILL = """
import sys, time
from tasks import app, note
first, count = int(sys.argv[1]), int(sys.argv[2])
rates = []
for begin in range(first, first + count, 1000):
    started = time.perf_counter()
    app.submit_many([note.signature((number,), {"seconds": 0.0}, task_id=f"task-{number}") for number in range(begin, begin + 1000)])
    rates.append(1000 / (time.perf_counter() - started))
print(round(max(rates[:3])), round(sorted(rates[-5:])[2]))
"""
DRAIN_S = 120.0


def disk_wiped(stage: Stage, sizes: Sizes) -> Row:
    """7: the coordinator's state directory is gone; it comes back as a new machine."""
    row = Row("7", "coordinator killed and its disk wiped, copies=2")
    victim = stage.coordinator()
    act = stage.begin(publishers=[name for name in stage.names if name != victim][:1])
    act.strike(lambda: _wipe(stage, victim))
    row.pauses_s.append(act.resume_s())
    act.heal(lambda: stage.restart(victim))
    poll_until(lambda: stage.latest()[victim].under == 0 and stage.latest()[victim].coordinator, CALM_S, "all has its copies again")
    row.notes.append(f"all has its copies again {time.time() - act.healed_at_s:.1f} s after the new node answered")
    return act.end(row)


def _wipe(stage: Stage, name: str) -> None:
    stage.fleet.kill_node(name)
    _remove(stage.lab[name].home)


def _remove(folder: Path) -> None:
    """At once: programs of the host look into it, and write there, all the time."""
    gone = folder.with_name(f"{folder.name}-gone")
    folder.rename(gone)
    shutil.rmtree(gone)


def alone_then_wiped(stage: Stage, sizes: Sizes) -> Row:
    """8: published on a node that is cut off, confirmed with one copy, and then that disk is wiped."""
    row = Row("8", "published while alone, then that disk wiped")
    leader = stage.coordinator()
    lone = next(name for name in stage.names if name != leader)
    act = stage.begin(publishers=[leader])
    act.strike(lambda: stage.lab.split([lone], [name for name in stage.names if name != lone]))
    numbers = act.publish_on(lone)
    poll_until(lambda: len(evidence.published([stage.lab[lone]]).confirms) >= 20, CALM_S, "the lone node confirms")
    act.go_on(ALONE_S)
    wiped_at_s = time.time()
    _wipe(stage, lone)
    act.heal(lambda: (stage.lab.heal(), stage.restart(lone)))

    def destroyed(known: evidence.Published) -> set[int]:
        """Only what the lone node had alone by then; the publisher goes on when the node is back."""
        return {number for number in known.with_copies(1) & set(numbers) if known.confirms[number][0] < wiped_at_s}

    row.pauses_s.append(act.resume_s())
    row = act.end(row, destroyed=destroyed)
    row.require(row.excused > 0, "the fault destroys what had one copy")
    row.require(row.duplicated == 0, "nothing runs twice")
    row.notes.append(f"{row.excused} confirmed with one copy on the wiped disk, {row.lost} lost")
    return row


def stale_disk(stage: Stage, sizes: Sizes) -> Row:
    """9: a node comes back with the disk that it had a while ago."""
    row = Row("9", "stale disk restored")
    leader = stage.coordinator()
    host = stage.lab[next(name for name in stage.names if name != leader)]
    kept = host.folder / "kept"
    act = stage.begin(publishers=[leader])
    act.strike(lambda: stage.fleet.kill_node(host.name))
    _copy(host.home, kept)
    stage.restart(host.name)
    stage.agree()
    before = act.starts_since(act.struck_at_s)
    poll_until(lambda: act.starts_since(act.struck_at_s) > before + 100, CALM_S, "much has happened since")
    stage.fleet.kill_node(host.name)
    _remove(host.home)
    _copy(kept, host.home)
    shutil.rmtree(kept)
    act.heal(lambda: stage.restart(host.name))
    row.pauses_s.append(act.resume_s())
    row = act.end(row)
    unsettled = {name: view.unsettled for name, view in stage.latest().items()}
    row.require(row.duplicated == 0, "a stale disk starts nothing again")
    row.notes.append("diverged 0" if set(unsettled.values()) == {0} else f"diverged: {unsettled}")
    return row


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)


def backlog(stage: Stage, sizes: Sizes) -> Row:
    """25: many tasks wait while there is no worker, then they are drained."""
    row = Row("25", f"{sizes.backlog:,} tasks wait, then are drained")
    leader = stage.coordinator()
    act = stage.begin()
    act.stop_publishing()
    for worker in stage.workers.values():
        worker.terminate()
    act.strike(lambda: None)
    rss = resident_bytes(stage.fleet.nodes[leader].pid)
    first = stage.next_number
    stage.next_number += sizes.backlog
    filled = stage.lab[stage.names[-1]].python("-c", FILL, str(first), str(sizes.backlog), timeout_s=DRAIN_S).split()
    grown = resident_bytes(stage.fleet.nodes[leader].pid) - rss
    stage.workers = stage.fleet.workers(stage.names, env=stage.settings)
    began = time.monotonic()
    wanted = set(range(first, first + sizes.backlog))
    poll_until(lambda: wanted <= set(act.history().finishes), DRAIN_S, "the backlog is drained", pause_s=0.3)
    rate = sizes.backlog / (time.monotonic() - began)
    row.notes.append(f"coordinator's RSS +{grown / 1e6:.0f} MB, {filled[0]} published/s at first, {filled[1]} at the end, {rate:.0f} run/s")
    for worker in stage.workers.values():
        worker.terminate()
    stage.employ(*stage.names)
    row = act.end(row)
    row.tasks += sizes.backlog
    row.running = row.repeated = 0
    return row


def resident_bytes(pid: int) -> int:
    """A process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
