"""What a person should know of a damaged state file: a report beside the file that was put aside."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from mesh.core.effects import Gap
from mesh.storage.home import replace_file
from mesh.storage.schema import SEQUENCE_MASK

REPORTS = "damage-*.json"
GAPS_MAX = 10_000
"""Most gaps that are listed one by one."""
UNTOLD = "unknown journal"
"""Begins the line of an entry of which not even the journal could be read: others may have it, or have settled it, and nobody can say."""
LOST = "lost, as no other node has it"
PERHAPS_LOST = "perhaps lost, as its journal can't be told"


class Damage(msgspec.Struct):
    """One damaged state file and what became of it."""

    found_at: float
    """Seconds since 1970 UTC."""
    what: str
    """Why the file was not to be trusted."""
    file: str
    """Name of the damaged file, which was put aside and is never deleted by mesh."""
    salvaged: int
    """Entries that could be read of it."""
    unreadable: list[str]
    """What could not be: ``journal:sequence``, or ``journal:first-last`` for dots of which each may have been settled long before."""
    whole_at: float = 0.0
    """When the node had got back what others hold; 0 until then."""
    lost: list[str] = []
    """What of ``unreadable`` nobody else has, or (``UNTOLD``) nobody can say."""
    kept: int = 0
    """Salvaged entries that nobody else had."""


def stamp(now_s: float) -> str:
    """An instant as it appears in file names."""
    return datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def describe(gaps: Iterable[Gap]) -> list[str]:
    """Gaps for people, each on its own; beyond a limit only how many more there are."""
    lines = [_describe(gap) for gap in gaps]
    return lines if len(lines) <= GAPS_MAX else [*lines[:GAPS_MAX], f"and {len(lines) - GAPS_MAX} more"]


def _describe(gap: Gap) -> str:
    if not gap.journal and gap.last == SEQUENCE_MASK:
        return "the list of journals: what else the file held can't be told"
    dots = str(gap.first) if gap.first == gap.last else f"{gap.first}-{gap.last}"
    task = f" (task {gap.task})" if gap.task else ""
    return f"{gap.journal.hex() or UNTOLD}:{dots}{task}"


def write(folder: Path, damage: Damage) -> Path:
    """Write or replace the report; returns where it is. Raises OSError."""
    path = folder / f"damage-{stamp(damage.found_at)}.json"
    replace_file(path, msgspec.json.format(msgspec.json.encode(damage), indent=2) + b"\n")
    return path


def reports(folder: Path) -> list[tuple[Path, Damage]]:
    """The reports in a state directory, oldest first; a file that is none is passed over."""
    found = []
    for path in sorted(folder.glob(REPORTS)):
        try:
            found.append((path, msgspec.json.decode(path.read_bytes(), type=Damage)))
        except (OSError, msgspec.MsgspecError):
            continue
    return found
