"""The tasks of an application by name: decorated functions, classes with ``run``, tasks that all applications share, modules to load.

A program has no global application. What is shared (:func:`shared_task`, and classes that were never registered) is in every application
that the process makes, and calls go out through the one that was made last.
"""

from __future__ import annotations

import importlib
import inspect
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from mesh.call_options import TASK_OPTIONS, TaskOptions, check_options, given, refuse_unknown, short_text
from mesh.errors import UsageError
from mesh.routes import check_way
from mesh.task import AsyncTask, Task, declared

if TYPE_CHECKING:
    from mesh.app import Mesh

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=Task[..., Any])
MAIN = "__main__"
OWN_KEYWORDS = ("name", "bind", "base")


class TaskDecorator(Protocol):
    """What ``@app.task(...)`` with options gives."""

    @overload
    def __call__(self, kind: type[T], /) -> T: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


class BoundTaskDecorator(Protocol):
    """What ``@app.task(bind=True, ...)`` gives: the function's first parameter is the task."""

    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


class Registry:
    """One application's tasks, and what it does when there is one more."""

    def __init__(self, app: Mesh, added: Callable[[Task[..., Any]], None]) -> None:
        self.app = app
        self.tasks: dict[str, Task[..., Any]] = {}
        self._added = added
        self._modules: list[Callable[[], None]] = []

    def declare(self, where: str, target: Any, options: Mapping[str, Any]) -> Any:
        """What ``@app.task`` does: registers ``target``, or without one returns the decorator that does."""
        refuse_unknown(where, options, (*OWN_KEYWORDS, *TASK_OPTIONS))
        check_options(where, options)
        check_way(where, options)
        if target is None:
            return lambda target: self.register(where, target, options)
        return self.register(where, target, options)

    def register(self, where: str, target: Any, options: Mapping[str, Any]) -> Task[..., Any]:
        """The task of a function, of a class with ``run`` or of an object of one. Raises as Mesh.task."""
        return self.add(made(where, target, options, self.app, self.app.name))

    def add(self, task: Task[..., Any]) -> Task[..., Any]:
        """Register a task. Raises UsageError when another one has its name."""
        known = self.tasks.get(task.name)
        if known is not None and _origin(known) != _origin(task):
            raise UsageError(f"two functions want the task name {task.name!r}: give one of them another with @app.task(name=...)")
        self._annotate(task, self.app.conf.changed.get("task_annotations", ()))
        self.tasks[task.name] = task
        self._added(task)
        return task

    def annotate_all(self) -> None:
        """Have each task the options that ``app.conf.task_annotations`` says now; those of the machine when :meth:`load` is done."""
        for task in self.tasks.values():
            self._annotate(task, self.app.conf.changed.get("task_annotations", ()))

    def _annotate(self, task: Task[..., Any], levels: Sequence[Any]) -> None:
        said: dict[str, Any] = {}
        for level in levels:
            if hasattr(level, "annotate"):
                said.update(level.annotate(task) or {})
            else:
                said.update({**level.get("*", {}), **level.get(task.name, {})})
        if said or task.annotated:
            task.annotate(said)

    # -- modules --------------------

    def include(self, modules: Iterable[str]) -> None:
        """Have these modules imported when a worker loads the application."""
        for module in modules:
            self._modules.append(lambda module=module: _import(module))  # type: ignore[misc]

    def discover(self, packages: Sequence[str] | Callable[[], Sequence[str]] | None, related_name: str | None, force: bool) -> None:
        """Have the module ``related_name`` of each package imported when a worker loads the application; now with ``force``."""

        def search() -> None:
            names = packages() if callable(packages) else packages if packages is not None else _django_applications()
            for package in names:
                _import_related(package, related_name)

        if force:
            search()
        else:
            self._modules.append(search)

    def load(self) -> None:
        """Import what was asked for, once, and register the classes with ``run`` that nobody has registered."""
        for module in (*self.app.conf.imports, *self.app.conf.include):
            _import(module)
        modules, self._modules = self._modules, []
        for load in modules:
            load()
        for kind in declared():
            if not any(type(task) is kind for task in self.tasks.values()):
                _share(made("class", kind, {}, CURRENT, self.app.name))
        for task in self.tasks.values():
            self._annotate(task, self.app.conf.task_annotations)


