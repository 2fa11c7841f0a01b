"""docs/reliability.md, from the JSON of the last runs of `make chaos`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.lab.faults.row import Row, from_json, span
from tests.lab.faults.soak import Sample, slopes
from tests.lab.faults.table import THREE
from tests.repository import ROOT

PAGE = ROOT / "docs" / "reliability.md"

HEAD = """# Reliability

What became of confirmed tasks when things broke: real nodes, workers and clients on hosts of their own (network namespaces), faults
injected from outside, and judged by files that the publishers and the tasks append to, never by what the mesh says of itself. The page is
written by the run that made the figures:

<!-- not run: needs root and takes long -->
```console
$ sudo make chaos MINUTES=15
$ sudo make chaos MINUTES=60 SOAK=1
```

The first injects every fault at least once, the second a random one every 30 s.
"""
COLUMNS = """\
- **tasks**: confirmed to their publisher. **lost**: confirmed, and run to the end by no worker; allowed is only what had a single copy
  on the disk that the fault destroyed (fault 8), and there it has to be exactly that. Fault 6 is the control: nodes that do not sync
  have to lose something in a power cut, or this page would not notice if they did not.
- **twice %**: share of the tasks that were begun more than once, whatever the reason. A task whose own worker is killed has to be.
- **resume**: the longest time without the start of a task, from the fault on, p50 / p95 over the runs; workers take nothing ahead of
  their free slots, and some tasks wait at any time.
- **repeated**: of the tasks that ran when the fault struck, how many were begun again.
- **agree**: from the end of the fault (or the answer of the restarted node) until all nodes have the same coordinator and term, see each
  other, and a deputy has a full copy; p95.
"""


def write(folder: Path) -> Path:
    """Write the page from ``chaos.json`` and, where there is one, ``soak.json``; returns its path."""
    chaos = _load(folder / "chaos.json")
    soak = _load(folder / "soak.json")
    parts = [HEAD]
    if chaos:
        parts += [about(chaos["about"]), "## Faults\n", COLUMNS, table([from_json(row) for row in chaos["rows"]])]
    if soak:
        parts += ["## Soak\n", soaked(soak)]
    parts += [SIMULATION, "## What is not in the table\n", MISSING]
    PAGE.write_text("\n".join(parts))
    return PAGE


def _load(file: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return loaded


SIMULATION = """\
## Simulation

