"""The rendezvous: how processes of one home find their node, through a file in its run directory."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
from mesh.discovery.private_files import read_bounded, write_private

FILE_NAME = "node.json"
FILE_BYTES_MAX = 1 << 16

_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """Where the node of a home is. Times in seconds since 1970 UTC."""

    pid: Annotated[int, msgspec.Meta(ge=1)]
    process: str | None
    """:func:`process_marker` of ``pid`` when it was published."""
    started: float
    ipc_path: str
    name: str
    mesh: str
    mesh_id: str
    node_id: str
    lobby_port: _Port
    door_port: _Port
    version: str


def publish(run_dir: Path, rendezvous: Rendezvous) -> None:
    """Writes the rendezvous, replacing what was there. Raises OSError."""
    write_private(run_dir / FILE_NAME, msgspec.json.encode(rendezvous))


def read(run_dir: Path) -> Rendezvous | None:
    """The rendezvous of the node that is running now.

    None when there is none, when it can't be read or is malformed, and when the process that published it is gone, also if its
    process id has been given to another since.
    """
    try:
        data = read_bounded(run_dir / FILE_NAME, FILE_BYTES_MAX)
        if data is None:
            return None
        rendezvous = msgspec.json.decode(data, type=Rendezvous)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors
        return None
    return rendezvous if _is_running(rendezvous.pid, rendezvous.process) else None


def withdraw(run_dir: Path) -> None:
    """Removes the rendezvous unless another live process published it. Removing what is absent is no error. Raises OSError."""
    published = read(run_dir)
    if published is None or published.pid == os.getpid():
        (run_dir / FILE_NAME).unlink(missing_ok=True)


def process_marker(pid: int) -> str | None:
    """Tells this process from any other that has or will have the same id: boot id and start time.

    None where the platform does not say (other than Linux), and for a process that is gone.
    """
    # proc(5): field 2 is the name in parentheses and may itself contain spaces and parentheses; state is field 3, start time 22.
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    # Start times are ticks since boot, and services start at much the same tick at every boot: hence the boot id.
    return f"{boot_id}:{fields[19]}"


def _is_running(pid: int, marker: str | None) -> bool:
    return _has_process(pid) if marker is None else process_marker(pid) == marker


if sys.platform == "win32":
    import ctypes

    def _has_process(pid: int) -> bool:
        query_limited_information, still_active = 0x1000, 259
        handle = ctypes.windll.kernel32.OpenProcess(query_limited_information, False, pid)  # os.kill(pid, 0) would send Ctrl-C
        if not handle:
            return False
        try:
            code = ctypes.c_ulong()
            return bool(ctypes.windll.kernel32.GetExitCodeProcess(handle, ctypes.byref(code))) and code.value == still_active
        finally:
            ctypes.windll.kernel32.CloseHandle(handle)

else:

    def _has_process(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except PermissionError:
            return True
        except (ProcessLookupError, OverflowError):
            return False
        return True
