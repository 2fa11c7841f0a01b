"""Small files that only their owner may read, replaced as a whole."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Replaces the file at once, with mode 0600: a reader sees the old bytes or the new, also after a crash.

    Makes the directory (0700) when it is missing. Raises OSError; the old file is untouched then.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # else a power loss may leave the new name with no bytes (ext4 delayed allocation)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def read_bounded(path: Path, bytes_max: int) -> bytes | None:
    """The file's bytes; None when it is absent. Raises OSError when it can't be read, ValueError when it is larger than ``bytes_max``."""
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
    if len(data) > bytes_max:
        raise ValueError(f"{path} is larger than {bytes_max} bytes")
    return data
