"""Canvases on an embedded mesh: their values, their failures, and their results."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mesh import (
    ChordError,
    GroupResult,
    IncompleteStream,
    InvalidCanvas,
    Mesh,
    NotEncodable,
    ResultSet,
    ResultTimeout,
    UsageError,
    chain,
    chord,
    group,
    signature,
)
from mesh.canvas.submission import submit
from mesh.errors import TaskRevokedError
from mesh.group_result import result_from_tuple
from tests.polling import poll_until
from tests.unit.library import canvases
from tests.unit.library.canvases import random_canvas, worth

CASES = 10_000
BATCH = 250
SEED = random.randrange(1 << 32)
GATE = threading.Event()
NOTED: list[Any] = []


@pytest.fixture(scope="module")
def app() -> Iterator[Mesh]:
    with Mesh("canvases", embedded=True) as app:
        for name, function in canvases.FUNCTIONS.items():
            app.task(name=name)(function)
        yield app


@pytest.fixture(scope="module", autouse=True)
def tasks(app: Mesh) -> dict[str, Any]:
    def add(x: int, y: int) -> int:
        return x + y

    def xsum(numbers: list[int]) -> int:
        return sum(numbers)

    def fail(*args: Any) -> None:
        raise KeyError("broken")

    def note(*args: Any) -> None:
        NOTED.append(args)

    def told(request: Any, error: Exception, traceback: str) -> None:
        NOTED.append((request.id, repr(error), "KeyError" in traceback))

    def told_id(parent_id: str) -> None:
        NOTED.append((parent_id,))

    def wait(value: Any = None) -> Any:
        assert GATE.wait(20)
        return value

    def call(form: dict[str, Any], value: int) -> Any:
        return signature(form)(value)

    async def later(x: int) -> int:
        return x + 1

    def unfold(self: Any, depth: int) -> Any:
        more = group(made["unfold"].s(depth - 1), made["unfold"].si(0)) | made["xsum"].s()
        return 1 if depth == 0 else self.replace(more)

    def spread(self: Any, count: int) -> list[int]:
        for number in range(count):
            self.add_to_chord(made["add"].s(number, 10))
        return [count]

    def instead(self: Any, kind: str) -> None:
        self.replace(made["fail"].s() if kind == "fail" else group(made["add"].s(1, 1), made["add"].s(2, 2)))

    bound = {"unfold": unfold, "spread": spread, "instead": instead}
    functions = (add, xsum, fail, note, told, told_id, wait, call, later)
    made: dict[str, Any] = {function.__name__: app.task(name=function.__name__)(function) for function in functions}
    return made | {name: made.setdefault(name, app.task(name=name, bind=True)(function)) for name, function in bound.items()}


@pytest.fixture(autouse=True)
def fresh() -> None:
    GATE.clear()
    NOTED.clear()


def test_random_canvases_have_the_value_of_their_plain_evaluation(app: Mesh) -> None:
    print(f"seed {SEED}")
    source = random.Random(SEED)
    for first in range(0, CASES, BATCH):
        made = [random_canvas(source, app, depth=1 + source.randrange(3)) for _ in range(BATCH)]
        for canvas, result in zip(made, submit(app, made), strict=True):
            assert result.get(timeout=30) == worth(canvas), f"{canvas!r} of seed {SEED}, after {first}"


# -- the examples of the talks --------------------


def test_what_the_talk_shows_of_signatures_and_primitives(tasks: dict[str, Any]) -> None:
    add, xsum = tasks["add"], tasks["xsum"]
    assert add.signature((2, 2), countdown=0.01).delay().get(timeout=10) == 4
    assert add.s(2).delay(8).get(timeout=10) == 10
    assert group(add.s(i, i) for i in range(10))().get(timeout=10) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert group(add.s(2, 2), add.s(4, 4))().get(timeout=10) == [4, 8]
    assert group(add.s(i) for i in range(10))(10).get(timeout=10) == list(range(10, 20))
    assert chain(add.s(4, 4) | add.s(8))().get(timeout=10) == 16
    assert chain(add.s(4) | add.s(8))(4).get(timeout=10) == 16
    assert (add.s(4, 4) | add.s(8))().get(timeout=10) == 16
    assert chord((add.s(i, i) for i in range(10)), xsum.s())().get(timeout=10) == 90
    assert (group(add.s(i, i) for i in range(10)) | xsum.s())().get(timeout=10) == 90
    assert ~(add.s(1, 1) | add.s(1)) == 3


def test_maps_and_chunks_call_one_task_many_times(tasks: dict[str, Any]) -> None:
    add, later = tasks["add"], tasks["later"]
    assert add.starmap(zip(range(5), range(5), strict=True)).delay().get(timeout=10) == [0, 2, 4, 6, 8]
    assert later.map(range(3)).delay().get(timeout=10) == [1, 2, 3]
    assert add.chunks(zip(range(5), range(5), strict=True), 2)().get(timeout=10) == [[0, 2], [4, 6], [8]]
    assert (add.chunks([(1, 1), (2, 2)], 1) | tasks["xsum"].map([[1]])).delay().get(timeout=10) == [1]


def test_a_signature_travels_as_an_argument(tasks: dict[str, Any]) -> None:
    assert tasks["call"].delay(tasks["add"].s(2), 3).get(timeout=10) == 5


# -- failures --------------------


def test_a_chain_raises_what_the_step_that_failed_has_raised(tasks: dict[str, Any]) -> None:
    result = (tasks["add"].s(1, 1) | tasks["fail"].s() | tasks["add"].s(1) | tasks["add"].s(1))()
    with pytest.raises(KeyError, match="broken"):
        result.get(timeout=10)
    assert (result.failed(), result.state, result.parent.failed(), result.parent.parent.parent.get(timeout=10)) == (
        True,
        "FAILURE",
        True,
        2,
    )


def test_a_chord_names_the_member_that_failed_and_does_not_wait_for_the_others(tasks: dict[str, Any]) -> None:
    result = chord([tasks["wait"].s(), tasks["fail"].s()], tasks["xsum"].s())()
    with pytest.raises(ChordError, match=rf"fail\[{result.parent[1].id}\] .* KeyError"):
        result.get(timeout=10)
    assert not result.parent[0].ready()
    GATE.set()


def test_error_callbacks_are_called_as_celerys_are(tasks: dict[str, Any]) -> None:
    result = tasks["fail"].s(1).on_error(tasks["told"].s()).on_error(tasks["told_id"].s()).delay()
    result.get(timeout=10, propagate=False)
    poll_until(lambda: len(NOTED) == 2, 10, "both were called")
    assert sorted(NOTED, key=len) == [(result.id,), (result.id, "KeyError('broken')", True)]


def test_callbacks_get_the_value(tasks: dict[str, Any]) -> None:
    tasks["add"].apply_async((2, 2), link=tasks["note"].s("and"), link_error=tasks["told_id"].s())
    poll_until(lambda: NOTED, 10, "it was called")
    assert NOTED == [(4, "and")]


# -- going on as others --------------------


def test_a_task_goes_on_as_a_canvas_with_its_id_and_its_successors(tasks: dict[str, Any]) -> None:
    unfold, instead = tasks["unfold"], tasks["instead"]
    assert unfold.delay(4).get(timeout=10) == 5
    assert (unfold.s(2) | tasks["add"].s(10)).delay().get(timeout=10) == 13
    assert group(unfold.s(1), unfold.s(2))().get(timeout=10) == [2, 3]
    assert chord([unfold.s(1), unfold.s(2)], tasks["xsum"].s())().get(timeout=10) == 5
    assert instead.delay("group").get(timeout=10) == [2, 4]
    assert (instead.s("group") | tasks["xsum"].s())().get(timeout=10) == 6
    with pytest.raises(KeyError, match="broken"):
        (instead.s("fail") | tasks["xsum"].s())().get(timeout=10)
    with pytest.raises(UsageError, match="run in a worker"):
        instead("group")


def test_a_task_adds_members_to_its_chord(tasks: dict[str, Any]) -> None:
    spread, add = tasks["spread"], tasks["add"]
    result = chord([spread.s(3), add.s(1, 1)], tasks["note"].s())()
    result.get(timeout=10)
    (noted,) = NOTED[0]
    assert (noted[:2], sorted(noted[2:])) == ([[3], 2], [10, 11, 12])
    with pytest.raises(InvalidCanvas, match="member of no chord"):
        spread.delay(1).get(timeout=10)


# -- results --------------------


def test_a_group_result_says_how_far_it_is(tasks: dict[str, Any]) -> None:
    result = group(tasks["add"].s(1, 1), tasks["wait"].s(7))()
    assert result[0].get(timeout=10) == 2
    assert (result.completed_count(), result.ready(), result.waiting(), result.failed(), len(result)) == (1, False, True, False, 2)
    with pytest.raises(ResultTimeout, match="1 of 2 tasks"):
        result.get(timeout=0.05)
    coming = result.iterate(timeout=10)
    assert next(coming) == 2
    GATE.set()
    assert next(coming) == 7
    assert (result.get(timeout=10), result.successful(), result.completed_count()) == ([2, 7], True, 2)


def test_a_group_result_raises_the_first_failure_at_once(tasks: dict[str, Any]) -> None:
    result = group(tasks["wait"].s(), tasks["fail"].s())()
    with pytest.raises(KeyError):
        result.get(timeout=10)
    GATE.set()
    assert [type(value).__name__ for value in result.get(timeout=10, propagate=False)] == ["NoneType", "KeyError"]
    assert (result.failed(), result.successful()) == (True, False)


def test_a_group_of_groups_at_the_ends_of_chains_is_nested(tasks: dict[str, Any]) -> None:
    add = tasks["add"]
    result = group(add.s(1, 1) | group(add.s(1), add.s(2)), add.s(5, 5))()
    assert result.get(timeout=10) == [[3, 4], 10]
    assert isinstance(result[0], GroupResult)
    assert [task.get(timeout=10) for task in result.tasks()] == [3, 4, 10]


def test_a_group_result_is_kept_and_comes_back(app: Mesh, tasks: dict[str, Any]) -> None:
    add = tasks["add"]
    result = (add.s(1, 1) | group(add.s(1), add.s(2) | group(add.s(3))))()
    result.save()
    restored = GroupResult.restore(result.id, app=app)
    assert restored is not None
    assert (restored, restored.get(timeout=10), restored.parent.get(timeout=10)) == (result, [3, [7]], 2)
    assert GroupResult.restore("never", app=app) is None
    assert result_from_tuple(json.loads(json.dumps(result.as_tuple())), app) == result


def test_a_group_is_revoked_as_a_whole(tasks: dict[str, Any]) -> None:
    done, waiting = group(tasks["add"].s(1, 1))(), group(tasks["add"].s(1, 1).set(countdown=60) for _ in range(3))()
    assert done.get(timeout=10) == [2]
    waiting.revoke()
    assert [type(value) for value in waiting.get(timeout=10, propagate=False)] == [TaskRevokedError] * 3
    done.revoke()
    assert done.get(timeout=10) == [2]
    chained = (tasks["add"].s(1, 1).set(countdown=60) | tasks["add"].s(1) | tasks["add"].s(1))()
    ResultSet([chained.parent.parent]).revoke()
    with pytest.raises(TaskRevokedError):
        chained.get(timeout=10)


def test_parents_children_and_leaves(tasks: dict[str, Any]) -> None:
    add = tasks["add"]
    result = (add.s(1, 1) | add.s(2) | add.s(3))()
    assert (result.get(timeout=10), result.parent.get(timeout=10), result.parent.parent.get(timeout=10)) == (7, 4, 2)
    first = result.parent.parent
    assert first.parent is None
    assert first.children == [result.parent]
    assert [(one.id, value) for one, value in first.collect(timeout=10)] == [(first.id, 2), (result.parent.id, 4), (result.id, 7)]
    assert (first.get_leaf(), result.children) == (7, [])
    waiting = (tasks["wait"].s(1) | add.s(1))()
    with pytest.raises(IncompleteStream):
        list(waiting.parent.iterdeps())
    assert waiting.parent.children is None
    GATE.set()


def test_results_are_awaited(app: Mesh, tasks: dict[str, Any]) -> None:
    async def all_of_it() -> Any:
        return await group(tasks["add"].s(i, i) for i in range(3))(), await (tasks["add"].s(1, 1) | tasks["add"].s(1))()

    assert asyncio.run(all_of_it()) == ([0, 2, 4], 3)


def test_a_result_set_collects_results_of_any_calls(tasks: dict[str, Any]) -> None:
    results = ResultSet([tasks["add"].delay(1, 1)])
    results.add(tasks["add"].delay(2, 2))
    results.add(results[1])
    came: list[Any] = []
    assert results.get(timeout=10, callback=lambda id, value: came.append((id, value))) == [2, 4]
    assert sorted(came) == sorted((result.id, result.get(timeout=10)) for result in results)
    results.remove(results[0].id)
    assert len(results) == 1
    with pytest.raises(KeyError):
        results.remove("nothing")


# -- bad input --------------------


def test_nothing_of_a_canvas_is_sent_when_one_step_can_not_be(app: Mesh, tasks: dict[str, Any]) -> None:
    for wrong, error in (
        (tasks["add"].si(1, 1) | tasks["add"].s(1, 2), TypeError),
        (group(tasks["note"].s(1), tasks["add"].s(1)), TypeError),
        (group(tasks["note"].s(1), tasks["note"].s(threading.Lock())), NotEncodable),
        (chord([tasks["note"].s(1)], tasks["xsum"].s(1)), TypeError),
    ):
        with pytest.raises(error):
            wrong.delay()
    assert tasks["add"].delay(1, 1).get(timeout=10) == 2
    assert NOTED == []
