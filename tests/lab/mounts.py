"""Disks of a lab's hosts: a small one, and one whose power can be cut.

A killed process leaves what it wrote in the system's page cache, so that nothing is lost whether or not it was synced. ``PowerDisk.cut``
loses what was not: it tells the file system to stop at once without writing anything back (the ioctl with which xfstests simulates the loss
of power), and mounting it again replays its journal, as after a power cut.
"""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

from tests.polling import poll_until

EXT4_IOC_SHUTDOWN = 0x8004587D
WITHOUT_WRITING_BACK = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH"""
IMAGE_BYTES = 256 << 20
UNMOUNTED_S = 10.0


def small(folder: Path) -> None:
    """Let a folder be a disk of 64 MiB."""
    folder.mkdir(mode=0o700, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(folder))


class PowerDisk:
    """A folder as an ext4 of its own, in a sparse file beside it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image = folder.with_name(f"{folder.name}.img")
        with self._image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))
        folder.mkdir(exist_ok=True)
        # `ip netns exec` gives each process mounts of its own; only from a shared mount they hear that this one comes and goes
        _run("mount", "--bind", str(folder.parent), str(folder.parent))
        _run("mount", "--make-shared", str(folder.parent))
        self._mount()
        folder.chmod(0o700)
        subprocess.run(["rmdir", str(folder / "lost+found")], check=False)

    def _mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.folder))

    def cut(self) -> None:
        """The power is gone: whatever was not synced is, too, and nothing can be written any more."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, EXT4_IOC_SHUTDOWN, struct.pack("I", WITHOUT_WRITING_BACK))
        finally:
            os.close(handle)

    def restore(self) -> None:
        """The power is back: what was on the disk is there. Nothing may have a file open."""
        poll_until(self._unmounted, UNMOUNTED_S, f"{self.folder} can be unmounted")
        self._mount()

    def _unmounted(self) -> bool:
        return subprocess.run(["umount", str(self.folder)], capture_output=True, check=False).returncode == 0


def unmount_beneath(folder: Path) -> None:
    """Unmount whatever is mounted somewhere in a folder."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in reversed(places):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
