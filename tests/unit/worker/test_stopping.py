"""Tasks that are ended from outside: their time is over, or they were revoked. What waits beside them goes on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from mesh.wire.calls import Call, Cancel
from mesh.wire.entries import Status
from mesh.wire.messages import OutcomeKind
from mesh.wire.working import Delivery
from tests.polling import poll_until
from tests.unit.worker.fakes import Running, delivery


def limited(id: str, task: str, *args: Any, **limits: int) -> Delivery:
    sent = delivery(id, task, *args)
    sent.call = Call(**limits)
    return sent


def goes_on(worker: Running) -> None:
    """The mesh may have to deliver more than once, as a slot is started again."""
    poll_until(lambda: worker.outcome(worker.call("add", 1, 2)).kind == OutcomeKind.DONE, 20, "a task after that")


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
def test_a_task_that_runs_for_longer_than_its_hard_limit_fails_and_is_not_run_again(pool: str) -> None:
    with Running(pool) as worker:
        worker.deliver(limited("i", "sleep" if pool == "process" else "sleep_in_steps", 60, hard_limit_ms=200))
        outcome = worker.outcome("i")
        assert (outcome.kind, outcome.status) == (OutcomeKind.DONE, Status.FAILURE)
        assert outcome.failure is not None
        assert outcome.failure.type_name == "mesh.errors.TimeLimitExceeded"
        goes_on(worker)


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
def test_a_soft_limit_raises_in_the_task_in_every_pool(pool: str) -> None:
    with Running(pool) as worker:
        worker.deliver(limited("i", "sleep_in_steps", 60, soft_limit_ms=100))
        outcome = worker.outcome("i")
        assert outcome.failure is not None
        assert outcome.failure.type_name == "mesh.errors.SoftTimeLimitExceeded"
        worker.deliver(limited("j", "sleep_later", 60, soft_limit_ms=100))
        outcome = worker.outcome("j")
        assert outcome.failure is not None
        assert outcome.failure.type_name == "mesh.errors.SoftTimeLimitExceeded"


def test_a_task_within_its_limits_is_left_alone() -> None:
    with Running("process") as worker:
        worker.deliver(limited("i", "sleep", 0.3, soft_limit_ms=20_000, hard_limit_ms=30_000))
        assert worker.outcome("i").status == Status.SUCCESS


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
def test_what_waits_is_given_up_when_it_is_revoked(pool: str, tmp_path: Path) -> None:
    with Running(pool) as worker:
        first = worker.call("wait_for", str(tmp_path / "go"))
        poll_until(lambda: (tmp_path / "go.started").exists(), 10, "the first task")
        worker.deliver(delivery("i", "add", 1, 2))
        worker.link.say(Cancel(worker.worker.id, ["i"], ""))
        (tmp_path / "go").touch()
        assert worker.outcome("i").kind == OutcomeKind.RETURNED
        assert worker.outcome(first).status == Status.SUCCESS


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
def test_what_runs_goes_on_unless_it_is_to_be_ended(pool: str, tmp_path: Path) -> None:
    with Running(pool) as worker:
        for name, task in (("a", "wait_for"), ("b", "wait_for")):
            id = worker.call(task, str(tmp_path / name))
            poll_until((tmp_path / f"{name}.started").exists, 10, "the task")
            worker.link.say(Cancel(worker.worker.id, [id], "SIGTERM" if name == "b" else ""))
            if name == "a":
                (tmp_path / name).touch()
                assert worker.outcome(id).status == Status.SUCCESS
            else:
                assert worker.outcome(id).kind in (OutcomeKind.LOST, OutcomeKind.DONE)
        goes_on(worker)


def test_in_a_process_the_signal_reaches_the_slot_and_then_it_is_killed(tmp_path: Path) -> None:
    with Running("process") as worker:
        id = worker.call("wait_for", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the task")
        pid = int((tmp_path / "go.started").read_text())
        worker.link.say(Cancel(worker.worker.id, [id], "SIGTERM"))
        begun_s = time.monotonic()
        assert worker.outcome(id).kind == OutcomeKind.LOST
        assert time.monotonic() - begun_s < 5
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
