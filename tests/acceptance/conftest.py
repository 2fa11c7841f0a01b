"""Real processes on loopback, as a user starts them; every one is ended and every folder removed when the test is over."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import report_on_failure
from tests.machines import Machine, Process
from tests.polling import poll_until

LOOPBACK = ("--interface", "127.0.0.1", "--no-mdns")
"""Nothing of a test is announced, bound or sent on the machine's real interfaces, and tests at the same time don't meet."""
START_S = 20.0

Machines = Callable[[str], Machine]


@pytest.fixture
def machines(request: pytest.FixtureRequest) -> Iterator[Machines]:
    """Makes machines by name. Their folders have short names, as a socket's path must not be longer than about 100 bytes."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-test-", ignore_cleanup_errors=True)))

        def make(name: str) -> Machine:
            machine = stack.enter_context(Machine(folder / name, name))
            report_on_failure(request, machine.logs)
            return machine

        yield make


@pytest.fixture
def machine(machines: Machines) -> Machine:
    """One machine without a mesh."""
    return machines("machine")


def start_node(machine: Machine, *options: str, secret: str = "") -> Process:
    """`mesh up` on loopback; returns when it answers."""
    node = machine.mesh_spawn("up", *LOOPBACK, *options, env={"MESH_SECRET": secret} if secret else {})
    wait_until_up(machine, node)
    return node


def wait_until_up(machine: Machine, node: Process) -> None:
    """Wait until `mesh status` works and says who coordinates."""

    def answers() -> bool:
        assert node.running, node.output()
        return machine.mesh("status", "--json", check=False).returncode == 0 and bool(machine.status()["coordinator"])

    poll_until(answers, START_S, f"the node of {machine.name} answers")


def start_worker(machine: Machine, app: str, *options: str) -> Process:
    """`mesh worker`; returns when the mesh knows the tasks that it has."""
    known = len(machine.status()["workers"])
    worker = machine.mesh_spawn("worker", "-A", app, *options)

    def attached() -> bool:
        assert worker.running, worker.output()
        workers = machine.status()["workers"]
        return len(workers) > known and all(one["tasks"] for one in workers)

    poll_until(attached, START_S, f"the worker of {app} is attached")
    return worker


@pytest.fixture
def node(machine: Machine) -> Process:
    """The machine's node, founded and answering."""
    return start_node(machine)
