from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh import Mesh
from tests.unit.client.places import QUICK, Place

MakeApp = Callable[..., Mesh]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in QUICK.items():
        monkeypatch.setenv(f"MESH_{name.upper()}", str(value))
    made = Place(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def make_app(place: Place) -> Iterator[MakeApp]:
    made: list[Mesh] = []

    def make(name: str = "tasks", **options: object) -> Mesh:
        made.append(Mesh(name, home=place.root, **options))
        return made[-1]

    yield make
    for app in made:
        app.close()
