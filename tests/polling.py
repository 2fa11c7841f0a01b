"""Waiting for what must become true, instead of sleeping for as long as it usually takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class NeverTrue(AssertionError):
    """What was waited for did not happen before the deadline."""


def poll_until(predicate: Callable[[], T], deadline_s: float, what: str, *, pause_s: float = 0.05) -> T:
    """Call ``predicate`` until it returns something true, and return that.

    Raises NeverTrue with the last value, or the last AssertionError or OSError that the predicate raised, after ``deadline_s``.
    """
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            last: object = predicate()
            if last:
                return last  # type: ignore[return-value]
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() >= deadline:
            raise NeverTrue(f"not within {deadline_s:g} s: {what}; last seen: {last!r}")
        time.sleep(pause_s)
