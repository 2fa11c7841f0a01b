"""Signals and sudden death, with a worker in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.polling import poll_until
from tests.unit.worker.test_worker import POOLS, gone

Start = Callable[[str, str], "Program"]


class Program:
    """A worker process that runs one task of the sample application; the task says when it runs, and where."""

    def __init__(self, pool: str, task: str, go: Path) -> None:
        command = [sys.executable, "-m", "tests.unit.worker.program", pool, task, str(go)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started = go.with_name(f"{go.name}.started")
        poll_until(started.exists, 20, "the task", pause_s=0.01)
        self.slot = int(started.read_text())

    def end(self) -> tuple[int, str]:
        """Its exit status and all that it said."""
        said, _ = self.process.communicate(timeout=10)
        return self.process.returncode, said


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """The task ends when this file exists."""
    return tmp_path / "go"


@pytest.fixture
def start(go: Path) -> Iterator[Start]:
    programs: list[Program] = []

    def start_one(pool: str, task: str) -> Program:
        programs.append(Program(pool, task, go))
        return programs[-1]

    yield start_one
    for program in programs:
        program.process.kill()
        program.process.communicate()
        poll_until(lambda program=program: gone(program.slot), 20, "the end of the slot")  # type: ignore[misc]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_lets_the_running_task_end(start: Start, go: Path, number: int) -> None:
    program = start("process", "wait_for")
    program.process.send_signal(number)
    os.kill(program.slot, number)  # as a terminal or a service manager does
    line = program.process.stdout.readline() if program.process.stdout else ""
    assert line.strip() == "waiting for running tasks: wait_for; stop again to end them now"
    go.touch()
    assert program.end() == (0, "one 0\n")
    assert gone(program.slot)


def test_a_second_signal_ends_the_running_task_and_gives_it_back(start: Start) -> None:
    program = start("process", "wait_for")
    program.process.send_signal(signal.SIGINT)
    if program.process.stdout:
        program.process.stdout.readline()
    program.process.send_signal(signal.SIGINT)
    code, said = program.end()
    assert (code, said.splitlines()[-1]) == (1, "one 1")
    assert gone(program.slot)


@pytest.mark.parametrize("pool", POOLS)
def test_slots_end_with_a_parent_that_is_killed(start: Start, pool: str) -> None:
    program = start(pool, "wait_for")
    program.process.kill()
    poll_until(lambda: gone(program.slot), 5, "the end of the slot", pause_s=0.01)
