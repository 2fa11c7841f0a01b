"""Runs the benchmarks, prints the table and keeps it as JSON.

python -m benchmarks.run                     everything that can run here
python -m benchmarks.run throughput rivals   some suites
python -m benchmarks.run --quick             a small run that only shows that it works
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks import backlog, harness, hosts, idle, large, messages, startup, takeover, throughput, workflows
from benchmarks.harness import Figure, Plan, Suite
from benchmarks.rivals import run as rivals
from tests.lab import hosts as lab

SUITES: dict[str, Suite] = {
    "startup": startup.measure,
    "idle": idle.measure,
    "throughput": throughput.measure,
    "rivals": rivals.measure,
    "messages": messages.measure,
    "workflows": workflows.measure,
    "hosts": hosts.measure,
    "large": large.measure,
    "takeover": takeover.measure,
    "backlog": backlog.measure,
}
NEEDS_LAB = ("startup", "idle", "hosts", "large", "takeover")
QUICK = Plan(tasks=2_000, repeats=1, kills=3, backlog=90_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suites that were named; the exit code is 1 when one of them failed, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Measures mesh, and rivals where they are installed.")
    parser.add_argument("suites", nargs="*", metavar="suite", help=f"one of {', '.join(SUITES)}; all when none is given")
    parser.add_argument("--quick", action="store_true", help="few tasks, once each")
    given = parser.parse_args(arguments)
    unknown = [name for name in given.suites if name not in SUITES]
    if unknown:
        parser.error(f"there is no suite {unknown[0]!r}; there are {', '.join(SUITES)}")
    names = given.suites or list(SUITES)
    say_what_is_left_out(names)
    measured_on = harness.machine()
    figures, failed = run(names, QUICK if given.quick else Plan())
    figures += rivals.ratios(figures, throughput.BATCH, throughput.MODES["delay"])
    harness.show(figures)
    print(f"kept in {harness.write_json(figures, measured_on)}")
    return 1 if failed else 0


def say_what_is_left_out(names: Sequence[str]) -> None:
    """Print why a suite can't run here, before anything is measured."""
    if (reason := lab.why_unavailable()) and any(name in NEEDS_LAB for name in names):
        print(f"without the lab, so without the figures of several hosts: {reason}", file=sys.stderr)
    if "rivals" in names and (reason := rivals.why_unavailable()):
        print(f"without rivals: {reason}", file=sys.stderr)
    if "workflows" in names and (reason := workflows.why_unavailable()):
        print(f"workflows without Celery beside them: {reason}", file=sys.stderr)
    if "messages" in names and (reason := messages.why_unavailable()):
        print(f"messages without RabbitMQ beside them: {reason}", file=sys.stderr)


def run(names: Sequence[str], plan: Plan) -> tuple[list[Figure], list[str]]:
    """Figures of the suites in order, and the names of those that failed: what was measured before is kept."""
    figures: list[Figure] = []
    failed: list[str] = []
    for name in names:
        started = time.monotonic()
        try:
            figures.extend(SUITES[name](plan))
        except Exception as error:
            print(f"{name} failed: {error}", file=sys.stderr)
            failed.append(name)
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return figures, failed


if __name__ == "__main__":
    sys.exit(main())
