"""The page of commands is what the commands say."""

from __future__ import annotations

import runpy
from pathlib import Path

GENERATOR = Path(__file__).parents[3] / "docs" / "generate_cli.py"


def test_the_reference_page_is_up_to_date() -> None:
    generator = runpy.run_path(str(GENERATOR))
    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "run: python docs/generate_cli.py"
