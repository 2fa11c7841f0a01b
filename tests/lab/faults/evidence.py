"""What is known from outside: files that publishers, tasks and watchers append to, and the nodes' own logs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.lab.history import History
from tests.machines import Machine

PUBLISHED = "published.log"
VIEWS = "views.log"
"""Where publish.py and watch.py write, in the work folder of their host (they, of which hosts have copies, say it again)."""

TOLD_MAX = 60
"""Lines of evidence in a row of the report."""

_CLAIM = re.compile(r"^(\S+Z) \w+ (?:coordinator is (\S+) \(term (\d+)\)|no coordinator;)", re.MULTILINE)


@dataclass
class Published:
    """What publishers tried and what was confirmed, from a number on."""

    attempts: dict[int, float] = field(default_factory=dict)
    """When each was tried first, by the wall clock."""
    confirms: dict[int, tuple[float, int]] = field(default_factory=dict)
    """When each was confirmed first, and with how many copies."""

    @property
    def waits_s(self) -> list[float]:
        """From the first attempt to the confirm, of each that was confirmed."""
        return [at_s - self.attempts[number] for number, (at_s, _) in self.confirms.items()]

    def with_copies(self, copies: int) -> set[int]:
        """Numbers that were confirmed with so many copies."""
        return {number for number, (_, had) in self.confirms.items() if had == copies}


def published(machines: Iterable[Machine]) -> Published:
    """All that the publishers on these machines wrote down."""
    found = Published()
    for machine in machines:
        for at_s, what, number, copies in _rows(machine.work / PUBLISHED):
            if what == "attempt":
                found.attempts.setdefault(int(number), float(at_s))
            else:
                found.confirms.setdefault(int(number), (float(at_s), int(copies)))
    return found


def _rows(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


class View(NamedTuple):
    """How the mesh looks to one node."""

    at_s: float
    host: str
    coordinator: str | None
    term: int
    alive: tuple[str, ...]
    deputies: int
    under: int
    unsettled: int


def views(machines: Iterable[Machine]) -> list[View]:
    """What the watchers saw, in order of time."""
    found = []
    for machine in machines:
        file = machine.work / VIEWS
        for line in file.read_text().splitlines() if file.exists() else []:
            if line.endswith("}"):  # the last one may be half-written
                seen = json.loads(line)
                found.append(View(host=machine.name, **{**seen, "alive": tuple(seen["alive"])}))
    return sorted(found)


def agreed_since(seen: Iterable[View], hosts: tuple[str, ...]) -> float | None:
    """Since when all hosts agree on coordinator and term, see exactly each other, and have a deputy; None when they don't now."""
    latest: dict[str, View] = {}
    since: float | None = None
    for view in seen:
        latest[view.host] = view
        if not _agree(latest, hosts):
            since = None
        elif since is None:
            since = view.at_s
    return since


def _agree(latest: dict[str, View], hosts: tuple[str, ...]) -> bool:
    mine = [latest[host] for host in hosts if host in latest]
    if len(mine) < len(hosts) or mine[0].coordinator is None:
        return False
    same = len({(view.coordinator, view.term) for view in mine}) == 1
    return same and all(view.alive == tuple(sorted(hosts)) and view.deputies >= min(1, len(hosts) - 1) for view in mine)


class Claim(NamedTuple):
    """From a moment on a node takes ``coordinator`` (empty: nobody) for the coordinator, as its log says."""

    at_s: float
    host: str
    coordinator: str


def claims(machines: Iterable[Machine]) -> list[Claim]:
    """What all nodes of these machines logged, in order of time; a new log begins with nobody."""
    found = []
    for machine in machines:
        for log in sorted(machine.folder.glob("*-up.log")):
            for moment, coordinator, _ in _CLAIM.findall(log.read_text(errors="replace")):
                at_s = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC).timestamp()
                found.append(Claim(at_s, machine.name, coordinator))
    return sorted(found)


def rivals_until(said: Iterable[Claim], since_s: float, dead: Iterable[str] = ()) -> float:
    """How long after a moment the last two nodes at once took themselves for the coordinator, in seconds; 0 when none did."""
    own: dict[str, bool] = {}
    until = since_s
    two = False
    for claim in said:
        if two and claim.at_s > since_s:
            until = claim.at_s
        own[claim.host] = claim.host == claim.coordinator
        two = sum(mine for host, mine in own.items() if host not in dead) > 1
    return float("inf") if two else until - since_s


def starts_on(machine: Machine, since_s: float, until_s: float) -> int:
    """How many tasks began on one machine between two moments."""
    return sum(event.what == "start" and since_s < event.at_s < until_s for event in History([machine]).events)


def running_at(history: History, at_s: float) -> set[int]:
    """Numbers that had begun and not finished at a moment."""
    begun = {event.number for event in history.events if event.what == "start" and event.at_s <= at_s}
    return begun - {event.number for event in history.events if event.what == "finish" and event.at_s <= at_s}


def begun_again(history: History, running: set[int], after_s: float) -> dict[int, float]:
    """When those that ran at a moment began again after it, by number."""
    again: dict[int, float] = {}
    for event in history.events:
        if event.what == "start" and event.number in running and event.at_s > after_s:
            again.setdefault(event.number, event.at_s)
    return again


def runs_told(history: History, numbers: Iterable[int], since_s: float) -> list[str]:
    """For each of these tasks where and when it began and finished, in seconds after a moment that the first line names as logs do."""
    wanted = dict.fromkeys(sorted(numbers))
    if not wanted:
        return []
    told: dict[int, list[str]] = {number: [] for number in itertools.islice(wanted, TOLD_MAX)}
    for event in history.events:
        if event.number in told:
            told[event.number].append(f"{event.what} on {event.host} {event.at_s - since_s:+.3f}")
    moment = datetime.fromtimestamp(since_s, UTC).isoformat(timespec="milliseconds")
    head = f"{len(wanted)} begun more than once, times in seconds after {moment}" + (
        f", the first {TOLD_MAX}" if len(wanted) > TOLD_MAX else ""
    )
    return [head, *(f"task-{number}: {', '.join(events)}" for number, events in told.items())]


def seen_told(seen: Iterable[View], since_s: float) -> list[str]:
    """How the mesh looked to each node from a moment on, a line for each change."""
    changes = [view for view in seen if view.at_s > since_s][:TOLD_MAX]
    return [
        f"{view.at_s - since_s:+.3f} {view.host}: coordinator {view.coordinator} (term {view.term}), sees {' '.join(view.alive) or 'none'},"
        f" {view.deputies} deputies"
        for view in changes
    ]
