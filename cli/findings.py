"""The checks of `mesh doctor` that need no mesh: this machine, its ports and its network. Each returns a finding, none raises."""

from __future__ import annotations

import platform
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import zmq

from mesh.config import Settings
from mesh.storage import damage as damages
from mesh.storage.room import NEAR, least_free, readable

CLOCK_EARLIEST_S = 1_735_689_600
"""2025-01-01: a clock before it was never set."""
DIAL_TIMEOUT_S = 1.0
LOST_SHOWN = 5
"""Most lost entries that are named in one line; the report has all of them."""


class Verdict(Enum):
    """How a check went; a command fails when one of its checks did."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `mesh doctor`."""

    check: str
    verdict: Verdict
    text: str
    todo: str = ""
    """What to do, empty when all is well."""


def ok(check: str, text: str) -> Finding:
    """A check that went well."""
    return Finding(check, Verdict.OK, text)


def warn(check: str, text: str, todo: str) -> Finding:
    """Something works less well than it could."""
    return Finding(check, Verdict.WARN, text, todo)


def fail(check: str, text: str, todo: str) -> Finding:
    """Something does not work."""
    return Finding(check, Verdict.FAIL, text, todo)


def python() -> Finding:
    """The interpreter; what is too old could not have imported this module."""
    return ok("python", f"{platform.python_implementation()} {platform.python_version()} on {sys.platform}")


def encryption() -> Finding:
    """Whether libzmq can encrypt: without CURVE no node starts (SECURITY 2)."""
    versions = f"libzmq {zmq.zmq_version()}, pyzmq {zmq.pyzmq_version()}"
    if zmq.has("curve"):
        return ok("encryption", f"CURVE, {versions}")
    return fail(
        "encryption", f"{versions} lacks CURVE", "install the wheel, which has it: pip install --force-reinstall --only-binary :all: pyzmq"
    )


def disk(folder: Path, settings: Settings) -> Finding:
    """Room where the state is kept, as the node itself judges it (R21)."""
    present = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(present)
    least = least_free(usage.total, settings.disk_reserve_bytes, settings.disk_reserve_fraction)
    text = f"{readable(usage.free)} of {readable(usage.total)} are free for {folder}"
    if usage.free < least:
        lack = f"{text}; below {readable(least)} nothing new is taken (disk_reserve_bytes, disk_reserve_fraction)"
        return fail("disk", lack, "make room, or move the state: set MESH_HOME to a folder on a larger disk")
    if usage.free < NEAR * least:
        return warn("disk", text, f"make room soon: below {readable(least)} nothing new is taken")
    return ok("disk", text)


def damage(folder: Path) -> Iterator[Finding]:
    """What became of state files that were found damaged (R20), one finding for each."""
    reports = list(damages.reports(folder))
    if not reports:
        yield ok("damage", "none was ever found in the state")
    for path, found in reports:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(found.found_at))
        begin = f"found on {when}, {found.salvaged} entries could be read"
        clean = f"when that is dealt with: rm {shlex.quote(str(path))} {shlex.quote(str(folder / found.file))}*"
        if not found.whole_at:
            text = f"{begin}, {len(found.unreadable)} places not; the node gets back what others hold"
            yield warn("damage", text, "start the node (mesh up) and at least one that has copies")
        elif found.lost:
            yield fail(
                "damage",
                f"{begin}; {_lost(found.lost)}",
                f"all of it is in {path}; publish again what matters, and check the disk; {clean}",
            )
        else:
            yield warn("damage", f"{begin}, and nothing was lost", f"check the disk; {clean}")


def _lost(lines: Sequence[str]) -> str:
    untold = [line for line in lines if line.startswith(damages.UNTOLD)]
    told = [line for line in lines if line not in untold]
    parts = ((damages.LOST, told), (damages.PERHAPS_LOST, untold))
    return "; ".join(f"{what}: {_some(some)}" for what, some in parts if some)


def _some(lines: Sequence[str]) -> str:
    more = len(lines) - LOST_SHOWN
    return "; ".join(lines[:LOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")


def clock(now_s: float | None = None) -> Finding:
    """Whether the wall clock was ever set: instants of tasks and the tag of announcements depend on it."""
    now_s = time.time() if now_s is None else now_s
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if now_s < CLOCK_EARLIEST_S:
        return fail("clock", text, "set the clock, best by NTP (timedatectl set-ntp true)")
    return ok("clock", text)


def door(addresses: Iterable[str], answers: Callable[[str], bool] | None = None) -> Finding:
    """Whether the node's own addresses (``host:port``) take connections from this machine; ``answers`` tries one."""
    addresses = list(addresses)
    closed = [address for address in addresses if not (answers or dial)(address)]
    if not closed:
        return ok("ports", f"{', '.join(addresses)} take connections")
    todo = "if it should be reachable there, let it through the firewall; if not, leave it out with --advertise"
    if len(closed) == len(addresses):
        return fail("ports", f"nobody can connect to {', '.join(closed)}", todo)
    return warn("ports", f"{', '.join(closed)} take no connections", todo)


def dial(address: str, timeout_s: float = DIAL_TIMEOUT_S) -> bool:
    """Whether a TCP connection to ``host:port`` can be made within the timeout."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s):
            return True
    except OSError:
        return False


def firewall(ports: tuple[int, ...]) -> Finding:
    """Whether a host firewall that is known to close ports by default is switched on, and the commands that let mesh through."""
    low, high = (min(ports), max(ports)) if ports else (0, 0)
    if _ufw_enabled():
        name, command = "ufw", f"sudo ufw allow {low}:{high}/tcp; sudo ufw allow 5353/udp"
    elif Path("/run/firewalld").exists():
        name, permanent = "firewalld", "sudo firewall-cmd --permanent"
        command = f"{permanent} --add-port={low}-{high}/tcp --add-service=mdns; sudo firewall-cmd --reload"
    elif sys.platform == "win32":
        name, rule = "the Windows firewall", "New-NetFirewallRule -DisplayName mesh -Direction Inbound -Action Allow"
        command = f"{rule} -Protocol TCP -LocalPort {low}-{high}"
    else:
        return ok("firewall", "none that closes ports by default was seen")
    if not ports:
        return warn("firewall", f"{name} is on", "start the node (mesh up), then ask again for the ports to open")
    return warn("firewall", f"{name} is on and may keep other machines out", f"let them in: {command}")


def _ufw_enabled() -> bool:
    try:
        return "ENABLED=yes" in Path("/etc/ufw/ufw.conf").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
