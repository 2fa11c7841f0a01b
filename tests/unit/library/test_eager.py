"""Calls that run here and now, and calls from event loops."""

from __future__ import annotations

import asyncio
from datetime import date
from typing import Any

import pytest

from mesh import AsyncResult, EagerResult, Mesh, NotEncodable, PublishUnknown, TaskError, UnknownTask
from mesh.task import Task
from tests.unit.client.fake_node import add
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp
from tests.unit.library.test_tasks import plus


class Unknown(Exception):
    pass


def test_apply_runs_a_call_here_without_a_mesh(make_app: MakeApp) -> None:
    task = make_app().task(plus)
    result = task.apply((1,), {"y": 2}, task_id="mine")
    assert isinstance(result, EagerResult)
    assert isinstance(result, AsyncResult)
    assert (result.id, result.get(), result.ready(), result.successful(), result.failed()) == ("mine", 3, True, True, False)
    assert (result.state, result.status, result.result, result.traceback, result.worker) == ("SUCCESS", "SUCCESS", 3, None, "eager")
    assert repr(result) == "<EagerResult mine SUCCESS>"


def test_arguments_and_values_are_what_they_would_be_in_the_mesh(make_app: MakeApp) -> None:
    app = make_app()

    @app.task
    def same(value: Any) -> Any:
        return value

    given = [date(2030, 1, 1), (1, 2), {"a": {3}}]
    got = same.apply((given,)).get()
    assert got == given
    assert got is not given
    with pytest.raises(NotEncodable):
        same.apply((object(),))
    with pytest.raises(TypeError, match="too many positional"):
        same.apply((1, 2))

    @app.task
    def bad() -> object:
        return object()

    assert isinstance(bad.apply().result, NotEncodable)


def test_what_a_task_raises_is_raised_by_get_as_at_another_caller(make_app: MakeApp) -> None:
    app = make_app()

    @app.task
    def fail(kind: str) -> None:
        raise ValueError("no") if kind == "builtin" else Unknown("no")

    result = fail.apply(("builtin",))
    assert (result.state, result.failed()) == ("FAILURE", True)
    assert "raise ValueError" in (result.traceback or "")
    with pytest.raises(ValueError, match="no"):
        result.get()
    assert isinstance(result.get(propagate=False), ValueError)
    with pytest.raises(TaskError):
        fail.apply(("own",), throw=True)
    app.conf.task_eager_propagates = True
    with pytest.raises(ValueError, match="no"):
        fail.apply(("builtin",))


def test_always_eager_runs_every_call_at_once(make_app: MakeApp) -> None:
    app = make_app()
    app.conf.task_always_eager = True

    @app.task(bind=True)
    def who(self: Task[..., Any]) -> str | None:
        return self.request.id

    task = app.task(plus)
    assert task.delay(1, 2).get() == 3
    assert task.s(2).apply_async((1,)).get() == 3
    assert [one.get() for one in app.submit_many(task.s(n) for n in range(3))] == [0, 1, 2]
    result = who.delay()
    assert result.get() == result.id
    with pytest.raises(UnknownTask, match="has no task 'elsewhere'"):
        app.send_task("elsewhere")
    app.conf.task_always_eager = False
    assert not isinstance(task, EagerResult)


def test_a_coroutine_runs_here_with_or_without_a_loop(make_app: MakeApp) -> None:
    @make_app().task
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def inside() -> int:
        return later.apply((2,)).get()

    assert later.apply((1,)).get() == 2
    assert asyncio.run(inside()) == 3


def test_a_loop_goes_on_while_a_call_is_submitted(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    task = app.task(plus)

    async def main() -> tuple[list[int], int | None]:
        results = await asyncio.gather(*(task.adelay(n, n) for n in range(20)))
        named = await task.aapply_async((1, 2), task_id="named")
        return [await result for result in results] + [await named], named.copies

    assert asyncio.run(main()) == ([2 * n for n in range(20)] + [3], 2)
    assert "named" in node.messages


def test_a_submit_from_a_loop_that_is_not_confirmed_has_the_ids(place: Place, make_app: MakeApp) -> None:
    place.node().confirm = lambda submit: None
    app = make_app()
    app.publish_timeout = 0.2
    with pytest.raises(PublishUnknown) as caught:
        asyncio.run(app.task(plus).aapply_async((1,), task_id="x"))
    assert caught.value.task_ids == ["x"]


def test_a_call_from_a_loop_may_be_eager_too() -> None:
    app = Mesh("tasks")
    app.conf.task_always_eager = True
    task = app.task(plus)

    async def main() -> int:
        return await (await task.adelay(1, 2))

    assert asyncio.run(main()) == 3


def test_a_task_that_asks_for_it_is_run_again_at_once(make_app: MakeApp) -> None:
    app = make_app()
    seen: list[tuple[str | None, int]] = []

    @app.task(bind=True, max_retries=2, default_retry_delay=60)
    def flaky(self: Task[..., Any], good_at: int) -> int:
        seen.append((self.request.id, self.request.retries))
        if self.request.retries < good_at:
            raise self.retry(exc=ValueError("not yet"))
        return self.request.retries

    result = flaky.apply((2,))
    assert result.get() == 2
    assert seen == [(result.id, 0), (result.id, 1), (result.id, 2)]
    with pytest.raises(ValueError, match="not yet"):
        flaky.apply((3,)).get()


def test_an_option_for_retries_may_be_given_in_all_three_ways(make_app: MakeApp) -> None:
    app, runs = make_app(), []

    def fail() -> None:
        runs.append(1)
        raise ValueError("no")

    class Patient(Task[..., Any]):
        abstract = True
        max_retries = 1
        autoretry_for = (ValueError,)

        def run(self) -> None:
            fail()

    def count(task: Task[..., Any]) -> int:
        runs.clear()
        assert task.apply().failed()
        return len(runs)

    assert count(app.task(name="given", max_retries=2, autoretry_for=(ValueError,))(fail)) == 3
    assert count(app.register_task(Patient())) == 2
    app.conf.task_annotations = {"given": {"max_retries": 0}}
    assert count(app.tasks["given"]) == 1
