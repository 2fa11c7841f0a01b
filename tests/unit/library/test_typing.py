"""Tasks are typed end to end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKS = Path(__file__).with_name("typing_checks.py")


def test_calls_and_results_have_the_functions_types() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--no-error-summary", str(CHECKS)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKS.parents[3])
    assert checked.stdout == ""
    assert checked.returncode == 0
