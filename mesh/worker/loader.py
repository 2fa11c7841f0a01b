"""Loading the application that ``-A APP`` names: ``module``, ``module:attr``, ``package`` or ``file.py``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

from mesh.errors import AppNotFound, MeshError
from mesh.worker.plans import Runnable

ATTRIBUTES = ("app", "mesh", "celery")
"""Names under which an application is looked for first; then any other name counts."""
SUBMODULES = ("tasks", "app", "celery")
"""Modules of a package in which an application is looked for when the package itself has none."""


class Settings(Protocol):
    """What a worker needs of an application's settings."""

    @property
    def worker_queues(self) -> list[str]:
        """What a worker consumes that is not told otherwise."""

    @property
    def topology(self) -> list[dict[str, Any]]:
        """The changes that declare the application's exchanges, queues and bindings."""

    @property
    def changed(self) -> Mapping[str, Any]:
        """What was set."""


class Tasks(Protocol):
    """What a slot needs of an application."""

    @property
    def tasks(self) -> Mapping[str, Runnable]:
        """The tasks by name."""


class Application(Tasks, Protocol):
    """What a worker needs of an application."""

    @property
    def conf(self) -> Settings:
        """Its settings."""


def load(app: str) -> Application:
    """The application that ``app`` names, with the current directory (or the file's) importable.

    Raises AppNotFound with one line: what is wrong, and for an error of the application's own code its file and line.
    """
    name, _, attribute = app.partition(":") if not _is_file(app) else (app, "", "")
    if not name:
        raise AppNotFound(f"-A {app!r} names no module: give a module, module:attribute, a package or a file.py")
    module = _import_file(Path(name)) if _is_file(name) else _import_module(name)
    if attribute:
        return _complete(_named(module, attribute, app))
    found = _search(module)
    if found is None and hasattr(module, "__path__"):
        found = _search_submodules(module)
    if found is None:
        raise AppNotFound(f'{app} has no Mesh application: write `app = Mesh("{module.__name__}")` in it, or name it: -A {app}:attribute')
    return _complete(found)


def _complete(app: Application) -> Application:
    """The same with the modules imported that it includes."""
    import_modules = getattr(app, "import_modules", None)
    if import_modules is not None:
        try:
            import_modules()
        except MeshError:
            raise
        except BaseException as error:
            _refuse("a module that the application includes", error)
    return app


def _is_file(app: str) -> bool:
    return app.endswith(".py")


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppNotFound(f"there is no file {path} in {Path.cwd()}")
    _make_importable(path.resolve().parent)
    if path.stem.isidentifier():
        return _import(path.stem)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise AppNotFound(f"{path} can't be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        _refuse(str(path), error)
    return module


def _import_module(name: str) -> ModuleType:
    _make_importable(Path.cwd())
    return _import(name)


def _make_importable(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise AppNotFound(f"there is no module {name!r} in {Path.cwd()} or on the Python path") from None
        _refuse(name, error)
    except BaseException as error:
        _refuse(name, error)


def _refuse(name: str, error: BaseException) -> NoReturn:
    """One line with the user's own error, and where it is."""
    if isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, SyntaxError) and error.filename:
        text, place = error.msg, (error.filename, error.lineno)
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
        own = [frame for frame in frames if Path(frame.filename) != Path(__file__)]
        text, place = str(error), (own[-1].filename, own[-1].lineno) if own else (name, 0)
    said = " ".join(str(text).split())
    raise AppNotFound(f"{name} can't be imported: {type(error).__name__}: {said} ({place[0]}, line {place[1]})") from None


def _named(module: ModuleType, attribute: str, app: str) -> Application:
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
    if not _is_application(value):
        raise AppNotFound(f"{app}: {module.__name__} has no Mesh application named {attribute!r}")
    return value  # type: ignore[no-any-return]


def _search(module: ModuleType) -> Application | None:
    names = [*ATTRIBUTES, *(name for name in vars(module) if not name.startswith("__"))]
    return next((vars(module)[name] for name in names if name in vars(module) and _is_application(vars(module)[name])), None)


def _search_submodules(package: ModuleType) -> Application | None:
    for part in SUBMODULES:
        name = f"{package.__name__}.{part}"
        if importlib.util.find_spec(name) is not None:
            found = _search(_import(name))
            if found is not None:
                return found
    return None


def _is_application(value: Any) -> bool:
    """By shape: mesh.app lies above this module. Modules and classes named alike don't count."""
    if isinstance(value, (type, ModuleType)):
        return False
    return hasattr(value, "registered_errors") and isinstance(getattr(value, "tasks", None), Mapping)
