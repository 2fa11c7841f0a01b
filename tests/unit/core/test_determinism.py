"""The core has no order but that of its events: hash seeds, which differ between processes, change nothing."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.repository import ROOT

PLAY = """
from tests.unit.core.scenario import Stage, read
from tests.unit.core.test_scenarios import FILES
for path in FILES:
    stage = Stage()
    for block in read(path):
        print(stage.perform(block.command))
"""


def play(hash_seed: int) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run([sys.executable, "-c", PLAY], cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_same_events_have_the_same_effects_under_any_hash_seed() -> None:
    first = play(1)
    assert "reigning" in first
    assert play(2) == first
