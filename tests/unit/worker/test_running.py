"""What tasks say of how they go on: retries, hooks, signals, limits of their running time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from mesh import running, signals
from mesh.errors import Ignore, MaxRetriesExceededError, Reject, Retry, SoftTimeLimitExceeded
from mesh.running import Running, backoff_s
from mesh.signals import Signal
from mesh.wire import bodies
from mesh.wire.calls import Call
from mesh.wire.entries import Failure, Status
from mesh.wire.working import Delivery, Outcome, OutcomeKind
from mesh.worker.coroutines import waited
from mesh.worker.execute import Executor


class Sample(Running):
    """A task as an application has it, whose function gets it as its first argument."""

    name = "sample"
    is_async = False

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.calls: list[tuple[Any, ...]] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("each test has its own")


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def run(task: Sample, *args: Any, call: Call | None = None, **kwargs: Any) -> Outcome:
    loop = asyncio.new_event_loop()
    try:
        sent = Delivery("i", "sample", bodies.encode_call(args, kwargs), 1, "q", call=call)
        return Executor({"sample": task}, 1 << 20, ends_tasks=True).run(sent, partial(waited, loop))
    finally:
        loop.close()


def failure(outcome: Outcome) -> Failure:
    assert outcome.failure is not None
    return outcome.failure


# -- retries --------------------


class Asks(Sample):
    def run(self, **how: Any) -> Any:
        self.retry(**how)


def test_retry_ends_the_run_and_asks_for_another_after_three_minutes() -> None:
    outcome = run(Asks())
    assert (outcome.kind, outcome.delay_ms, outcome.messages) == (OutcomeKind.RETRY, 180_000, [])


@pytest.mark.parametrize(("how", "delay_ms"), [({"countdown": 0.0015}, 2), ({"countdown": -3}, 0), ({"countdown": 2}, 2000)])
def test_a_countdown_says_when_rounded_up_so_that_it_is_never_early(how: dict[str, Any], delay_ms: int) -> None:
    assert run(Asks(), **how).delay_ms == delay_ms


def test_an_instant_says_when() -> None:
    class Later(Sample):
        def run(self) -> Any:
            self.retry(eta=datetime.now(UTC) + timedelta(seconds=60))

    assert 59_000 < run(Later()).delay_ms <= 60_000


def test_the_tasks_own_delay_is_used_when_the_call_says_none() -> None:
    assert run(Asks(default_retry_delay=7)).delay_ms == 7000


def test_beyond_max_retries_the_task_fails_with_the_exception_it_gave_or_one_that_says_so() -> None:
    assert run(Asks(), call=Call(retries=2)).kind == OutcomeKind.RETRY
    outcome = run(Asks(), call=Call(retries=3))
    assert outcome.kind == OutcomeKind.DONE
    assert failure(outcome).type_name == "mesh.errors.MaxRetriesExceededError"

    class Broken(Sample):
        def run(self) -> Any:
            self.retry(exc=ValueError("why"), max_retries=1)

    assert run(Broken(), call=Call(retries=0)).kind == OutcomeKind.RETRY
    assert failure(run(Broken(), call=Call(retries=1))).type_name == "builtins.ValueError"


def test_without_a_limit_it_is_run_again_for_ever() -> None:
    assert run(Asks(max_retries=None), call=Call(retries=10_000)).kind == OutcomeKind.RETRY


def test_the_reason_travels_with_the_retry() -> None:
    class Broken(Sample):
        def run(self) -> Any:
            try:
                raise OSError("gone")
            except OSError as error:
                raise self.retry(exc=error, countdown=1) from error

    assert failure(run(Broken())).type_name == "builtins.OSError"


def test_without_throw_the_task_goes_on_and_is_run_again_when_it_has_ended() -> None:
    class GoesOn(Sample):
        def run(self) -> Any:
            wish = self.retry(countdown=1, throw=False)
            assert isinstance(wish, Retry)
            return 5

    assert run(GoesOn()).kind == OutcomeKind.RETRY


def test_other_arguments_are_those_of_the_next_run() -> None:
    class Counts(Sample):
        def run(self, number: int, by: int = 1) -> Any:
            self.retry(args=(number + 1,), countdown=0)

    (message,) = run(Counts(), 1, by=2).messages
    assert (message.id, bodies.decode_call(message.body)) == ("i", ((2,), {"by": 2}))


def test_called_as_a_function_it_raises_the_exception_or_retry() -> None:
    with pytest.raises(Retry):
        Asks().run()
    with pytest.raises(KeyError):
        Asks().run(exc=KeyError("k"))


class Flaky(Sample):
    def run(self, kind: str) -> Any:
        raise {"os": OSError, "connection": ConnectionError, "value": ValueError, "ignore": Ignore}[kind]("no")


def test_exceptions_that_are_named_are_retried_by_themselves() -> None:
    task = Flaky(autoretry_for=(OSError, Ignore), dont_autoretry_for=(ConnectionError,), retry_kwargs={"countdown": 4, "max_retries": 1})
    assert run(task, "os").delay_ms == 4000
    assert run(task, "os", call=Call(retries=1)).kind == OutcomeKind.DONE
    assert failure(run(task, "os", call=Call(retries=1))).type_name == "builtins.OSError"
    for kind in ("connection", "value", "ignore"):
        assert run(task, kind).kind == OutcomeKind.DONE


def test_backoff_doubles_up_to_its_limit() -> None:
    task = Flaky(autoretry_for=(OSError,), retry_backoff=3, retry_backoff_max=20, retry_jitter=False, max_retries=None)
    delays = [run(task, "os", call=Call(retries=count)).delay_ms for count in range(5)]
    assert delays == [3000, 6000, 12_000, 20_000, 20_000]


def test_jitter_is_anything_up_to_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running.random, "uniform", lambda low, high: (low, high))
    assert backoff_s(2, 3, 600, True) == (0.0, 16.0)
    assert backoff_s(1, 100_000, 600, False) == 600


# -- ends of other kinds --------------------


def test_ignore_and_reject_end_the_delivery_in_their_own_way() -> None:
    class Gives(Sample):
        def run(self, how: str) -> Any:
            raise {"ignore": Ignore(), "reject": Reject("no", requeue=False), "requeue": Reject(requeue=True)}[how]

        def on_failure(self, *_: Any) -> None:
            raise AssertionError("it did not fail")

    ignored = run(Gives(), "ignore")
    assert (ignored.kind, ignored.status, failure(ignored).type_name) == (OutcomeKind.DONE, Status.FAILURE, "mesh.errors.Ignore")
    assert run(Gives(), "reject").kind == OutcomeKind.REJECTED
    assert run(Gives(), "requeue").kind == OutcomeKind.REQUEUED


# -- hooks and signals --------------------


class Hooked(Sample):
    def run(self, how: str) -> Any:
        if how == "retry":
            self.retry(exc=OSError("r"), countdown=1)
        if how == "fail":
            raise ValueError("f")
        return "v"

    def before_start(self, *given: Any) -> None:
        self.calls.append(("before", *given))

    def on_success(self, *given: Any) -> None:
        self.calls.append(("success", *given))

    def on_failure(self, *given: Any) -> None:
        self.calls.append(("failure", *given))

    def on_retry(self, *given: Any) -> None:
        self.calls.append(("retry", *given))

    def after_return(self, *given: Any) -> None:
        self.calls.append(("after", *given))
        raise RuntimeError("what a hook raises is not the task's failure")


@pytest.mark.parametrize(
    ("how", "hook", "status"), [("ok", "success", "SUCCESS"), ("fail", "failure", "FAILURE"), ("retry", "retry", "RETRY")]
)
def test_hooks_are_called_in_order_with_celerys_arguments(how: str, hook: str, status: str) -> None:
    task = Hooked()
    outcome = run(task, how)
    before, end, after = task.calls
    assert before == ("before", "i", (how,), {})
    assert end[0] == hook
    assert end[2:5] == ("i", (how,), {})
    assert after[:2] == ("after", status)
    assert after[3:6] == ("i", (how,), {})
    if how != "ok":
        assert "ValueError" in str(end[5]) or "OSError" in str(end[5])
    assert outcome.kind == (OutcomeKind.RETRY if how == "retry" else OutcomeKind.DONE)


def test_signals_tell_of_each_run() -> None:
    told: list[tuple[str, str]] = []

    def receiver(signal: Signal, sender: Any, **named: Any) -> None:
        assert set(named) <= set(signal.providing_args)
        told.append((signal.name, sender.name))

    watched = [signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_failure, signals.task_retry]
    for signal in watched:
        signal.connect(receiver)
    try:
        for how in ("ok", "fail", "retry"):
            run(Hooked(), how)
    finally:
        for signal in watched:
            assert signal.disconnect(receiver)
    ends = [name for name, _ in told]
    assert ends == [
        *("task_prerun", "task_success", "task_postrun"),
        *("task_prerun", "task_failure", "task_postrun"),
        *("task_prerun", "task_retry", "task_postrun"),
    ]
    assert not any(watched)


# -- limits --------------------


class Sleeps(Sample):
    def run(self, seconds: float) -> Any:
        try:
            time.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return "slept"


def test_a_soft_limit_raises_in_the_task_also_while_it_sleeps() -> None:
    begun_s = time.monotonic()
    assert bodies.decode(run(Sleeps(soft_time_limit=0.05), 30).body) == "cleaned up"
    assert time.monotonic() - begun_s < 5


def test_a_task_within_its_limit_notices_nothing_of_it() -> None:
    task = Sleeps(soft_time_limit=30)
    assert [bodies.decode(run(task, 0).body) for _ in range(3)] == ["slept"] * 3


def test_the_calls_limit_stands_before_the_tasks() -> None:
    assert bodies.decode(run(Sleeps(soft_time_limit=30), 30, call=Call(soft_limit_ms=30)).body) == "cleaned up"


def test_a_hard_limit_ends_the_task() -> None:
    assert failure(run(Sleeps(), 30, call=Call(hard_limit_ms=30))).type_name == "mesh.errors.TimeLimitExceeded"


def test_limits_reach_coroutines_where_they_wait() -> None:
    class Later(Sample):
        is_async = True

        async def run(self, seconds: float) -> Any:
            try:
                await asyncio.gather(asyncio.sleep(seconds), asyncio.sleep(seconds))
            except SoftTimeLimitExceeded:
                await asyncio.sleep(0)
                return "cleaned up"
            return "slept"

    task = Later(soft_time_limit=0.05)
    assert bodies.decode(run(task, 30).body) == "cleaned up"
    assert bodies.decode(run(task, 0).body) == "slept"


def test_maximal_retries_can_be_a_class_attribute() -> None:
    class Once(Asks):
        max_retries = 1

    assert run(Once(), call=Call(retries=0)).kind == OutcomeKind.RETRY
    assert failure(run(Once(), call=Call(retries=1))).type_name == f"mesh.errors.{MaxRetriesExceededError.__name__}"
