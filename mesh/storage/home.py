"""The state directory of one mesh on this machine: where things lie, and that nobody else can read them.

::

    <root>/<mesh>/          0700; root is MESH_HOME or the platform's user state directory
        node.key  secret    0600; refused when others could read them
        seal                that this directory was made here (mesh/storage/seal.py)
        state.db            the node's entries (mesh/storage/sqlite.py); what was damaged lies beside it (mesh/storage/healing.py)
        peers.json          addresses where members were seen
        run/                sockets and the rendezvous of the node that runs now
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from mesh.errors import InvalidSetting, StateNotOurs, StateRefused

DEFAULT_MESH = "default"
NODE_KEY = "node.key"
SECRET = "secret"
PEERS = "peers.json"
SOCKET_PATH_BYTES_MAX = 103
"""``sun_path`` holds 104 bytes on macOS and the BSDs, 108 on Linux, with the final NUL (unix(4), unix(7))."""

_MESH_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_PRIVATE_DIRECTORY = 0o700
_PRIVATE_FILE = 0o600
_OTHERS = 0o077
_HAS_OWNERS = sys.platform != "win32"
"""Windows keeps other users out by the access list that a user's profile directory hands down."""


class Home:
    """The state directory of the mesh ``mesh``.

    ``root`` is, in falling order, the argument, ``MESH_HOME`` of ``environment`` (default: the process's), the platform's user state
    directory. The constructor touches nothing; it raises InvalidSetting for a name that is not 1-64 characters of ``A-Za-z0-9_-``.
    """

    def __init__(self, mesh: str = DEFAULT_MESH, root: str | Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        if _MESH_NAME.fullmatch(mesh) is None:
            raise InvalidSetting(f"a mesh is named by 1 to 64 of the characters A-Z a-z 0-9 _ -, not {mesh!r}")
        self.mesh = mesh
        self.root = _root(root, os.environ if environment is None else environment)
        self.path = self.root / mesh
        self.state_path = self.path / "state.db"
        self.run_dir = self.path / "run"

    def create(self) -> None:
        """Make what is missing and check what is there.

        Raises StateNotOurs for what another user owns or can read, with the command that mends it, and StateRefused for what can't be
        made.
        """
        try:
            self.root.mkdir(mode=_PRIVATE_DIRECTORY, parents=True, exist_ok=True)
            for directory in (self.path, self.run_dir, self._socket_dir()):
                directory.mkdir(mode=_PRIVATE_DIRECTORY, exist_ok=True)
                _check_directory(directory)
            sync_directory(self.root)
            sync_directory(self.path)
        except OSError as error:
            raise StateRefused(f"the state directory {self.path} can't be made: {error}") from error
        for path in (self.path / NODE_KEY, self.path / SECRET, self.state_path):
            if path.exists():
                _check_file(path, path.stat())

    def read(self, name: str) -> bytes | None:
        """The bytes of a file in the directory, None when it is absent.

        Raises StateNotOurs when another user owns the file or can read it, StateRefused when it can't be read.
        """
        path = self.path / name
        try:
            with path.open("rb") as file:
                _check_file(path, os.fstat(file.fileno()))
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateRefused(f"{path} can't be read: {error}") from error

    def write(self, name: str, data: bytes) -> None:
        """Replace a file as a whole, mode 0600, durable on return: a reader, or a crash, sees the old bytes or the new.

        The directory must exist (``create``). Raises StateRefused; the old file is untouched then.
        """
        path = self.path / name
        try:
            replace_file(path, data)
        except OSError as error:
            raise StateRefused(f"{path} can't be written: {error}") from error

    def socket_path(self, name: str) -> Path:
        """Where the unix socket ``name`` lies: in ``run_dir``, or where that is too long for a socket, in a short directory of this user
        under the directory for temporary files, which is checked as the state directory is.

        Processes that disagree about TMPDIR disagree about the latter, so say the path in the rendezvous rather than computing it
        twice. Raises StateNotOurs, and StateRefused when that directory is too long as well.
        """
        path = self.run_dir / name
        if _fits(path):
            return path
        directory = self._short_dir()
        path = directory / name
        if not _fits(path):
            raise StateRefused(f"{path} is longer than a socket's path can be ({SOCKET_PATH_BYTES_MAX} bytes); set a shorter TMPDIR")
        if os.path.lexists(directory):
            _check_directory(directory)
        return path

    def _socket_dir(self) -> Path:
        """The directory of a socket with a name of usual length."""
        return self.run_dir if _fits(self.run_dir / ("x" * 16)) else self._short_dir()

    def _short_dir(self) -> Path:
        user = os.geteuid() if sys.platform != "win32" else ""  # on Windows each user has a temporary directory
        digest = hashlib.sha256(os.fsencode(self.path) + f"\0{user}".encode()).hexdigest()
        return Path(tempfile.gettempdir()) / f"mesh-{digest[:16]}"


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file as a whole, mode 0600, durable on return. Raises OSError; the old file is untouched then."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        _write_new(fresh, data)
        fresh.replace(path)
        sync_directory(path.parent)
    finally:
        fresh.unlink(missing_ok=True)


def _root(given: str | Path | None, environment: Mapping[str, str]) -> Path:
    chosen = given or environment.get("MESH_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(platformdirs.user_state_dir("mesh", appauthor=False))


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), _PRIVATE_FILE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # before the rename: else a power loss may leave the new name without its bytes (ext4, delayed allocation)


def sync_directory(path: Path) -> None:
    """Make names in a directory durable; Windows can't open one, and needs it not."""
    if not _HAS_OWNERS:
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_directory(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        # A symbolic link could have been put there by another user, to make us write elsewhere.
        raise StateRefused(f"{path} is not a directory; move it away")
    _check_private(path, found, "-R ")


def _check_file(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StateRefused(f"{path} is not a file; move it away")
    _check_private(path, found, "")


def _check_private(path: Path, found: os.stat_result, recursive: str) -> None:
    if sys.platform == "win32":
        return
    user, mode, place = os.geteuid(), stat.S_IMODE(found.st_mode), shlex.quote(str(path))
    if found.st_uid != user:
        raise StateNotOurs(f"{path} belongs to user {found.st_uid}, not to {user}: sudo chown {recursive}{user} {place}")
    if mode & _OTHERS:
        raise StateNotOurs(f"others can get at {path} (mode {mode:04o}): chmod {recursive}go-rwx {place}")
