"""Large bodies between a worker's parent and its slots: files of a private directory, so that neither keeps them in memory nor waits for a
pipe to take them.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
import uuid
from io import BufferedWriter, FileIO
from pathlib import Path

PREFIX = "mesh-spool-"


class Spool:
    """The name of the directory, which whoever writes first makes, for this user only. Gone with :meth:`close`.

    That of a worker that was killed goes when the next one of this user makes its own.
    """

    def __init__(self) -> None:
        self.path = Path(tempfile.gettempdir(), f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}")
        self._numbers = itertools.count(1)

    def new(self) -> Arrival:
        """A file for a body that comes from the mesh. Raises OSError."""
        return Arrival(make(self.path) / f"in-{next(self._numbers)}")

    def close(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path, ignore_errors=True)


def make(path: Path) -> Path:
    """The directory ``path`` of a spool, made if need be; those of dead processes are removed then. Raises OSError."""
    if not path.is_dir():
        path.mkdir(mode=0o700, exist_ok=True)
        for other in path.parent.glob(f"{PREFIX}*"):
            if not _is_alive(other.name.removeprefix(PREFIX).partition("-")[0]):
                shutil.rmtree(other, ignore_errors=True)
    return path


def _is_alive(pid: str) -> bool:
    """Whether the process may run; elsewhere than on POSIX there is no asking without harm (os.kill ends it)."""
    if os.name != "posix" or not pid.isdecimal():
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class Arrival:
    """A body that is written as it comes (mesh.client.bodies.Sink)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = BufferedWriter(FileIO(path, "x"))

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)

    def finish(self) -> None:
        """It is whole: slots may read it."""
        self._file.close()

    def remove(self) -> None:
        """Nobody needs it any more."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Departure:
    """A body that a slot has written, read as it is sent (mesh.client.bodies.Source)."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self._file = FileIO(path)

    def read(self, start: int, size: int) -> bytes:
        """A stretch of it."""
        self._file.seek(start)
        return self._file.read(size)

    def remove(self) -> None:
        """Nobody needs it any more."""
        self._file.close()
        self.path.unlink(missing_ok=True)
