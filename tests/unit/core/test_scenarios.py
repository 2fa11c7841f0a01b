"""Whole stories of a mesh, as transcripts (see scenario.py)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.core.scenario import Stage, read

FILES = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_scenario(path: Path) -> None:
    stage = Stage()
    played = [(block, stage.perform(block.command)) for block in read(path)]
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text("\n".join(block.text(output) for block, output in played), encoding="utf-8")
        return
    for block, output in played:
        assert output.splitlines() == block.expected.splitlines(), f"{path.name}: {block.command}"
