"""Of the live tasks with one key there is one: its result is everybody's."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from mesh import Mesh


@pytest.fixture
def gate(app: Mesh) -> Iterator[threading.Event]:
    """Tasks named ``held`` end when it is set; how often one has begun is counted."""
    opened = threading.Event()
    app.held_begun = []  # type: ignore[attr-defined]

    @app.task(name="held", unique=True)
    def held(x: int) -> int:
        app.held_begun.append(x)  # type: ignore[attr-defined]
        opened.wait(10)
        return 10 * x

    yield opened
    opened.set()
    del app._registry.tasks["held"]


def test_a_second_call_with_the_same_arguments_gets_the_first_ones_result(app: Mesh, gate: threading.Event) -> None:
    held = app.tasks["held"]
    first = held.delay(1)
    again, other = held.delay(x=1), held.delay(2)
    assert again == first
    assert other != first
    gate.set()
    assert [one.get(timeout=10) for one in (first, again, other)] == [10, 10, 20]
    assert sorted(app.held_begun) == [1, 2]  # type: ignore[attr-defined]
    later = held.delay(1)
    assert later != first
    assert later.get(timeout=10) == 10


def test_a_batch_has_one_task_for_each_key(app: Mesh, gate: threading.Event) -> None:
    held = app.tasks["held"]
    results = app.submit_many([held.s(1), held.s(2), held.s(1)])
    assert results[0] == results[2] != results[1]
    assert held.apply_async((1,), unique=False) != results[0]
    gate.set()
    assert [one.get(timeout=10) for one in results] == [10, 20, 10]


def test_a_key_for_a_time_outlives_the_task(app: Mesh, gate: threading.Event) -> None:
    held = app.tasks["held"]
    gate.set()
    first = held.apply_async((3,), unique="nightly", unique_for=60)
    assert first.get(timeout=10) == 30
    again = held.apply_async((4,), unique="nightly", unique_for=60)
    assert again == first
    assert again.get(timeout=10) == 30


async def submitted(app: Mesh) -> list[str]:
    held = app.tasks["held"]
    return [(await held.adelay(7)).id for _ in range(2)]


def test_a_call_from_an_event_loop_is_unique_too(app: Mesh, gate: threading.Event) -> None:
    import asyncio

    one, two = asyncio.run(submitted(app))
    assert one == two
