from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mesh.client.client import Client
from mesh.config import Settings
from tests.unit.client.places import QUICK, Place

MakeClient = Callable[..., Client]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def make_client(place: Place) -> Iterator[MakeClient]:
    """Makes clients of that place; they are closed."""
    made: list[Client] = []

    def make(**settings: float) -> Client:
        made.append(Client(place.finder(**settings), "test", Settings(**(QUICK | settings))))
        return made[-1]

    yield make
    for client in made:
        client.close()
