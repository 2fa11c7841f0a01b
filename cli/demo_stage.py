"""The processes of `mesh demo`: nodes and workers with homes in one temporary folder, all on loopback, all ended at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from mesh.errors import MeshError

MESH = (sys.executable, "-m", "mesh.cli")
START_TIMEOUT_S = 15.0
LEAVE_TIMEOUT_S = 3.0
POLL_PAUSE_S = 0.05


class Stage:
    """A temporary folder and the processes that run in it. Use as a context: the end kills and removes everything."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def environment(self, node: str) -> dict[str, str]:
        """The environment of what belongs to a node: nothing of the user's own mesh."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MESH_") or name == "MESH_DEBUG"}
        return kept | {"MESH_HOME": str(self.folder / node), "PYTHONUNBUFFERED": "1"}

    def start_node(self, name: str, *, secret: str = "", seeds: tuple[str, ...] = ()) -> None:
        """Start a node on loopback; with a secret it joins, else it founds a mesh of its own."""
        variables = {"MESH_SECRET": secret} if secret else {}
        join = [part for seed in seeds for part in ("--join", seed)]
        self._start(name, name, ["up", "--name", name, "--interface", "127.0.0.1", "--found", *join], variables)

    def start_worker(self, name: str, node: str, app: str, queue: str) -> None:
        """Start a worker with one slot beside a node."""
        self._start(name, node, ["worker", "-A", app, "-Q", queue, "-c", "1", "-n", name], {})

    def _start(self, name: str, node: str, arguments: list[str], variables: Mapping[str, str]) -> None:
        with self._log(name).open("ab") as log:
            # A session of their own: Ctrl-C in the terminal is for the demo, which then ends them in order.
            self._processes[name] = subprocess.Popen(
                [*MESH, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment(node) | dict(variables),
                start_new_session=True,
            )

    def command(self, node: str, *arguments: str) -> str:
        """The output of a short `mesh` command on a node's home. Raises MeshError when it fails."""
        done = subprocess.run([*MESH, *arguments], capture_output=True, text=True, env=self.environment(node), timeout=30, check=False)
        if done.returncode:
            raise MeshError(f"`mesh {arguments[0]}` failed: {done.stderr.strip().removeprefix('mesh: ')}")
        return done.stdout.strip()

    def wait(self, what: str, ready: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until ``ready`` returns true. Raises MeshError when a process has ended or the time is over, with its last words."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise MeshError(f"{name} ended while waiting for {what}: {self.last_words(name)}")
            if time.monotonic() > deadline:
                raise MeshError(f"waited {timeout_s:g} s in vain for {what}; `mesh doctor` may say why")
            time.sleep(POLL_PAUSE_S)

    def stop(self, name: str) -> None:
        """Ask a process to leave and wait for it."""
        process = self._processes.pop(name)
        process.terminate()
        process.wait(LEAVE_TIMEOUT_S)

    def kill(self, name: str) -> int:
        """kill -9; returns the process id that it had."""
        process = self._processes.pop(name)
        process.kill()
        process.wait()
        return process.pid

    def last_words(self, name: str) -> str:
        """The last line that a process printed."""
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1].removeprefix("mesh: ") if lines else "it printed nothing"

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def close(self) -> None:
        """End every process, workers before nodes, and remove the folder."""
        processes = list(reversed(self._processes.values()))
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + LEAVE_TIMEOUT_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
