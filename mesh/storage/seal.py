"""The seal of a state directory: it was made on this machine, in this place (rule R3).

Two nodes with one key would answer for each other, so a copy has to be noticed before it runs. ``seal`` in the directory holds two
keyed hashes, one of the machine's id and one of the place. The key is the node's own: nobody can tell the machine from the hash, and
systemd asks for just that (machine-id(5)).
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from mesh.errors import StateCopied, StateDamaged
from mesh.storage.home import DEFAULT_MESH, Home

SEAL = "seal"
MACHINE_ID = "MESH_MACHINE_ID"
"""What a container or a network namespace is told apart by where all share one machine id."""

_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"), Path("/etc/hostid"))
"""Linux, Linux without systemd, FreeBSD."""
_PLACE = b"place of a mesh state directory"
_MACHINE = b"machine of a mesh state directory"
_TEXT = re.compile(rb"machine ([0-9a-f]{64})\nplace ([0-9a-f]{64})\n")
_QUESTION_TIMEOUT_S = 5.0


def machine_id() -> str:
    """What the system calls this machine, the same at each start of it; empty where it has no name, as in many containers."""
    if sys.platform == "darwin":
        return _macos_id()
    if sys.platform == "win32":
        import winreg

        place, access = r"SOFTWARE\Microsoft\Cryptography", winreg.KEY_READ | winreg.KEY_WOW64_64KEY
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, place, 0, access) as key:
            return str(winreg.QueryValueEx(key, "MachineGuid")[0])
    for path in _ID_FILES:
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text and text != "uninitialized":  # machine-id(5): the first boot has not come so far
            return text
    return ""


def _macos_id() -> str:
    ioreg = shutil.which("ioreg", path="/usr/sbin:/usr/bin")
    if ioreg is None:
        return ""
    asked = [ioreg, "-rd1", "-c", "IOPlatformExpertDevice"]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=_QUESTION_TIMEOUT_S, check=False).stdout
    found = re.search(r'"IOPlatformUUID" = "([^"]+)"', told)
    return found[1] if found is not None else ""


class Seal:
    """The seal of ``home`` as it should be here, for the node whose secret key is ``key`` (32 bytes).

    ``machine`` is the machine's id; by default the system's, with ``MESH_MACHINE_ID`` of the environment added when that is set.
    """

    def __init__(self, home: Home, key: bytes, machine: str | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._home = home
        environment = os.environ if environment is None else environment
        name = machine_id() if machine is None else machine
        self._machine = _digest(key, _MACHINE, f"{name}\0{environment.get(MACHINE_ID, '')}".encode())
        self._place = _digest(key, _PLACE, os.fsencode(home.path.resolve()))

    def check(self) -> None:
        """Seal a directory that has no seal yet; compare it with the one that is there.

        Raises StateCopied, which says where the directory seems to be from, StateDamaged for a seal that can't be read,
        StateRefused and StateNotOurs as ``Home.read`` and ``Home.write``.
        """
        kept = self._home.read(SEAL)
        if kept is None:
            self.renew()
            return
        found = _TEXT.fullmatch(kept)
        if found is None:
            raise StateDamaged(f"{self._home.path / SEAL} is damaged; if this directory was not copied, remove that file")
        same_machine = hmac.compare_digest(found[1], self._machine)
        if same_machine and hmac.compare_digest(found[2], self._place):
            return
        where = "of another place on this machine" if same_machine else "of another machine"
        option = "" if self._home.mesh == DEFAULT_MESH else f" --mesh {self._home.mesh}"
        raise StateCopied(
            f"{self._home.path} is a copy {where}, and two nodes with one key would harm the mesh; "
            f"for a key of its own (its entries stay): mesh identity reset{option}"
        )

    def renew(self) -> None:
        """Seal the directory anew, whatever it says. Raises StateRefused."""
        self._home.write(SEAL, b"machine %b\nplace %b\n" % (self._machine, self._place))


def _digest(key: bytes, purpose: bytes, text: bytes) -> bytes:
    return hmac.digest(key, purpose + b"\0" + text, hashlib.sha256).hex().encode()
