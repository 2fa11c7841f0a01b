"""Where the benchmarks run: one machine on loopback, or hosts of the lab."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.machines import Machine, Process
from tests.polling import poll_until

HERE = Path(__file__).parent
PROGRAMS = (HERE / "tasks.py", HERE / "client.py")
LOOPBACK = ("--interface", "127.0.0.1", "--no-mdns")
START_S = 30.0


@contextmanager
def one_machine() -> Iterator[Machine]:
    """A machine on loopback that has the programs of the benchmarks but no node yet."""
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", ignore_cleanup_errors=True) as folder, Machine(Path(folder) / "m") as machine:
        machine.put(*PROGRAMS)
        yield machine


def start_node(machine: Machine) -> Process:
    """`mesh up`; returns when it answers."""
    node = machine.mesh_spawn("up", *LOOPBACK)
    poll_until(lambda: machine.mesh("status", "--json", check=False).returncode == 0, START_S, "the node answers")
    return node


def start_worker(machine: Machine, app: str = "tasks", slots: int = 2) -> Process:
    """`mesh worker`; returns when the mesh knows its tasks."""
    worker = machine.mesh_spawn("worker", "-A", app, "-c", str(slots))
    poll_until(lambda: any(one["tasks"] for one in machine.status()["workers"]), START_S, "a worker is attached")
    return worker


def client(machine: Machine, mode: str, count: int) -> dict[str, float]:
    """Run client.py; returns its figures."""
    figures: dict[str, float] = json.loads(machine.python("client.py", mode, str(count), timeout_s=180).splitlines()[-1])
    return figures
