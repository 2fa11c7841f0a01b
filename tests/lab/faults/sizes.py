"""How long faults last and how much work there is: short in the tests, long in the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Times in seconds. ``SHORT`` is what the tests use."""

    killing_s: float = 6
    split_s: float = 4
    one_way_s: float = 3
    cycles: int = 1
    """Of a link that flaps."""
    loss_s: float = 3
    starved_s: float = 3
    full_s: float = 3
    backlog: int = 5_000
    backlog_block: int = 1_000
    """Of the short queue that the long one is compared with."""


SHORT = Sizes()
LONG = Sizes(killing_s=40, split_s=6, one_way_s=8, cycles=8, loss_s=10, starved_s=10, full_s=10, backlog=1_000_000, backlog_block=20_000)
