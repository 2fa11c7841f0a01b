"""A queue as an object, as HotQueue has it, and class jobs, as PyRes has them."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mesh import Closed, Mesh, ResQ, UsageError
from mesh.messaging.hotqueue import HotQueue
from tests.polling import poll_until


@pytest.fixture(scope="module")
def app() -> Iterator[Mesh]:
    app = Mesh("scripts", embedded=True)
    app.job(Greet)
    with app:
        yield app


@pytest.fixture
def queue(app: Mesh, request: pytest.FixtureRequest) -> Iterator[HotQueue]:
    with app.queue(request.node.name) as queue:
        yield queue


def test_values_come_out_in_the_order_in_which_they_were_put(queue: HotQueue) -> None:
    queue.put("a", {"b": [1, 2]})
    queue.put(b"c")
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == ["a", {"b": [1, 2]}, b"c", None]


def test_get_waits_when_it_is_told_to(queue: HotQueue) -> None:
    assert queue.get(block=True, timeout=0.05) is None
    putting = threading.Timer(0.1, queue.put, ["now"])
    putting.start()
    assert queue.get(block=True, timeout=5) == "now"
    putting.join()


def test_its_length_is_what_waits_and_clear_drops_that(queue: HotQueue) -> None:
    assert len(queue) == 0
    queue.put(*range(5))
    assert len(queue) == 5
    assert queue.clear() == 5
    assert len(queue) == 0
    assert queue.get() is None


def test_consume_ends_when_nothing_has_come_for_a_while(queue: HotQueue) -> None:
    queue.put(*range(5))
    assert list(queue.consume(timeout=0.1)) == [0, 1, 2, 3, 4]


def test_a_value_whose_loop_was_left_goes_back(queue: HotQueue) -> None:
    queue.put("first", "second")

    def fail() -> None:
        for value in queue.consume():
            raise ZeroDivisionError(value)

    with pytest.raises(ZeroDivisionError):
        fail()
    poll_until(lambda: len(queue) == 2, 5, "both wait again")
    assert [queue.get(), queue.get()] == ["first", "second"]


def test_a_worker_is_a_function_that_gets_each_value(queue: HotQueue) -> None:
    seen: list[tuple[Any, ...]] = []

    @queue.worker(timeout=0.1)
    def note(prefix: str, value: int) -> None:
        seen.append((prefix, value))

    @queue.worker
    def for_ever(value: int) -> None:
        raise KeyError(value)

    queue.put(1, 2)
    note("x")
    assert (seen, note.__name__) == ([("x", 1), ("x", 2)], "note")
    queue.put(3)
    with pytest.raises(KeyError):
        for_ever()


def test_a_serializer_makes_the_bytes(app: Mesh) -> None:
    with app.queue("pickled", serializer=pickle) as queue:
        queue.put({1, 2}, complex(1, 2))
        assert [queue.get(), queue.get()] == [{1, 2}, complex(1, 2)]


def test_what_names_no_mesh_is_refused() -> None:
    for wrong in ({"db": 3}, {"port": 6379}):
        with pytest.raises(UsageError):
            HotQueue("q", **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        HotQueue("")


def test_after_a_close_everything_raises(app: Mesh) -> None:
    queue = app.queue("closed")
    queue.close()
    for call in (lambda: queue.put(1), queue.get, lambda: len(queue), lambda: next(queue.consume())):
        with pytest.raises(Closed):
            call()


# -- class jobs --------------------


class Greet:
    queue = "greetings"

    @staticmethod
    def perform(name: str, greeting: str = "hello") -> str:
        return f"{greeting} {name}"


def test_a_job_runs_as_a_task_of_its_classs_name(app: Mesh) -> None:
    assert f"{__name__}.Greet" in app.tasks
    sent = [app.enqueue(Greet, "Ada"), app.enqueue(Greet, "Grace", "hi")]
    assert [result.get(timeout=10) for result in sent] == ["hello Ada", "hi Grace"]


def test_a_class_that_is_no_job_is_refused(app: Mesh) -> None:
    class NoQueue:
        @staticmethod
        def perform() -> None: ...

    class NoPerform:
        queue = "q"

    for wrong, text in ((NoQueue, "queue = "), (NoPerform, "perform"), (7, "perform")):
        for call in (app.job, app.enqueue):
            with pytest.raises(UsageError, match=text):
                call(wrong)  # type: ignore[operator]


class Page:
    queue = "pages"

    @staticmethod
    def perform(url: str) -> str:
        return f"saved {url}"


class Table:
    queue = 7
    """No job: its queue is no text."""

    @staticmethod
    def perform() -> None:
        """Never run."""


def test_the_classes_of_a_module_are_jobs_of_its_resq() -> None:
    with ResQ(embedded=True) as r:
        assert f"{__name__}.Page" in r.tasks
        assert f"{__name__}.Table" not in r.tasks
        assert r.enqueue(Page, "http://python.org").get(timeout=10) == "saved http://python.org"
