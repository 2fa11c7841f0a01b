"""Workflows on an embedded mesh, as messages that wait (decision 120)."""

from __future__ import annotations

import pytest

from mesh import ChordError, Mesh, ids
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message


def test_a_chain_hands_its_values_on(app: Mesh, name: str) -> None:
    @app.task(name=f"{name}.add")
    def add(x: int, y: int) -> int:
        return x + y

    first, second = ids.task_id(), ids.task_id()
    messages = [
        app.message_of(add.s(10), id=second, flow=Flow(after=first)),
        app.message_of(add.s(1, 2), id=first),
    ]
    (result,) = app.submit_messages(messages, [second])
    assert result.get(timeout=10) == 13


def test_the_body_of_a_chord_gets_a_list(app: Mesh, name: str) -> None:
    @app.task(name=f"{name}.square")
    def square(x: int) -> int:
        return x * x

    @app.task(name=f"{name}.total")
    def total(values: list[int]) -> int:
        return sum(values)

    gather, body = ids.task_id(), ids.task_id()
    messages = [
        app.message_of(total.s(), id=body, flow=Flow(after=gather)),
        Message(gather, "default", "", b"", flow=Flow(gathers=20)),
        *(app.message_of(square.s(place), flow=Flow(into=gather, place=place)) for place in range(20)),
    ]
    squares, result = app.submit_messages(messages, [gather, body])
    assert squares.get(timeout=10) == [place * place for place in range(20)]
    assert result.get(timeout=10) == sum(place * place for place in range(20))


def test_a_chord_fails_with_its_member(app: Mesh, name: str) -> None:
    told = []

    @app.task(name=f"{name}.fail")
    def fail() -> None:
        raise ValueError("broken")

    @app.task(name=f"{name}.total")
    def total(values: list[int]) -> int:
        return sum(values)

    @app.task(name=f"{name}.callback")
    def callback(request: object, error: Exception, traceback: str) -> str:
        told.append((request.id, type(error)))  # type: ignore[attr-defined]
        return "told"

    gather, body, errback, member = (ids.task_id() for _ in range(4))
    messages = [
        app.message_of(callback.s(), id=errback, flow=Flow(after=gather, when=When.FAILURE)),
        app.message_of(total.s(), id=body, flow=Flow(after=gather)),
        Message(gather, "default", "", b"", flow=Flow(gathers=1)),
        app.message_of(fail.s(), id=member, flow=Flow(into=gather)),
    ]
    result, called = app.submit_messages(messages, [body, errback])
    with pytest.raises(ChordError, match="ValueError: broken"):
        result.get(timeout=10)
    assert called.get(timeout=10) == "told"
    assert told == [(gather, ChordError)]
