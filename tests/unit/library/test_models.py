"""Pydantic's models as arguments and values of tasks (decision 125)."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from typing import Any

import pytest

from mesh import UsageError
from mesh.wire.bodies import decode_call
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp

pydantic = pytest.importorskip("pydantic")


class Item(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    name: str
    count: int = 1


class Order(pydantic.BaseModel):  # type: ignore[misc, name-defined]
    id: int
    day: date
    items: list[Item] = []


def bill(order: Order, note: str = "", extra: list[Item] | None = None) -> Order:
    assert type(order) is Order
    assert extra is None or all(type(item) is Item for item in extra)
    return Order(id=order.id + 1, day=order.day, items=[*order.items, *(extra or [])])


ORDER = Order(id=1, day=date(2030, 1, 2), items=[Item(name="a")])


def test_models_travel_as_dicts_and_arrive_as_models(make_app: MakeApp) -> None:
    task = make_app().task(pydantic=True)(bill)
    result = task.apply((ORDER,), {"extra": [Item(name="b", count=2)]}).get()
    assert result == {"id": 2, "day": date(2030, 1, 2), "items": [{"name": "a", "count": 1}, {"name": "b", "count": 2}]}
    assert task.apply(({"id": 1, "day": "2030-01-02"},)).get()["id"] == 2


def test_called_directly_it_is_the_function(make_app: MakeApp) -> None:
    assert make_app().task(pydantic=True)(bill)(ORDER).id == 2


def test_what_is_sent_has_no_models_in_it(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    task = app.task(pydantic=True)(bill)
    args, _ = decode_call(app.message_of(task.s(ORDER, "x")).body)
    assert args == ({"id": 1, "day": date(2030, 1, 2), "items": [{"name": "a", "count": 1}]}, "x")
    args, _ = decode_call(app.message_of(task.signature((ORDER,), serializer="json")).body)
    assert args[0]["day"] == "2030-01-02"


def test_wrong_arguments_are_refused_at_the_call(make_app: MakeApp, place: Place) -> None:
    app = make_app()
    task = app.task(pydantic=True)(bill)
    for wrong in ({"id": "many", "day": "2030-01-02"}, 3):
        with pytest.raises(pydantic.ValidationError):
            app.message_of(task.s(wrong))
    with pytest.raises(TypeError, match="missing a required argument: 'order'"):
        app.message_of(task.s())


def test_a_bound_and_an_asynchronous_task_may_have_models_too(make_app: MakeApp) -> None:
    app = make_app()

    @app.task(bind=True, pydantic=True, name="async")
    async def later(self: Any, item: Item) -> Item:
        return Item(name=f"{self.name} {item.name}")

    assert later.apply((Item(name="x"),)).get() == {"name": "async x", "count": 1}


def test_without_pydantic_the_task_says_how_to_get_it(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydantic", None)
    with pytest.raises(UsageError, match=r"pip install 'mesh\[pydantic\]'"):
        make_app().task(pydantic=True)(bill)


def test_importing_mesh_does_not_import_pydantic() -> None:
    script = "import sys, mesh; print('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
