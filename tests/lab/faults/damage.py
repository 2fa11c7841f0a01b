"""State directories that are copied, have no room, or are damaged."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from mesh.storage.damage import LOST
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, START_S, Stage
from tests.machines import MESH
from tests.polling import poll_until

CHUNK_BYTES = 1 << 16
PAGE_BYTES = 4096
ROWS_AT = 3800
"""Rows lie at the end of a page."""
OTHER_PORT = "17117"
NOT_LET_IN = 3
"""Exit code."""
HANDED_OVER_S = 5.0
TORN_BYTES = 10_000


def cloned_directory(stage: Stage, sizes: Sizes) -> Row:
    """10: the directory of a live node copied to another host, with its seal, and without it as on a virtual machine that was cloned."""
    row = Row("10", "state directory of a live node copied to another host, started there")
    leader = stage.coordinator()
    original, other = (stage.lab[name] for name in stage.names if name != leader)
    copy = other.folder / "copy"
    elsewhere = {"MESH_HOME": str(copy)}
    act = stage.begin(publishers=[leader])
    act.strike(lambda: shutil.copytree(original.home, copy, ignore=lambda _, names: {"run"} & set(names), symlinks=True))
    sealed = other.mesh("up", "--port", OTHER_PORT, env=elsewhere, check=False)
    row.require(sealed.returncode == NOT_LET_IN and "mesh identity reset" in sealed.stderr, "a copied directory refuses to start")
    (copy / "default" / "seal").unlink()
    twin = other.spawn(MESH, "up", "--port", OTHER_PORT, env=elsewhere, name="twin")
    row.require(twin.wait(START_S) == NOT_LET_IN, "the newer of two processes with one key is refused")
    row.require("another process with this node's key is alive" in twin.output(), "the copy says why")
    stage.fleet.nodes[original.name].wait_for("has this node's key and was refused", START_S)
    row.require(stage.fleet.nodes[original.name].running, "the original goes on")
    act.heal(lambda: shutil.rmtree(copy))
    row.pauses_s.append(act.resume_s())
    row = act.end(row)
    row.require(row.duplicated == 0, "a copy starts nothing again")
    row.notes.append("refused by its seal; without the seal refused as the newer of two, and both say so")
    return row


def full_disk(stage: Stage, sizes: Sizes) -> Row:
    """19: something else fills the coordinator's disk to the last byte."""
    row = Row("19", f"coordinator's disk of 64 MiB full to the last byte for {sizes.full_s:g} s")
    victim = stage.coordinator()
    other = next(name for name in stage.names if name != victim)
    ballast = stage.lab[victim].home / "ballast"
    act = stage.begin(publishers=[victim, other])
    act.strike(lambda: fill(ballast))
    poll_until(lambda: stage.latest()[other].coordinator not in (None, victim), CALM_S, "another node leads")
    handed_s = time.time() - act.struck_at_s
    row.require(handed_s <= HANDED_OVER_S, f"another node leads within {HANDED_OVER_S:g} s")
    publisher = next(process for host, process in act.publishers if host.name == victim)
    publisher.wait_for("DiskLow", START_S)
    row.pauses_s.append(act.resume_s())
    act.go_on(sizes.full_s)
    row.require(stage.fleet.nodes[victim].running, "the node without room goes on")
    act.heal(ballast.unlink)
    row = act.end(row)
    row.require(row.duplicated == 0, "nothing runs twice")
    row.notes.append(f"another node led after {handed_s:.1f} s; publishers of the full one got DiskLow until there was room")
    return row


def fill(ballast: Path) -> None:
    """Fill a disk with one file."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(CHUNK_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def torn_tail(stage: Stage, sizes: Sizes) -> Row:
    """20: the last transactions of a deputy's log are gone when it comes back."""
    row = Row("20 (torn)", f"deputy killed, the last {TORN_BYTES:,} bytes of its log cut off")
    row, said = _spoiled(stage, row, tear)
    row.require("damaged" not in said, "a torn tail is repaired without a word")
    return row


def flipped_bits(stage: Stage, sizes: Sizes) -> Row:
    """20: a byte in each page of a deputy's state and log is another when it comes back."""
    row = Row("20 (flipped)", "deputy killed, a byte flipped in each page of its state and its log")
    row, said = _spoiled(stage, row, flip)
    row.require("it was put aside as" in said, "the damage is noticed, and nothing is deleted")
    row.require("has got back what others hold" in said, "the node says that it is whole again")
    row.require(LOST not in said, "with copies nothing is lost")
    return row


def _spoiled(stage: Stage, row: Row, spoil: Callable[[Path], object]) -> tuple[Row, str]:
    """The row, and what the node said after it came back."""
    leader = stage.coordinator()
    victim = str(stage.lab[leader].status()["deputies"][0])
    act = stage.begin(publishers=[leader])
    act.strike(lambda: stage.fleet.kill_node(victim))
    spoil(stage.lab[victim].home / "default" / "state.db")
    act.heal(lambda: stage.restart(victim))
    row.pauses_s.append(act.resume_s())
    row = act.end(row)
    row.require(row.duplicated == 0, "nothing runs twice")
    return row, stage.fleet.nodes[victim].output()


def tear(state: Path) -> None:
    """Cut off the end of the write-ahead log."""
    log = state.with_name(f"{state.name}-wal")
    os.truncate(log, max(0, log.stat().st_size - TORN_BYTES))


def flip(state: Path) -> None:
    """Flip a byte in each page but the first."""
    for file in (state, state.with_name(f"{state.name}-wal")):
        content = bytearray(file.read_bytes())
        for page in range(1, len(content) // PAGE_BYTES):
            content[page * PAGE_BYTES + ROWS_AT] ^= 0xFF
        file.write_bytes(content)
