from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.transport.parts import Net


@pytest.fixture
def net() -> Iterator[Net]:
    net = Net()
    yield net
    net.close()
