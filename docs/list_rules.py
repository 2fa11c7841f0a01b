"""Prints the tests of each rule of docs/rules.md: ``python docs/list_rules.py``. A test says its rule in its name, ``test_r7_...``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
RULE = re.compile(r"^\| (R\d+b?) \| (.*) \|$", re.MULTILINE)
TEST = re.compile(r"^(?:async )?def (test_(r\d+b?)_\w+)", re.MULTILINE)


def rules() -> dict[str, str]:
    """What each rule says."""
    return dict(RULE.findall((ROOT / "docs" / "rules.md").read_text(encoding="utf-8")))


def tests() -> dict[str, list[str]]:
    """Rule to its tests, as pytest takes them."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, rule in TEST.findall(path.read_text(encoding="utf-8")):
            found.setdefault(rule.upper().replace("B", "b"), []).append(f"{path.relative_to(ROOT).as_posix()}::{name}")
    return found


def main() -> int:
    """A paragraph for each rule; the exit code is 1 when one has no test."""
    proved = tests()
    for rule, text in rules().items():
        print(f"{rule}: {text}")
        for test in proved.get(rule, ["no test says this rule"]):
            print(f"    {test}")
    return int(any(rule not in proved for rule in rules()))


if __name__ == "__main__":
    sys.exit(main())
