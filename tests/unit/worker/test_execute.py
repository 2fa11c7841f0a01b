"""One task from delivery to outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from mesh.wire import bodies
from mesh.wire.entries import Failure, Status
from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.worker.coroutines import Wait, waited
from mesh.worker.description import describe, plain
from mesh.worker.execute import Executor
from tests.unit.worker import sample
from tests.unit.worker.fakes import delivery

EXECUTOR = Executor(sample.app.tasks, max_body_bytes=2048)


@pytest.fixture(scope="module")
def wait() -> Iterator[Wait]:
    loop = asyncio.new_event_loop()
    yield partial(waited, loop)
    loop.close()


def failure(outcome: Outcome) -> Failure:
    assert (outcome.kind, outcome.status) == (OutcomeKind.DONE, Status.FAILURE)
    assert outcome.failure is not None
    return outcome.failure


def test_what_a_task_returns_is_the_body_of_the_outcome(wait: Wait) -> None:
    outcome = EXECUTOR.run(delivery("i", "add", 2, y=3), wait)
    assert (outcome.id, outcome.kind, outcome.status, bodies.decode(outcome.body)) == ("i", OutcomeKind.DONE, Status.SUCCESS, 5)


def test_a_coroutine_is_run_to_its_end(wait: Wait) -> None:
    assert bodies.decode(EXECUTOR.run(delivery("i", "add_later", 2, 3), wait).body) == 5


def test_a_task_that_the_application_lacks_goes_back(wait: Wait) -> None:
    assert EXECUTOR.run(delivery("i", "nowhere"), wait).kind == OutcomeKind.RETURNED


def test_an_exception_is_described_with_type_message_arguments_and_the_tasks_own_traceback(wait: Wait) -> None:
    described = failure(EXECUTOR.run(delivery("i", "fail", "no", 7), wait))
    assert described.type_name == "builtins.ValueError"
    assert described.message == "('no', 7)"
    assert bodies.decode(described.arguments) == ("no", 7)
    assert "raise ValueError(*args)" in described.traceback
    assert "execute.py" not in described.traceback


def test_the_traceback_of_a_coroutine_has_only_its_own_frames(wait: Wait) -> None:
    described = failure(EXECUTOR.run(delivery("i", "fail_later"), wait))
    assert described.type_name == "builtins.LookupError"
    assert 'LookupError("later")' in described.traceback
    assert "execute.py" not in described.traceback
    assert "asyncio" not in described.traceback


@pytest.mark.parametrize(
    ("task", "args", "type_name"),
    [
        ("leave", (3,), "builtins.SystemExit"),
        ("leave_later", (), "builtins.SystemExit"),
        ("interrupt", (), "builtins.KeyboardInterrupt"),
        ("fail_deeply", (), "builtins.RecursionError"),
        ("fail_with_surrogate", (), "builtins.ValueError"),
        ("add", (1,), "builtins.TypeError"),
    ],
)
def test_whatever_a_task_raises_is_a_failure(wait: Wait, task: str, args: tuple[Any, ...], type_name: str) -> None:
    assert failure(EXECUTOR.run(delivery("i", task, *args), wait)).type_name == type_name


def test_an_exception_without_text_or_encodable_arguments_is_described_as_far_as_it_can_be(wait: Wait) -> None:
    described = failure(EXECUTOR.run(delivery("i", "fail_without_text"), wait))
    assert described.type_name == "tests.unit.worker.sample.HardToTell"
    assert described.message.startswith("HardToTell(")
    assert described.arguments == b""


def test_a_result_that_cannot_be_encoded_is_a_failure_that_says_so(wait: Wait) -> None:
    described = failure(EXECUTOR.run(delivery("i", "unencodable"), wait))
    assert described.type_name == "mesh.errors.NotEncodable"
    assert "object" in described.message


def test_a_result_that_is_too_large_is_a_failure_with_size_limit_and_setting(wait: Wait) -> None:
    described = failure(EXECUTOR.run(delivery("i", "big", 3000), wait))
    assert described.type_name == "mesh.errors.BodyTooLarge"
    assert "300" in described.message
    assert "2048" in described.message
    assert "max_body_bytes" in described.message


def test_a_body_that_cannot_be_decoded_is_a_failure(wait: Wait) -> None:
    assert failure(EXECUTOR.run(Delivery(id="i", task="add", body=b"\xc1", attempt=0, queue="q"), wait)).message


def test_long_texts_are_cut_in_the_middle_and_stay_utf_8() -> None:
    text = plain("a" + "\u00fc" * 1000 + "z", 100)
    assert len(text.encode()) <= 100
    assert text.startswith("a")
    assert text.endswith("z")
    assert "[...]" in text


def test_a_huge_message_is_limited_and_its_arguments_left_out() -> None:
    described = describe(ValueError("x" * 10_000_000))
    assert len(described.message) <= 16 << 10
    assert len(described.traceback) <= 64 << 10
    assert described.arguments == b""
