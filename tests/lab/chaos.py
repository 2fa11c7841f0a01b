"""The long form of the faults: `make chaos MINUTES=n`.

python -m tests.lab.chaos --minutes 15                 every fault, again and again until the time is over (each at least once)
python -m tests.lab.chaos --minutes 5 --only 1,5,11    some of them; the others' rows stay as they were
python -m tests.lab.chaos --minutes 60 --soak          a random fault every 30 s, with the memory and open files of every node

Writes build/chaos.json or build/soak.json, and docs/reliability.md from both. The exit code is 1 when a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import machine
from tests.lab.faults import document, soak
from tests.lab.faults.row import Row, from_json, merged
from tests.lab.faults.sizes import LONG
from tests.lab.faults.table import FAULTS, Fault, Stages
from tests.lab.hosts import why_unavailable
from tests.repository import ROOT

BUILD = ROOT / "build"
INJECTORS = (
    "SIGKILL, SIGSTOP and SIGCONT by pid; network namespaces on one bridge with nftables (drop, numgen), `ip link` and tc tbf;"
    " a control group's processor quota; a renamed, copied, cut off or overwritten state directory; a tmpfs filled to the last byte;"
    " an ext4 on a loop device, stopped by its shutdown ioctl without writing anything back (power cut);"
    " a patched commit, a shifted wall clock and fsync turned off inside the process"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, write, and say where."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.chaos", description="Injects faults into meshes of real processes.")
    parser.add_argument("--minutes", type=float, default=15, help="how long; a pass that has begun is ended [default: 15]")
    parser.add_argument("--only", default="", metavar="1,5,11", help="numbers of faults")
    parser.add_argument("--soak", action="store_true", help="a random fault every 30 s")
    given = parser.parse_args(arguments)
    if reason := why_unavailable():
        print(f"no lab here: {reason}", file=sys.stderr)
        return 2
    BUILD.mkdir(exist_ok=True)
    when = time.strftime("%Y-%m-%d", time.gmtime())
    about = {**machine(), "kernel": platform.release(), "date": when, "commit": commit(), "injectors": INJECTORS}
    if given.soak:
        outcome = soak.run(given.minutes * 60)
        keep("soak.json", {"about": about, **outcome})
        broken = outcome["broken"]
    else:
        only = {int(number) for number in given.only.split(",") if number}
        rows = run([fault for fault in FAULTS if not only or fault.number in only], given.minutes * 60)
        keep("chaos.json", {"about": about, "rows": [row.as_json() for row in in_order([*earlier(rows), *rows] if only else rows)]})
        broken = [promise for row in rows for promise in row.broken]
    print(f"wrote {document.write(BUILD)}")
    return 1 if broken else 0


def commit() -> str:
    """Of what is being measured; empty in a source archive."""
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def earlier(rows: Sequence[Row]) -> list[Row]:
    """Rows of the last run for faults that are not among these."""
    file = BUILD / "chaos.json"
    kept = [from_json(row) for row in json.loads(file.read_text())["rows"]] if file.exists() else []
    return [row for row in kept if row.fault not in {new.fault for new in rows}]


def in_order(rows: Sequence[Row]) -> list[Row]:
    """By number; variants of one fault with the shorter name first, which puts 5 s before 30 s."""
    return sorted(rows, key=lambda row: (int(row.fault.split()[0]), len(row.fault), row.fault))


def keep(name: str, outcome: dict[str, Any]) -> None:
    """Write the JSON of a run."""
    file = BUILD / name
    file.write_text(json.dumps(outcome, indent=1) + "\n")
    print(f"kept in {file}")


def run(faults: Sequence[Fault], seconds: float) -> list[Row]:
    """Passes over the faults until the time is over; at least one. A row for each fault."""
    stages = Stages()
    begun = time.monotonic()
    rows: dict[str, list[Row]] = {}
    try:
        while not rows or time.monotonic() - begun < seconds:
            for fault in faults:
                for _ in range(fault.times):
                    row = attempt(stages, fault)
                    rows.setdefault(fault.name, []).append(row)
                if len(rows) == len(faults) and time.monotonic() - begun > seconds:
                    break
    finally:
        stages.close()
    return [merged(of_one) for of_one in rows.values()]


def attempt(stages: Stages, fault: Fault) -> Row:
    """Inject once; an error is a row too, and the logs are kept."""
    try:
        row = stages.inject(fault, LONG)
    except Exception as error:
        log = BUILD / f"chaos-{fault.name}-{int(time.time())}.log"
        log.write_text(f"{traceback.format_exc()}\n{stages.logs()}")
        row = Row(str(fault.number), fault.name.partition("-")[2].replace("_", " "), broken=[f"the run did not end: {error}"[:200]])
    if row.broken and stages.logs():
        (BUILD / f"chaos-{fault.name}-broken.log").write_text(f"{row.told()}\n{stages.logs()}")
    said = row.not_run or "; ".join([*row.notes, *(f"BROKEN: {promise}" for promise in row.broken)])
    print(f"{row.fault:14} {row.title}: {row.tasks} tasks, lost {row.lost}, twice {row.duplicated}; {said}", flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
