"""Tasks that look at their own run, from the call to what the caller sees, in a whole mesh."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mesh import Mesh, request
from mesh.errors import MaxRetriesExceededError, ResultInTask, SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from tests.polling import poll_until


@pytest.fixture
def app() -> Iterator[Mesh]:
    with Mesh("running", embedded=True) as app:
        yield app


def test_a_task_is_run_again_with_the_same_id_until_it_succeeds(app: Mesh) -> None:
    seen: list[tuple[str, int]] = []

    @app.task(bind=True)
    def flaky(self: Any) -> int:
        seen.append((self.request.id, self.request.retries))
        if self.request.retries < 2:
            raise self.retry(countdown=0.05)
        return self.request.retries  # type: ignore[no-any-return]

    result = flaky.delay()
    assert result.get(timeout=10) == 2
    assert seen == [(result.id, 0), (result.id, 1), (result.id, 2)]


def test_a_task_that_never_succeeds_ends_with_its_own_exception_or_that_it_asked_too_often(app: Mesh) -> None:
    @app.task(bind=True, max_retries=1)
    def asks(self: Any) -> None:
        self.retry(countdown=0)

    @app.task(autoretry_for=(OSError,), max_retries=2, retry_backoff=False, default_retry_delay=0.01)
    def fails() -> None:
        raise OSError("gone")

    with pytest.raises(MaxRetriesExceededError):
        asks.delay().get(timeout=10)
    with pytest.raises(OSError, match="gone"):
        fails.delay().get(timeout=10)


def test_a_retry_may_go_elsewhere(app: Mesh) -> None:
    @app.task(bind=True)
    def moves(self: Any, number: int) -> tuple[int, str]:
        if self.request.retries == 0:
            self.retry(args=(number + 1,), countdown=0, queue="elsewhere")
        return number, self.request.delivery_info["queue"]

    app.conf.task_routes = {"nothing": "elsewhere"}
    moves.apply_async((0,), queue="elsewhere").get(timeout=10)
    assert moves.delay(1).get(timeout=10) == (2, "elsewhere")


def test_a_task_shows_how_far_it_is_to_who_watches(app: Mesh) -> None:
    may_end = threading.Event()

    @app.task(bind=True, track_started=True)
    def slow(self: Any) -> str:
        self.progress(1, 4, "first")
        may_end.wait(10)
        return "end"

    result = slow.delay()
    poll_until(lambda: result.state == "PROGRESS", 10, "the state")
    assert result.info == {"done": 1, "total": 4, "note": "first"}
    watching = iter(app.AsyncResult(result.id).watch(timeout=10))
    assert next(watching) == ("PROGRESS", {"done": 1, "total": 4, "note": "first"})
    may_end.set()
    assert list(watching) == [("SUCCESS", "end")]


async def follow(result: Any, seen: threading.Event) -> list[Any]:
    changes = []
    async for change in result.watch(timeout=10):
        changes.append(change)
        if change.state == "MINE":
            seen.set()
    return changes


def test_watching_works_in_an_event_loop_and_by_get(app: Mesh) -> None:
    import asyncio

    seen = threading.Event()

    @app.task(bind=True)
    def steps(self: Any) -> int:
        self.update_state(state="MINE", meta=[1])
        seen.wait(10)
        return 3

    assert ("MINE", [1]) in asyncio.run(follow(steps.delay(), seen))
    told: list[dict[str, Any]] = []
    seen.clear()

    def tell(message: dict[str, Any]) -> None:
        told.append(message)
        if message["status"] == "MINE":
            seen.set()

    result = steps.delay()
    assert result.get(timeout=10, on_message=tell) == 3
    assert told[-1] == {"task_id": result.id, "status": "SUCCESS", "result": 3}
    assert {"task_id": result.id, "status": "MINE", "result": [1]} in told


def test_a_revoked_task_never_runs(app: Mesh) -> None:
    ran: list[int] = []

    @app.task
    def work(number: int) -> None:
        ran.append(number)

    result = work.apply_async((1,), countdown=0.3)
    result.revoke()
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert app.control.revoke("later") == [{"id": "later", "became": "revoked", "ran": False}]
    with pytest.raises(TaskRevokedError):
        work.apply_async((2,), task_id="later").get(timeout=10)
    work.apply_async((3,), countdown=0.5).get(timeout=10)
    assert ran == [3]


def test_tasks_are_revoked_by_stamp(app: Mesh) -> None:
    @app.task
    def work() -> None: ...

    result = work.apply_async(countdown=60, stamps={"customer": "7"})
    work.apply_async(countdown=60, stamps={"customer": "8"})
    assert [row["id"] for row in app.control.revoke_by_stamped_headers({"customer": "7"})] == [result.id]


def test_a_running_task_is_ended_when_that_is_wanted(app: Mesh) -> None:
    begun, ended = threading.Event(), threading.Event()

    @app.task
    def endless() -> None:
        begun.set()
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.set()

    result = endless.delay()
    assert begun.wait(10)
    result.revoke(terminate=True)
    assert ended.wait(10)


def test_limits_of_the_running_time_reach_the_caller(app: Mesh) -> None:
    @app.task(soft_time_limit=0.1)
    def soft() -> None:
        while True:
            time.sleep(0.01)

    @app.task
    def hard() -> None:
        while True:
            time.sleep(0.01)

    with pytest.raises(SoftTimeLimitExceeded):
        soft.delay().get(timeout=10)
    with pytest.raises(TimeLimitExceeded):
        hard.apply_async(time_limit=0.1).get(timeout=10)


def test_a_task_must_not_wait_for_another_unless_it_says_that_it_may(app: Mesh) -> None:
    @app.task
    def inner() -> int:
        return 1

    @app.task
    def outer(how: str) -> int:
        result = inner.delay()
        if how == "option":
            return result.get(timeout=10, disable_sync_subtasks=False)
        if how == "block":
            with request.allow_join_result():
                return result.get(timeout=10)
        return result.get(timeout=10)

    assert outer.delay("option").get(timeout=10) == 1
    assert outer.delay("block").get(timeout=10) == 1
    with pytest.raises(ResultInTask, match="chain or a chord"):
        outer.delay("plainly").get(timeout=10)


def test_a_task_with_acks_early_runs_once(app: Mesh) -> None:
    @app.task(bind=True, acks_early=True)
    def once(self: Any) -> bool:
        return bool(self.request.delivery_info["redelivered"])

    assert once.delay().get(timeout=10) is False