Before processes, the core: `make simulate` runs the code of nodes, several of them with clients and workers, in virtual time. One seed
decides the network (delay, loss, repetition, disorder, one-way and partial cuts, splits, flapping), the disks (a lost tail, a wipe, an old
backup, rows that can't be read, slow, full), the clocks (set, too fast, too slow) and the processes (killed between any two steps, stopped,
switched off, told to leave, a copy of a state directory started elsewhere). On the way and in the calm afterwards the
[invariants](rules.md#what-the-simulation-checks) are checked. CI runs 2,000 seeds of it. Known bugs, from confirms without fsync to
leases that nobody tells, are planted one by one in `tests/simulation`: each has to be noticed by the invariant that it breaks, and every
invariant has to notice one. What is forgiven is in [decision 050](decisions/050-what-the-simulation-excuses.md).
"""

MISSING = """\
The rows and the soak ran beside each other, and beside builds and tests: some twelve runnable processes for two cores.

Row 25 is not in the table: in two runs of two with a million tasks, at a higher priority than the rest, the three nodes fell into
elections some seconds after the workers had started, ten terms in 17 s and seventy in 140 s. Work went on (185,413 tasks had run by
then), so slowly that the runs were ended. A takeover reads the window into its queues in one turn, 0.3 to 0.6 s of a processor for 33,000
tasks, and a node whose loop is late for half a heartbeat timeout steps down (R12); what the first one stepped down for is not known yet.
With 5,000 tasks the row breaks nothing. For one node on a machine of its own `make bench` showed for 990,000 tasks of 200 bytes, at
commit 067d028 and against an empty queue: published at 115 %, drained at 82 %, +95 MB of RSS, 3.7 s from the restart to the first task.

A node that comes back with a new key was once in some ten runs of fault 8 out of touch with the others for another 12 to 15 s, and a task
ran twice. [Decision 110](decisions/110-a-node-stays-a-node.md) tells why and what was mended; 14 of 14 runs since agreed within 0.4 s.

The row 16 (30 %) once ran 10 to 32 tasks twice in 3 of 20 runs; [decision 078](decisions/078-whoever-may-rule-knows-what-runs.md) tells why
and what was mended. 17 of 17 runs since ran nothing twice.

In the first half of the soak a node's memory grows, as tables fill that have a limit (ids of removed results, pages of the database), so
the second half is what counts. A soak before this one showed +8.2 MB/h: a deputy remembered each message that ended while it had nothing
to tell the coordinator. After 100 s at 7,000 tasks/s those were 562,533 ids and 132 MB; now they are none and 75 MB. What is left of it,
1 MB in the last 20 minutes while the other load was at its highest, is not explained.

Row 23 is younger than this table. A disk that loses or damages what was synced, clocks that drift, frames that come twice or in another
order, and a power cut of one of several nodes at any instant are the [simulation's](hacking.md#the-simulation).
"""


ALLOWED = {"6": "{0}, as it has to be", "8": "{0} of {1} with one copy"}
"""What stands under ``lost`` in rows that may lose something: (lost, allowed)."""


def about(run: Mapping[str, Any]) -> str:
    """Where, when and with what."""
    libraries = ", ".join(f"{name} {version}" for name, version in run["libraries"].items())
    where = f"{run['cpu']}, {run['cores']} cores for all hosts together, Linux {run['kernel']}, Python {run['python']}"
    return "\n".join(
        [
            wrapped(f"Measured on {run['date']} at commit {run.get('commit') or 'unknown'}: {where}, {libraries}."),
            "",
            wrapped(f"Injectors: {run['injectors']}."),
            "",
        ]
    )


def wrapped(text: str, width: int = 136) -> str:
    """The text in lines; those of an item of a list are indented."""
    indent = "  " if text.startswith("- ") else ""
    lines = [""]
    for word in text.split():
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append(indent)
        lines[-1] += f" {word}" if lines[-1].strip() else word
    return "\n".join(lines)


def table(rows: list[Row]) -> str:
    """One line for each fault, and notes below."""
    lines = ["| # | fault | runs | tasks | lost | twice % | resume s | repeated | elections | agree s |", "|" + "---|" * 10]
    notes = []
    for row in rows:
        if row.not_run:
            lines.append(f"| {row.fault} | {row.title} | not run | | | | | | | |")
            notes.append(f"- **{row.fault}** was not run: {row.not_run}.")
            continue
        lost = ALLOWED.get(row.fault, "{0}").format(row.lost, row.excused)
        repeated = f"{row.repeated} of {row.running}" if row.running else ""
        cells = (row.runs, f"{row.tasks:,}", lost, f"{row.duplicated_percent:.2f}", span(row.pauses_s), repeated, row.elections)
        agree = span(row.converged_s).rpartition("/")[2].strip()
        lines.append(f"| {row.fault} | {row.title} | " + " | ".join(map(str, cells)) + f" | {agree} |")
        said = [*row.notes[:3], *(f"**broken: {promise}**" for promise in row.broken)]
        if said:
            notes.append(f"- **{row.fault}**: {'; '.join(said)}.")
    return "\n".join([*lines, "", *map(wrapped, notes), ""])


SHOWN_EVERY_MINUTES = 5.0
SHOWN_MINUTES = 20.0
"""A process that lived for less shows no slope, only noise."""


def soaked(run: Mapping[str, Any]) -> str:
    """What the soak showed."""
    row = from_json(run["row"])
    faults = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in Counter(run["faults"]).most_common())
    lines = [
        wrapped(
            f"{row.title} ({run['about']['date']}, commit {run['about'].get('commit') or 'unknown'}): {faults}. "
            f"{row.tasks:,} tasks, lost {row.lost}, twice {row.duplicated_percent:.2f} %, "
            f"{row.elections} elections, longest pause {span(row.pauses_s)} s. The third node is never killed; the others "
            "live too short between their kills to show a slope. Results are kept for 30 s, so that memory is not theirs."
        ),
        "",
        "| node | minutes | RSS MB | MB/h | second half | open files | files/h | state MB | MB/h |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    samples = [Sample(*sample) for sample in run["samples"]]
    for slope in (slope for slope in slopes(samples) if slope.minutes >= SHOWN_MINUTES):
        lines.append(
            f"| {slope.host} | {slope.minutes:.0f} | {slope.rss_mb:.0f} | {slope.rss_mb_per_h:+.1f} | {slope.rss_late_mb_per_h:+.1f} "
            f"| {slope.files:.0f} | {slope.files_per_h:+.1f} | {slope.disk_mb:.1f} | {slope.disk_mb_per_h:+.1f} |"
        )
    third = [sample for sample in samples if sample.host == THREE[-1]]
    lines += ["", wrapped(f"The third node's RSS in MB, every {SHOWN_EVERY_MINUTES:g} minutes: {', '.join(memory_told(third))}.")]
    return "\n".join([*lines, "", *(f"**broken: {promise}**\n" for promise in run["broken"])])


def memory_told(samples: Sequence[Sample]) -> list[str]:
    """Resident memory at equal distances, and at the end."""
    begun_s = samples[0].at_s
    first: dict[int, Sample] = {}
    for sample in samples:
        first.setdefault(int((sample.at_s - begun_s) / 60 / SHOWN_EVERY_MINUTES), sample)
    return [f"{sample.rss_mb:.1f}" for sample in [*first.values(), samples[-1]]]
