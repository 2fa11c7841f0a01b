"""Tasks and the ways to call them."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from mesh import BodyTooLarge, Mesh, MeshError, MeshNotFound, NotEncodable, PublishUnknown, UnknownTask, UsageError
from mesh.task import AsyncTask, Task
from mesh.wire.bodies import decode_call
from tests.unit.client.fake_node import add
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp


def plus(x: int, y: int = 0, *, z: int = 0) -> int:
    """Adds."""
    return x + y + z


# -- registering --------------------


def test_a_task_is_named_after_its_module_and_function() -> None:
    app = Mesh("tasks")
    task = app.task(plus)
    assert task.name == f"{__name__}.plus"
    assert app.tasks[task.name] is task
    assert (task.__name__, task.__doc__, task.__wrapped__, task.queue) == ("plus", "Adds.", plus, None)


def test_in_the_main_program_the_application_stands_for_the_module(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
            from mesh import Mesh
            app = Mesh("tasks")
            @app.task
            def add(x, y): ...
            print(add.name)
            """)
    )
    assert subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout == "tasks.add\n"


def test_an_error_of_the_main_program_goes_by_the_applications_name_as_its_tasks_do(tmp_path: Path) -> None:
    script = tmp_path / "tasks.py"
    script.write_text(
        textwrap.dedent("""
            import importlib
            from mesh import Mesh
            from mesh.client.failures import rebuild, type_name
            from mesh.wire.entries import Failure, Result, Status
            app = Mesh("tasks")
            @app.register_error
            class Broken(Exception): ...
            if __name__ == "__main__":
                worker = importlib.import_module("tasks")  # as a worker loads it
                for name in (type_name(worker.Broken), type_name(Broken)):
                    error = rebuild(Result("1", Status.FAILURE, failure=Failure(name, "no")), app.registered_errors)
                    print(name, type(error) is Broken, error)
            """)
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["tasks.Broken True no", "__main__.Broken True no"]


def test_options_of_the_decorator() -> None:
    app = Mesh("tasks")

    @app.task(name="math.plus", queue="numbers")
    def one() -> None: ...

    @app.task()
    def two() -> None: ...

    assert (one.name, one.queue) == ("math.plus", "numbers")
    assert two.name.endswith("two")


def test_an_unknown_option_is_refused_with_a_suggestion() -> None:
    app = Mesh("tasks")
    with pytest.raises(TypeError, match=r"app.task.. has no option 'que': did you mean 'queue'"):
        app.task(que="numbers")
    with pytest.raises(TypeError, match="has no option 'taskid': did you mean 'task_id'"):
        app.task(plus).apply_async((1,), taskid="x")
    with pytest.raises(TypeError, match="has no option 'zone': known are name, args"):
        app.send_task("x", zone="y")


def test_a_name_belongs_to_one_function() -> None:
    app = Mesh("tasks")
    app.task(name="n")(plus)
    app.task(name="n")(plus)  # a module or a notebook's cell that runs again
    with pytest.raises(UsageError, match="two functions want the task name 'n'"):
        app.task(name="n")(add)


def test_what_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match="takes a function"):
        Mesh("tasks").task(name="n")("plus")
    for name in ("", "x" * 256, "\ud800", 5):
        with pytest.raises(UsageError, match="1 to 255 characters"):
            Mesh(name)


def test_called_directly_a_task_runs_here() -> None:
    app = Mesh("tasks")
    assert app.task(plus)(1, 2, z=3) == 6
    assert type(app.task(plus)) is Task

    @app.task
    async def later() -> int:
        return 1

    coroutine = later()
    assert type(later) is AsyncTask
    assert later.is_async
    with pytest.raises(StopIteration):
        coroutine.send(None)


# -- calling --------------------


def test_delay_sends_the_call_and_returns_after_the_confirm(place: Place, make_app: MakeApp) -> None:
    node, task = place.node(add), make_app().task(plus)
    result = task.delay(1, y=2)
    sent = node.messages[result.id]
    assert (sent.task, sent.queue, sent.eta_ms) == (task.name, "default", 0)
    assert decode_call(sent.body) == ((1,), {"y": 2})
    assert result.copies == 2
    assert result.get(timeout=5) == 3


def test_apply_async_takes_a_queue_an_id_and_a_countdown(place: Place, make_app: MakeApp) -> None:
    node, task = place.node(add), make_app().task(plus)
    result = task.apply_async((1,), {"y": 2}, queue="laptop", task_id="mine", countdown=100)
    sent = node.messages["mine"]
    assert (result.id, sent.queue) == ("mine", "laptop")
    assert 90_000 < sent.eta_ms - time.time() * 1000 < 101_000


