"""What a mesh costs that does nothing: memory, processor and network of one node beside one peer."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, Plan
from tests.lab.fleet import Fleet
from tests.lab.hosts import Host, Lab, why_unavailable

WATCHED_S = 10.0
QUIET_AFTER_S = 3.0
"""Joining and the first exchange of state are over by then."""


def measure(plan: Plan) -> Iterator[Figure]:
    """Needs the lab, where a host's interface carries nothing else. Each repetition watches both nodes."""
    if why_unavailable():
        return
    with Lab(["server", "laptop"]) as lab:
        fleet = Fleet(lab)
        fleet.up_all()
        time.sleep(QUIET_AFTER_S)
        seen = [watch(lab[name], fleet.nodes[name].pid) for _ in range(plan.repeats) for name in lab.hosts]
    memory, processor, network = zip(*seen, strict=True)
    yield Figure("idle node, memory (RSS)", "MB", memory, 60, at_most=True)
    yield Figure("idle node, processor", "% of a core", processor, 1, at_most=True, note=f"over {WATCHED_S:g} s")
    yield Figure("idle node, sent to its peer", "kB/s", network, 2, at_most=True, note="all frames of its interface, ARP and mDNS too")


def watch(host: Host, pid: int) -> tuple[float, float, float]:
    """MB, percent of a core and kB/s of one node over some seconds."""
    ticks, sent, started = processor_ticks(pid), host.bytes_sent(), time.monotonic()
    time.sleep(WATCHED_S)
    passed_s = time.monotonic() - started
    used_s = (processor_ticks(pid) - ticks) / os.sysconf("SC_CLK_TCK")
    return resident_mb(pid), 100 * used_s / passed_s, (host.bytes_sent() - sent) / passed_s / 1000


def processor_ticks(pid: int) -> int:
    """User and system time of a process, in clock ticks (proc(5): utime, stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return int(fields[11]) + int(fields[12])


def resident_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
