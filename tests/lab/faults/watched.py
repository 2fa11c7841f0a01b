"""What is seen of a process from outside."""

from __future__ import annotations

from pathlib import Path


def resident_bytes(pid: int) -> int:
    """A process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
