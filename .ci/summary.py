"""Closes a CI run: prints the totals of a JUnit file and fails if a test of the lab was skipped.

Standard library only, as it runs outside of the virtual environment. Usage: summary.py FILE
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def main(report: Path) -> int:
    """Print what ran; returns the exit code."""
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    in_lab = [case for case in skipped if case.get("classname", "").startswith("tests.lab")]
    for case in in_lab:
        reason = case.find("skipped")
        assert reason is not None
        print(f"SKIPPED in the lab: {case.get('classname')}::{case.get('name')}: {reason.get('message')}", file=sys.stderr)
    if in_lab:
        print("the lab is part of this run and must not be skipped", file=sys.stderr)
    seconds = sum(float(case.get("time", "0")) for case in cases)
    passed = len(cases) - len(failed) - len(skipped)
    print(f"=== {passed} passed, {len(failed)} failed, {len(skipped)} skipped in {seconds:.0f}s ===")
    return 1 if failed or in_lab or not cases else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