def made(where: str, target: Any, options: Mapping[str, Any], publisher: Any, main: str) -> Task[..., Any]:
    """A task that is not registered yet; ``main`` stands for the main program in its name."""
    own, base = given(options), options.get("base")
    name, bind = own.pop("name", None), bool(own.pop("bind", False))
    own.pop("base", None)
    if "max_retries" in options and options["max_retries"] is None:
        own["max_retries"] = None
    if isinstance(target, type) and issubclass(target, Task):
        target = target()
    if isinstance(target, Task):
        kind = type(target)
        target.set_up(publisher, None, name or kind.name or _name(kind.__module__, kind.__name__, main), own)
        return target
    if not callable(target):
        raise TypeError(f"{where} takes a function, not {target!r}")
    if base is not None and not (isinstance(base, type) and issubclass(base, Task)):
        raise UsageError(f"{where}: base must be a subclass of mesh.Task, not {base!r:.80}")
    kind = base or (AsyncTask if inspect.iscoroutinefunction(target) else Task)
    task: Task[..., Any] = kind()
    name = short_text(name, "a task's name") if name is not None else _name(target.__module__, target.__name__, main)
    task.set_up(publisher, target, name, own, bind=bind)
    return task


def _name(module: str, name: str, main: str) -> str:
    return f"{main if module == MAIN else module}.{name}"


def _origin(task: Task[..., Any]) -> tuple[str, str]:
    return task.run.__module__, task.run.__qualname__


# -- what all applications share --------------------

_registries: list[weakref.ref[Registry]] = []
_shared: dict[str, Task[..., Any]] = {}


class _Current:
    """The application that was made last, for tasks that belong to none."""

    @property
    def app(self) -> Mesh:
        """It itself."""
        return current_app()

    def __getattr__(self, name: str) -> Any:
        return getattr(current_app(), name)


CURRENT: Any = _Current()


def current_app() -> Mesh:
    """The application of this process that was made last. Raises UsageError when there is none."""
    registries = _live()
    if not registries:
        raise UsageError("this process has no application yet: make it first, app = Mesh(...)")
    return registries[-1].app


def adopt(registry: Registry) -> None:
    """An application was made: it has all shared tasks, those to come too."""
    _registries[:] = [ref for ref in _registries if ref() is not None]
    _registries.append(weakref.ref(registry))
    for task in _shared.values():
        registry.add(task)


def _live() -> list[Registry]:
    return [registry for ref in _registries if (registry := ref()) is not None]


def _share(task: Task[..., Any]) -> Task[..., Any]:
    for registry in _live():
        registry.add(task)
    _shared[task.name] = task
    return task


@overload
def shared_task(kind: type[T], /) -> T: ...
@overload
def shared_task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(
    *, bind: Literal[True], name: str | None = None, base: type[Task[..., Any]] | None = None, **options: Unpack[TaskOptions]
) -> BoundTaskDecorator: ...
@overload
def shared_task(
    *, bind: Literal[False] = False, name: str | None = None, base: type[Task[..., Any]] | None = None, **options: Unpack[TaskOptions]
) -> TaskDecorator: ...
def shared_task(target: Any = None, /, **options: Any) -> Any:
    """As ``@app.task``, for code that does not know the application: the task is in every application of the process, those that are made
    later too. Its calls go out through the application that was made last.

    A function of the main program needs a ``name``, or the application made before it. Raises as Mesh.task, and UsageError when a call is
    made before there is an application.
    """
    refuse_unknown("shared_task()", options, (*OWN_KEYWORDS, *TASK_OPTIONS))
    check_options("shared_task()", options)
    check_way("shared_task()", options)

    def share(target: Any) -> Task[..., Any]:
        main = current_app().name if getattr(target, "__module__", "") == MAIN and not options.get("name") else MAIN
        return _share(made("shared_task()", target, options, CURRENT, main))

    return share if target is None else share(target)


def task_of(kind: type[Task[..., Any]]) -> Task[..., Any]:
    """The registered task of a class with ``run``, for calls on the class itself; registered now when it is not."""
    app = current_app()
    found = next((task for task in app.tasks.values() if type(task) is kind), None)
    return found if found is not None else _share(made("class", kind, {}, CURRENT, app.name))


# -- importing --------------------


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            what = f"the application includes {module!r}, and there is no such module"
            raise UsageError(f"{what}: correct include= or app.conf.imports") from None
        raise


def _import_related(package: str, related_name: str | None) -> None:
    module = f"{package}.{related_name}" if related_name else package
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise  # the package itself is missing, or what the module needs


def _django_applications() -> list[str]:
    try:
        apps = importlib.import_module("django.apps").apps
    except ModuleNotFoundError:
        raise UsageError("autodiscover_tasks() without Django needs the packages: app.autodiscover_tasks(['proj.mail'])") from None
    return [config.name for config in apps.get_app_configs()]