def test_a_call_expires_after_seconds_or_at_an_instant(place: Place, make_app: MakeApp) -> None:
    node, task = place.node(add), make_app().task(plus)
    at = datetime.fromtimestamp(2e9, timezone(timedelta(hours=5)))
    task.apply_async((1,), task_id="seconds", expires=100)
    task.apply_async((1,), task_id="instant", expires=at, priority=3)
    seconds, instant = (node.messages[id].properties for id in ("seconds", "instant"))
    assert seconds is not None
    assert 90_000 < seconds.expires_ms - time.time() * 1000 < 101_000
    assert instant is not None
    assert (instant.expires_ms, instant.priority) == (2_000_000_000_000, 3)


def test_a_task_has_a_limit_of_deliveries_that_a_call_may_change(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    task = app.task(max_deliveries=2)(plus)
    other = app.task(name="other")(add)
    calls = [
        task.delay(1),
        task.s(1).delay(),
        task.apply_async((1,), max_deliveries=7),
        task.signature((1,)).apply_async(max_deliveries=8),
        app.send_task(task.name, (1,)),
        app.send_task(task.name, (1,), max_deliveries=9),
        app.send_task("elsewhere", (1,)),
        other.delay(1),
    ]
    assert [node.messages[call.id].max_deliveries for call in calls] == [2, 2, 7, 8, 2, 9, 0, 0]
    assert task.s(1) != app.task(name="third")(add).s(1)


def test_a_limit_of_deliveries_out_of_range_is_refused_at_the_decorator() -> None:
    with pytest.raises(UsageError, match="max_deliveries must be a whole number from 1 to 1000, not 0"):
        Mesh("tasks").task(max_deliveries=0)


@pytest.mark.parametrize(
    "options",
    [
        {"task_id": ""},
        {"task_id": "x" * 256},
        {"task_id": 7},
        {"queue": "q" * 256},
        {"countdown": -1},
        {"countdown": "1"},
        {"countdown": float("inf")},
        {"expires": 0},
        {"expires": True},
        {"expires": "1"},
        {"expires": float("nan")},
        {"expires": "tomorrow"},
        {"eta": 10},
        {"eta": "soon"},
        {"eta": datetime(2030, 1, 1), "countdown": 1},
        {"serializer": "pickle"},
        {"soft_time_limit": 0},
        {"time_limit": "5"},
        {"soft_time_limit": 5, "time_limit": 5},
        {"ignore_result": 1},
        {"track_started": "yes"},
        {"acks_late": True, "acks_early": True},
        {"unique": 1},
        {"unique_for": 0},
        {"shadow": ""},
        {"stamps": ["a"]},
        {"stamps": {"a": 1}},
        {"idempotency_key": ""},
        {"idempotency_key": "a", "task_id": "b"},
        {"retry": 3},
        {"retry_policy": 3},
        {"retry_policy": {"max_retry": 3}},
        {"retry_policy": {"interval_step": -1}},
        {"max_deliveries": 0},
        {"max_deliveries": 1001},
        {"max_deliveries": 2.0},
        {"max_deliveries": True},
    ],
)
def test_an_option_out_of_range_is_refused_before_anything_is_sent(place: Place, make_app: MakeApp, options: dict[str, object]) -> None:
    node = place.node()
    with pytest.raises(UsageError):
        make_app().task(plus).apply_async((1,), **options)
    assert node.submits == []


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((), {}, r"plus\(\) missing a required argument: 'x'"),
        ((1, 2, 3), {}, r"plus\(\) too many positional arguments"),
        ((1,), {"w": 1}, r"plus\(\) got an unexpected keyword argument 'w'"),
        ((1,), {"x": 1}, r"plus\(\) multiple values for argument 'x'"),
    ],
)
def test_wrong_arguments_raise_at_the_call(
    place: Place, make_app: MakeApp, args: tuple[int, ...], kwargs: dict[str, int], text: str
) -> None:
    place.node()
    with pytest.raises(TypeError, match=text):
        make_app().task(plus).delay(*args, **kwargs)


def test_a_required_keyword_is_missed(make_app: MakeApp, place: Place) -> None:
    place.node()

    def keyword(*, a: int) -> None: ...

    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        make_app().task(keyword).delay()


def test_a_text_is_no_list_of_arguments(place: Place, make_app: MakeApp) -> None:
    place.node()
    with pytest.raises(TypeError, match="must be a tuple or a list, not str"):
        make_app().task(plus).apply_async("ab")


def test_a_value_that_can_not_travel_is_named_by_its_path(place: Place, make_app: MakeApp) -> None:
    node = place.node()
    with pytest.raises(NotEncodable) as caught:
        make_app().task(plus).delay({"user": [object()]})
    assert caught.value.path == "args[0]['user'][0]"
    assert node.submits == []


