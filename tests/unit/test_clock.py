"""The clock that a node goes by."""

from __future__ import annotations

import time

import pytest

from mesh import clock
from mesh.clock import SystemClock


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="Linux has it")
def test_it_goes_on_while_the_machine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = {time.CLOCK_MONOTONIC: 100.0, time.CLOCK_BOOTTIME: 100.0}
    monkeypatch.setattr(clock.time, "clock_gettime", lambda which: clocks[which])
    before_s = SystemClock().monotonic()
    clocks[time.CLOCK_BOOTTIME] += 3600.0  # suspended: the other one stands still
    assert SystemClock().monotonic() - before_s == 3600.0
