"""A machine as a user has it: a home, a folder to work in, and processes that are started there and always ended.

``Machine`` runs them on this computer's loopback; :class:`tests.lab.hosts.Host` runs the same in a network namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.polling import poll_until

MESH = str(Path(sys.executable).with_name("mesh"))
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE")


class CommandFailed(AssertionError):
    """A command did not end as it was expected to."""


class Process:
    """A running process whose output goes to a file."""

    def __init__(self, arguments: Sequence[str], *, log: Path, environment: Mapping[str, str], folder: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment), cwd=folder
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative for the signal that ended it."""
        return self._popen.poll()

    @property
    def running(self) -> bool:
        return self.exit_code is None

    def output(self) -> str:
        """All that it has printed, both streams."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises CommandFailed with the output if it still runs after ``timeout_s``."""
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"pid {self.pid} still runs after {timeout_s:g} s:\n{self.output()}") from None

    def wait_for(self, text: str, timeout_s: float) -> None:
        """Wait until it has printed ``text``; fails at once when it ends without."""

        def printed() -> bool:
            ended = not self.running
            if text in self.output():
                return True
            if ended:
                raise CommandFailed(f"ended with {self.exit_code} before it printed {text!r}:\n{self.output()}")
            return False

        try:
            poll_until(printed, timeout_s, f"pid {self.pid} prints {text!r}")
        except AssertionError as error:
            raise CommandFailed(f"{error}\n{self.output()}") from None

    def signal(self, number: int) -> None:
        """Send a signal if it still runs."""
        self._popen.send_signal(number)

    def terminate(self, timeout_s: float = 10) -> int:
        """Ask it to leave politely and wait for that."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL, and reap it."""
        self._popen.kill()
        self._popen.wait(10)


class Machine:
    """One user's account on one computer, for as long as the ``with`` block lasts."""

    def __init__(self, folder: Path, name: str = "machine") -> None:
        self.name = name
        self.folder = folder
        self.home = folder / "mesh"
        self.work = folder / "work"
        self.work.mkdir(parents=True)
        (folder / "tmp").mkdir()
        self.environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        self.environment |= {
            "HOME": str(folder),
            "MESH_HOME": str(self.home),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "160",
        }
        self.processes: list[Process] = []

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # -- where commands run; a lab host overrides these two ---------------------------------------------------------------

    def placed(self, arguments: Sequence[str]) -> list[str]:
        """The command line that runs ``arguments`` on this machine."""
        return list(arguments)

    def strays(self) -> list[int]:
        """Pids of what this machine still runs beyond :attr:`processes`: detached nodes, a killed worker's slots."""
        ours = f"MESH_HOME={self.home}".encode()
        return [pid for pid in every_pid() if ours in variables_of(pid)]

    # -- running things --------------------------------------------------------------------------------------------------

    def run(
        self, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises CommandFailed on a non-zero exit code (if ``check``) or the timeout."""
        try:
            done = subprocess.run(
                self.placed(arguments),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                env=self.environment | dict(env or {}),
                cwd=self.work,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as late:
            said = [part.decode(errors="replace") if isinstance(part, bytes) else part or "" for part in (late.stdout, late.stderr)]
            raise CommandFailed(f"{self.name}$ {' '.join(arguments)}: not done after {timeout_s:g} s\n{''.join(said)}") from None
        if check and done.returncode:
            raise CommandFailed(f"{self.name}$ {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, *arguments: str, env: Mapping[str, str] | None = None, name: str = "") -> Process:
        """Start a command; it is killed at the latest when the machine closes. Its output goes to a file in ``folder``."""
        log = self.folder / f"{len(self.processes):02d}-{name or Path(arguments[0]).name}.log"
        process = Process(self.placed(arguments), log=log, environment=self.environment | dict(env or {}), folder=self.work)
        self.processes.append(process)
        return process

    def mesh(
        self, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True, timeout_s: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a ``mesh`` command to its end."""
        return self.run(MESH, *arguments, env=env, check=check, timeout_s=timeout_s)

    def mesh_spawn(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a ``mesh`` command that runs until it is told to stop: a node or a worker."""
        return self.spawn(MESH, *arguments, env=env, name=arguments[0])

    def python(self, *arguments: str, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> str:
        """Run a Python program in the work folder; returns what it printed."""
        return self.run(sys.executable, *arguments, env=env, timeout_s=timeout_s).stdout

    def python_spawn(self, *arguments: str, env: Mapping[str, str] | None = None) -> Process:
        """Start a Python program in the work folder."""
        return self.spawn(sys.executable, *arguments, env=env, name=Path(arguments[0]).stem if arguments[0].endswith(".py") else "python")

    def put(self, *files: Path) -> None:
        """Copy files into the work folder."""
        for file in files:
            shutil.copy(file, self.work / file.name)

    # -- asking the mesh --------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``mesh status --json``."""
        answer: dict[str, Any] = json.loads(self.mesh("status", "--json", timeout_s=15).stdout)
        return answer

    def status_when(self, condition: str, deadline_s: float = 10, **expected: object) -> dict[str, Any]:
        """The first status in which each of ``expected`` holds: a value, or for a list of things how many of them."""

        def as_expected() -> dict[str, Any] | None:
            status = self.status()
            seen = {
                key: len(status[key]) if isinstance(status[key], list) and isinstance(value, int) else status[key]
                for key, value in expected.items()
            }
            if seen != expected:
                raise AssertionError(f"{seen}, not {expected}")
            return status

        return poll_until(as_expected, deadline_s, f"{condition}, seen from {self.name}")  # type: ignore[return-value]

    def logs(self) -> str:
        """What all processes of this machine have printed, for a failure's report."""
        parts = [
            f"--- {self.name}: {process.log.name} (pid {process.pid}, exit {process.exit_code})\n{process.output()}"
            for process in self.processes
        ]
        return "\n".join(parts)

    # -- the end -----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End every process of this machine, by pid."""
        for process in self.processes:
            if process.running:
                process.signal(signal.SIGCONT)
                process.kill()
        for pid in self.strays():
            kill_pid(pid)


def every_pid() -> list[int]:
    """All processes of this computer; none where there is no /proc to ask."""
    proc = Path("/proc")
    return [int(entry.name) for entry in proc.iterdir() if entry.name.isdigit()] if proc.is_dir() else []


def variables_of(pid: int) -> list[bytes]:
    """The environment that a process was started with, ``NAME=value`` each; empty when it is gone or not ours to read."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def kill_pid(pid: int) -> None:
    """SIGKILL to one process, which may be gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
