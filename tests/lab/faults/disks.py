"""Disks that are wiped or old."""

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
    row.require(set(unsettled.values()) == {0}, "all nodes see the same")
    row.notes.append("diverged 0" if set(unsettled.values()) == {0} else f"diverged: {unsettled}")
    return row


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)
