"""Where an application's settings may come from beside ``app.conf``: an object or a module, a TOML file, this machine."""

from __future__ import annotations

import importlib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mesh.client.options import APPLICATIONS, CONFIG_FILE, read_file
from mesh.conf_items import ITEMS, read_text
from mesh.conf_names import no_effect, renamed
from mesh.errors import InvalidSetting
from mesh.storage.home import DEFAULT_MESH, Home


def of_object(source: Any, namespace: str | None) -> tuple[dict[str, Any], str]:
    """The settings that an object says, and its name: a module or its name, ``module:attribute``, a class, a dict, a TOML file's path.

    With a ``namespace`` only names that begin with it and an underscore count, as ``CELERY_TIMEZONE``. Without one, what is a function,
    class or module, and what begins with an underscore or is in capitals but no setting of old Celery, is passed over. Raises
    InvalidSetting when there is no such module or attribute.
    """
    name = source if isinstance(source, str) else getattr(source, "__name__", type(source).__name__)
    if isinstance(source, str) and source.endswith(".toml"):
        return _toml(Path(source)), source
    if isinstance(source, str):
        source = _found(source)
    values = source if isinstance(source, Mapping) else {key: getattr(source, key) for key in dir(source) if not key.startswith("_")}
    return dict(_settings(values, namespace, isinstance(source, Mapping))), str(name)


def of_machine(home: Path | None, mesh: str | None) -> dict[str, tuple[Any, str]]:
    """What this machine says: (value, origin) by name. The environment (``MESH_TIMEZONE``) wins over the table ``[app]`` of config.toml.

    Raises InvalidSetting for an unknown name in the file.
    """
    root = Home(root=home).root
    said: dict[str, tuple[Any, str]] = {}
    for folder in (root, Home(mesh or os.environ.get("MESH_NAME") or DEFAULT_MESH, root).path):
        path, values = read_file(folder / CONFIG_FILE)
        said.update((name, (value, str(path))) for name, value in values.get(APPLICATIONS, {}).items())
    return {**said, **of_environment()}


def of_environment() -> dict[str, tuple[Any, str]]:
    """What the environment says: (value, the variable's name) by name."""
    variables = {name: f"MESH_{name.upper()}" for name in ITEMS}
    return {name: (read_text(name, os.environ[one]), one) for name, one in variables.items() if os.environ.get(one)}


def _found(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module and not module.startswith(f"{error.name}."):
            raise
        head, _, last = module.rpartition(".")
        if attribute or not head:
            raise InvalidSetting(f"config_from_object(): there is no module {module!r} on the Python path") from None
        found, attribute = _found(head), last
    for part in attribute.split(".") if attribute else ():
        if not hasattr(found, part):
            raise InvalidSetting(f"config_from_object(): {module} has nothing named {part!r}")
        found = getattr(found, part)
    return found


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidSetting(f"can't read {path}: {error}") from None


def _settings(values: Mapping[str, Any], namespace: str | None, all_count: bool) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if namespace:
            if name.startswith(f"{namespace}_"):
                yield name[len(namespace) + 1 :].lower(), value
        elif all_count or _is_setting(name, value):
            yield name, value


def _is_setting(name: str, value: Any) -> bool:
    if name in ITEMS or no_effect(name) is not None:
        return True
    if name.isupper():
        return renamed(name) is not None
    return not isinstance(value, (type, ModuleType)) and not callable(value)
