"""Fixtures of the lab: a lab per test, and a loud reason where there can be none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import pytest

from tests.conftest import report_on_failure
from tests.lab.hosts import Lab, why_unavailable

REASON = why_unavailable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, where no lab can be."""
    if not REASON:
        return
    for item in items:
        if item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Callable[[Sequence[str]], Lab]]:
    """Builds labs by the names of their hosts; they are gone after the test, and a failed one shows what its processes said."""
    with ExitStack() as stack:

        def build(hosts: Sequence[str]) -> Lab:
            built = stack.enter_context(Lab(hosts))
            report_on_failure(request, built.logs)
            return built

        yield build
