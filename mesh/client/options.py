"""Where the settings of a command or an application come from: the option, else the environment, else the file, else the default.

The file is ``config.toml`` in the mesh's own state directory (``<MESH_HOME>/<mesh>/``), and beneath it ``<MESH_HOME>/config.toml`` for
all meshes of this user. It holds the keys of :data:`KEYS` and the settings of :mod:`mesh.config`, flat.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mesh.config import Settings, check
from mesh.discovery.interfaces import host_port
from mesh.discovery.seeds import parse_seeds
from mesh.errors import InvalidSetting, UsageError
from mesh.storage.home import DEFAULT_MESH, Home
from mesh.transport.doors import DEFAULT_PORT
from mesh.wire.topology_changes import NAME_CHARS_MAX

CONFIG_FILE = "config.toml"
APPLICATIONS = "app"
"""The table of the file that is about applications, see mesh/conf_sources.py."""
LOG_LEVELS = ("debug", "info", "warning", "error")


class Key(NamedTuple):
    """One setting of a command or an application: the environment variable that gives it, and how a text or a file's value is read."""

    variable: str
    default: Any
    read: Callable[[Any], Any]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def one_line(value: Any) -> str:
    """The name of a node or worker, which stands in tables and logs. Raises ValueError saying what a name is."""
    text = _text(value)
    if len(text) > NAME_CHARS_MAX or not text.isprintable():
        raise ValueError(f"a name of at most {NAME_CHARS_MAX} characters on one line")
    return text


def _port(value: Any) -> int:
    number = _whole(value)
    if not 0 < number < 65536:
        raise ValueError("a port number from 1 to 65535")
    return number


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError("a whole number")
    try:
        return int(value)
    except ValueError:
        raise ValueError("a whole number") from None


def _seeds(value: Any) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ValueError("addresses as host:port")
    return tuple(host_port(seed.host, seed.port) for seed in parse_seeds(" ".join(parts), DEFAULT_PORT))


def _level(value: Any) -> str:
    level = _text(value).lower()
    if level not in LOG_LEVELS:
        raise ValueError("one of " + ", ".join(LOG_LEVELS))
    return level


def _address(value: Any) -> str:
    text = _text(value)
    try:
        unspecified = ipaddress.ip_address(text).is_unspecified
    except ValueError:
        unspecified = True
    if unspecified:
        raise ValueError("an IP address of this machine")
    return text


def _mesh(value: Any) -> str:
    return Home(_text(value)).mesh


KEYS: dict[str, Key] = {
    "mesh": Key("MESH_NAME", DEFAULT_MESH, _mesh),
    "name": Key("MESH_NODE_NAME", "", one_line),
    "port": Key("MESH_PORT", None, _port),
    "interface": Key("MESH_INTERFACE", "", _address),
    "advertise": Key("MESH_ADVERTISE", "", _address),
    "join": Key("MESH_SEEDS", (), _seeds),
    "weight": Key("MESH_WEIGHT", 0, _whole),
    "log_level": Key("MESH_LOG_LEVEL", "info", _level),
}
"""What a file may say and what the environment calls it; the defaults are those of `mesh up`."""


class Options:
    """The settings of one command run, or of one application.

    Raises InvalidSetting for an unknown key in a file and for any value that can't be read, naming where it stands.
    """

    def __init__(self, given: Mapping[str, Any], environment: Mapping[str, str] | None = None, root: Path | None = None) -> None:
        """``given`` holds options or keywords by key; None and () mean that the option was not used. ``root`` wins over MESH_HOME."""
        self._given = {key: value for key, value in given.items() if value is not None and value != ()}
        self._environment = os.environ if environment is None else environment
        root = Home(root=root, environment=self._environment).root
        self._files = [read_file(root / CONFIG_FILE)]
        self.mesh: str = self["mesh"]
        self.home = Home(self.mesh, root)
        self._files.insert(0, read_file(self.home.path / CONFIG_FILE))

    def __getitem__(self, key: str) -> Any:
        return self.find(key)[0]

    def find(self, key: str) -> tuple[Any, str]:
        """The value of a key and where it is from: an option, a variable's name, a file's path or ``default``."""
        variable, default, read = KEYS[key]
        if key in self._given:
            return _read(read, self._given[key], f"--{key.replace('_', '-')}"), "option"
        if self._environment.get(variable):
            return _read(read, self._environment[variable], variable), variable
        for path, values in self._files:
            if key in values:
                return _read(read, values[key], f"{key} in {path}"), str(path)
        return default, "default"

    def settings(self) -> Settings:
        """The settings of :mod:`mesh.config`, from the environment over the files over the defaults."""
        known = {item.name for item in dataclasses.fields(Settings)}
        values: dict[str, Any] = {}
        for _, kept in reversed(self._files):
            values |= {key: value for key, value in kept.items() if key in known}
        return Settings.load(self._environment, **{key: value for key, value in values.items() if not self._from_environment(key)})

    def _from_environment(self, key: str) -> bool:
        return f"MESH_{key.upper()}" in self._environment


def _read(read: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return read(value)
    except UsageError as error:
        raise InvalidSetting(f"{where}: {error}") from None
    except ValueError as error:
        raise InvalidSetting(f"{where} must be {error}, not {value!r}") from None


def read_file(path: Path) -> tuple[Path, dict[str, Any]]:
    """A configuration file's values, none when there is no such file. Raises InvalidSetting naming what is wrong in it."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return path, {}
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"can't read {path}: {error}") from None
    numbers = {item.name: item for item in dataclasses.fields(Settings)}
    for key, value in values.items():
        if key in numbers:
            try:
                check(numbers[key], value)
            except InvalidSetting as error:
                raise InvalidSetting(f"{path}: {error}") from None
        elif key not in KEYS and not (key == APPLICATIONS and isinstance(value, dict)):
            raise InvalidSetting(f"{path} has an unknown key {key!r}; known are {', '.join(KEYS)} and the settings of mesh")
    return path, values
