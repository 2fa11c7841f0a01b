from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh import Connection, Mesh
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


@pytest.fixture(scope="module")
def app(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """An application with a node of its own, for all tests of a module."""
    with Mesh(request.module.__name__.rpartition(".")[2], embedded=True) as app:
        yield app


@pytest.fixture
def connection(app: Mesh) -> Iterator[Connection]:
    with app.connection(timeout=5) as connection:
        yield connection


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name that no other test of the module uses."""
    return str(request.node.name)


@pytest.fixture
def queue(name: str) -> str:
    return name
