"""Slots in child processes."""

from __future__ import annotations

import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

import msgspec

from mesh.worker.orders import CELLS, Start
from mesh.worker.pipe import Pipe
from mesh.worker.slots import Marks, Slot, Slots, two_pairs


class ProcessSlots(Slots):
    """Slots in spawned processes: ``concurrency`` of one lane (pool ``process``), or one of ``concurrency`` lanes."""

    def __init__(
        self,
        app: str,
        pool: str,
        concurrency: int,
        max_body_bytes: int,
        log_level: int = logging.WARNING,
        chunk_bytes: int = 128 << 10,
        name: str = "",
    ) -> None:
        super().__init__(*((concurrency, 1) if pool == "process" else (1, concurrency)))
        self._start = Start(app, pool, self.width, max_body_bytes, marks="", log_level=log_level, chunk_bytes=chunk_bytes, name=name)

    def launch(self, number: int) -> Slot:
        """Start a process; it loads the application by itself."""
        file, marks = _new_marks()
        ours, theirs = two_pairs()
        with file:
            host = _Process(theirs, file)
        for end in theirs:
            end.close()
        slot = Slot(number, self.width, Pipe(ours[0]), Pipe(ours[1]), marks, host)
        slot.send(msgspec.structs.replace(self._start, spool=str(self.spool.path), marks=host.marks))
        return slot


def _new_marks() -> tuple[IO[bytes], Marks]:
    """A file that parent and slot map. It has no name where a slot can inherit it, so that a killed worker leaves nothing behind."""
    if sys.platform == "win32":
        file: IO[bytes] = tempfile.NamedTemporaryFile(prefix="mesh-slot-", delete=False)  # noqa: SIM115  # the caller closes it
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115
    file.truncate(CELLS)
    return file, mmap.mmap(file.fileno(), CELLS)


class _Process:
    """A slot's process, at the head of a process group of its own: Ctrl-C in a terminal does not reach it nor what its task started."""

    def __init__(self, ends: list[socket.socket], marks: IO[bytes]) -> None:
        command = [sys.executable, "-m", "mesh.worker.slot"]
        self.marks = marks.name if sys.platform == "win32" else ""
        if sys.platform == "win32":
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP)
            assert self._process.stdin is not None
            for share in (end.share(self._process.pid) for end in ends):
                self._process.stdin.write(len(share).to_bytes(4, "big") + share)
            self._process.stdin.close()
        else:
            numbers = [*(end.fileno() for end in ends), marks.fileno()]
            command += map(str, numbers)
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=numbers, start_new_session=True)
        self.pid = self._process.pid

    def ended(self) -> str:
        """How it ended, empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        return f"ended with status {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within the time."""
        try:
            self._process.wait(max(0.0, timeout_s))
        except subprocess.TimeoutExpired:
            return False
        self._remove_marks()
        return True

    def signal(self, name: str) -> bool:
        """Send a signal to it and to all that its task started; False where there are no signals, or none of that name."""
        number = getattr(signal, name, None)
        if sys.platform == "win32" or not isinstance(number, signal.Signals) or self._process.returncode is not None:
            return False
        os.killpg(self.pid, number)
        return True

    def kill(self) -> str:
        """End it at once, and all that its task started: how it ended."""
        if self._process.returncode is None:  # not reaped yet, so the number is still its own
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._remove_marks()
        return self.ended()

    def _remove_marks(self) -> None:
        if self.marks:
            Path(self.marks).unlink(missing_ok=True)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
