"""The `mesh` command with faults inside of it that can't be made from outside, by what the environment asks for.

LAB_WALL_CLOCK_OFFSET_S    the wall clock that the node reads is off by this much
LAB_NO_FSYNC               transactions are not synced to the disk
LAB_DIE_AFTER_COMMIT       the node is killed after a commit, before anybody hears of it, as soon as the file of that name exists
"""

import os
import signal
import sys
import time
from pathlib import Path

from mesh.cli.main import main

from mesh import clock
from mesh.storage import sqlite
from mesh.storage.writer import Writer


def shift_clock(offset_s):
    clock.SystemClock.wall = lambda self: time.time() + offset_s


def die_after_commit(file):
    submit = Writer.submit

    def submit_and_die(self, batch):
        if file.exists():
            file.unlink()
            self.commit_here(batch)
            os.kill(os.getpid(), signal.SIGKILL)
        submit(self, batch)

    Writer.submit = submit_and_die


def stop_syncing():
    sqlite._PRAGMAS = ("PRAGMA synchronous = OFF",)


if offset := os.environ.get("LAB_WALL_CLOCK_OFFSET_S"):
    shift_clock(float(offset))
if os.environ.get("LAB_NO_FSYNC"):
    stop_syncing()
if name := os.environ.get("LAB_DIE_AFTER_COMMIT"):
    die_after_commit(Path(name))
sys.exit(main())