def test_a_body_too_large_names_size_limit_and_setting(place: Place, make_app: MakeApp) -> None:
    place.node()
    with pytest.raises(BodyTooLarge, match=r"take 2\d{6} bytes; the limit is 1048576 \(setting max_body_bytes\)"):
        make_app().task(plus).delay(bytes(2_000_000))


def test_the_nodes_limit_counts_not_ours(place: Place, make_app: MakeApp) -> None:
    node = place.node(max_body_bytes=3_000_000)
    assert make_app().task(plus).delay(bytes(2_000_000)).copies == 2
    assert len(node.submits) == 1


def test_a_task_of_another_program_is_called_by_name(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    assert app.send_task("elsewhere.add", (1, 2), queue="q", task_id="t").get(timeout=5) == 3
    assert (node.messages["t"].task, node.messages["t"].queue) == ("elsewhere.add", "q")


def test_a_task_that_is_known_here_goes_to_its_own_queue_by_name_too(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    app.task(name="n", queue="numbers")(plus)
    assert node.messages[app.send_task("n", (1, 2)).id].queue == "numbers"


def test_without_a_mesh_the_call_says_how_to_start_one(place: Place, make_app: MakeApp) -> None:
    with pytest.raises(MeshNotFound, match="mesh up --mesh lab"):
        make_app(mesh="lab").task(plus).delay(1)


def test_the_publish_timeout_is_the_applications(place: Place, make_app: MakeApp) -> None:
    place.node().confirm = lambda submit: None
    app = make_app()
    app.publish_timeout = 0.2
    with pytest.raises(PublishUnknown):
        app.task(plus).delay(1)


# -- signatures --------------------


def test_a_signature_is_a_call_for_later(place: Place, make_app: MakeApp) -> None:
    place.node(add)
    task = make_app().task(plus)
    assert task.s(1, y=2).delay().get(timeout=5) == 3
    assert task.signature((1,), {"y": 2}, queue="q").options == {"queue": "q"}
    assert task.s(1, 2)() == 3
    assert repr(task.s(1, y="a")) == f"{task.name}(1, y='a')"


def test_a_partial_takes_arguments_before_its_own_and_newer_keywords_win(make_app: MakeApp) -> None:
    call = make_app().task(plus).s(2, y=5).clone((1,), {"y": 6, "z": 7}, queue="q")
    assert (call.args, call.kwargs, call.options) == ((1, 2), {"y": 6, "z": 7}, {"queue": "q"})


def test_an_immutable_signature_takes_none(make_app: MakeApp) -> None:
    task = make_app().task(plus)
    assert task.si(2)(5) == 2
    assert task.si(2).clone((1,)).args == (2,)


def test_signatures_are_equal_by_what_they_call(make_app: MakeApp) -> None:
    task = make_app().task(plus)
    assert task.s(1) == task.signature([1])
    assert task.s(1) != task.s(2)
    assert task.s(1) != task.signature((1,), queue="q")
    with pytest.raises(TypeError):
        hash(task.s(1))


def test_running_an_unknown_task_here_is_an_error(make_app: MakeApp) -> None:
    with pytest.raises(UnknownTask, match="has no task 'x'"):
        make_app().run_here("x", (), {})


def test_many_calls_are_one_batch_with_results_in_order(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    task = app.task(plus)
    results = app.submit_many(task.s(n, n) for n in range(1500))
    assert [one.get(timeout=5) for one in results] == [2 * n for n in range(1500)]
    assert [len(ids) for ids in node.submits] == [1000, 500]
    assert app.submit_many([]) == []


def test_of_a_batch_with_a_bad_call_nothing_is_sent(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    task = app.task(plus)
    with pytest.raises(NotEncodable):
        app.submit_many([task.s(1), task.s(object())])
    with pytest.raises(TypeError):
        app.submit_many([task.s(1), task.s()])
    assert node.submits == []


# -- the connection --------------------


def test_two_applications_share_a_connection_until_both_are_closed(place: Place, make_app: MakeApp) -> None:
    place.node()
    one, two = make_app("one"), make_app("two")
    assert one.client is two.client
    one.close()
    assert two.client.usable
    first = two.client
    two.close()
    assert not first.usable


def test_after_close_a_call_connects_again(place: Place, make_app: MakeApp) -> None:
    place.node(add)
    with make_app() as app:
        task = app.task(plus)
        task.delay(1)
    assert task.delay(1, 2).get(timeout=5) == 3


def test_a_broken_seed_is_refused_at_the_first_use(make_app: MakeApp) -> None:
    with pytest.raises(MeshError, match="host:port"):
        make_app(seeds=["not an address!"]).task(plus).delay(1)
