"""What `mesh demo` tells at its end: the table of the standard library, and the account of its tasks."""

from __future__ import annotations

import itertools
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

TOP_ROWS = 10
FOREIGN_FOLDERS = {"site-packages", "dist-packages", "__pycache__"}


def standard_library() -> list[Path]:
    """Every Python source file of the running interpreter's standard library, sorted."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if not FOREIGN_FOLDERS & set(path.relative_to(root).parts))


@dataclass(slots=True)
class Package:
    """Sums over the files of one top-level module or package."""

    files: int = 0
    lines: int = 0
    functions: int = 0
    longest: tuple[str, int] = ("", 0)


@dataclass(slots=True)
class Survey:
    """The facts of all files, added one by one in any order."""

    packages: dict[str, Package] = field(default_factory=dict)
    imported: Counter[str] = field(default_factory=Counter)

    def add(self, path: PurePath, facts: dict[str, Any]) -> None:
        """Count a file, ``path`` relative to the library's folder, with what the task found in it."""
        name = path.parts[0].removesuffix(".py")
        package = self.packages.setdefault(name, Package())
        package.files += 1
        package.lines += facts["lines"]
        package.functions += facts["functions"]
        longest = (str(facts["longest"][0]), int(facts["longest"][1]))
        package.longest = max(package.longest, longest, key=lambda item: item[1])
        self.imported.update(facts["imports"])

    def rows(self) -> list[tuple[str, int, int, int, str]]:
        """The biggest packages: name, files, lines, functions, longest function."""
        biggest = sorted(self.packages.items(), key=lambda item: (-item[1].lines, item[0]))[:TOP_ROWS]
        return [
            (name, package.files, package.lines, package.functions, "{} ({} lines)".format(*package.longest) if package.functions else "")
            for name, package in biggest
        ]

    def most_imported(self) -> str:
        """The modules that most files import, with the number of those files."""
        return ", ".join(f"{name} {count}" for name, count in self.imported.most_common(TOP_ROWS))


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the tasks, by what they wrote into the file of starts: seen from outside the mesh."""

    submitted: int
    finished: int
    twice: int
    """Files that were started more than once."""
    pause_s: float
    """Longest time without a start from the kill on; what dispatch stood still, plus one file's work."""

    @property
    def lost(self) -> int:
        """Files whose result never came."""
        return self.submitted - self.finished


def account(submitted: int, finished: int, starts: str, killed_at: float | None) -> Account:
    """The account from the file of starts (lines of ``wall time, process id, path``)."""
    lines = [line.split("\t", 2) for line in starts.splitlines()]
    counts = Counter(path for _, _, path in lines)
    pause_s = longest_pause_s(sorted(float(at) for at, _, _ in lines), killed_at) if killed_at is not None else 0.0
    return Account(submitted, finished, sum(1 for count in counts.values() if count > 1), pause_s)


def longest_pause_s(instants: list[float], since: float) -> float:
    """The longest time between two neighbours of ascending ``instants``, of those that end after ``since``."""
    return max((after - before for before, after in itertools.pairwise(instants) if after > since), default=0.0)
