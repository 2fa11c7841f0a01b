"""The application: tasks by name, and the way into the mesh."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from mesh import result
from mesh.call_options import short_text
from mesh.calls import CallWriter, waiting_first
from mesh.canvas.builtin import builtin_functions
from mesh.canvas.submission import submit
from mesh.client.client import Client
from mesh.client.failures import type_name
from mesh.client.find import NodeFinder
from mesh.client.link import Nodes
from mesh.client.options import Options
from mesh.client.shared import release, shared_client
from mesh.conf import Conf
from mesh.conf_sources import of_environment, of_machine
from mesh.config import Settings
from mesh.control import Control
from mesh.eager import EagerResult, run_eagerly
from mesh.embedded import Embedded
from mesh.errors import NoCoordinator, UnknownTask
from mesh.messaging.connection import Connection
from mesh.messaging.hotqueue import HotQueue, Serializer
from mesh.messaging.jobs import job_parts
from mesh.registry import MAIN, BoundTaskDecorator, Registry, TaskDecorator, adopt
from mesh.signature import (
    CALL_KEYWORDS,
    DEFAULT_QUEUE,
    CallOptions,
    Signature,
    TaskOptions,
    refuse_unknown,
)
from mesh.submission import Submission
from mesh.task import AsyncTask, Task
from mesh.wire.calls import Flow
from mesh.wire.entries import Message
from mesh.wire.messages import Attached

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=type[Exception])
J = TypeVar("J", bound=type)
T = TypeVar("T", bound=Task[..., Any])
AnyTask = type[Task[..., Any]]


class Mesh:
    """An application: a name, its tasks, and one connection per process, made at the first need and safe to use from any thread.

    ``mesh`` names the mesh to use (default: ``MESH_NAME``, else the file's, else ``default``); ``home`` is the state directory
    (``MESH_HOME``, else the platform's); ``seeds`` are addresses ``host:port`` to look for nodes at, beside ``MESH_SEEDS`` (else the
    file's). The file is ``config.toml`` in the state directory, read at the first need.
    ``include`` are modules that a worker imports with the application.
    ``embedded=True`` runs a private node and a worker for this application's tasks in this process, in memory, or in the
    directory ``home`` when it is given; nothing of it is visible to others.
    """

    def __init__(
        self,
        name: str,
        *,
        mesh: str | None = None,
        home: str | os.PathLike[str] | None = None,
        seeds: Sequence[str] | None = None,
        include: Sequence[str] = (),
        embedded: bool = False,
    ) -> None:
        self.name = short_text(name, "the application's name")
        self.publish_timeout = 10.0
        """How long a publish or a question may take, in seconds; set it at any time, it counts from the next call on.

        Afterwards a publish raises PublishUnknown, MeshBusy or, with ``durability`` ``safe``, NotEnoughCopies.
        """
        self._mesh = None if mesh is None else short_text(mesh, "the mesh's name")
        self._home = None if home is None else Path(home).expanduser()
        self._seeds = tuple(seeds or ())
        self._registered: dict[str, type[Exception]] = {}
        self._conf = Conf(of_environment if embedded else lambda: of_machine(self._home, self._mesh))
        self._control = Control(self)
        self._declared: tuple[Attached | None, int] = (None, 0)
        """The attachment at which the topology was last told, and its version."""
        self._embedded = Embedded(self, self._home) if embedded else None
        if self._embedded is not None:
            self._embedded.consume(DEFAULT_QUEUE)
        self._calls = CallWriter(self, None if self._embedded is None else self._embedded.consume)
        self._registry = Registry(self, self._added)
        for task, function in builtin_functions(self._registry.tasks).items():
            self._registry.register("a builtin task", function, {"name": task})
        self._registry.include(include)
        adopt(self._registry)
        self._conf.on_change(self._registry.annotate_all)
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._client_key: tuple[object, ...] = ()
        self._body_limit = 0

    @property
    def conf(self) -> Conf:
        """Routes, queues and defaults of this application's tasks: ``app.conf.task_routes = {"feed.*": "feeds"}``."""
        return self._conf

    def config_from_object(self, source: Any, *, namespace: str | None = None) -> None:
        """Set ``app.conf`` from a module or its name (``module:attribute``), a class or another object, a dict, or a ``.toml`` file's path.

        With a ``namespace``, only names that begin with it count: ``CELERY_TIMEZONE`` for ``CELERY``. Functions, classes and modules, and
        what is in capitals and no setting of old Celery, are passed over. Raises InvalidSetting for an unknown name, a value that is not
        possible and a module that does not exist; nothing is changed then.
        """
        self._conf.from_object(source, namespace)

    @property
    def control(self) -> Control:
        """Orders to live workers: ``app.control.add_consumer("mail")``."""
        return self._control

    # -- tasks --------------------

    @overload
    def task(self, kind: type[T], /) -> T: ...
    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self, /, *, bind: Literal[True], name: str | None = None, base: AnyTask | None = None, **options: Unpack[TaskOptions]
    ) -> BoundTaskDecorator: ...
    @overload
    def task(
        self, /, *, bind: Literal[False] = False, name: str | None = None, base: AnyTask | None = None, **options: Unpack[TaskOptions]
    ) -> TaskDecorator: ...
    def task(self, target: Any = None, /, **options: Any) -> Any:
        """Register a function, or a class with ``run``, as a task: ``@app.task`` or ``@app.task(name=..., queue=..., ...)``.

        The name is ``module.function`` unless given; in the main program the application's name stands for the module. With
        ``bind=True`` the function's first argument is the task: ``self.request``, ``self.name``. ``base`` is the subclass of Task that it
        is an object of.
        ``max_deliveries`` (1 to 1,000) is how often it is delivered to a worker that is then lost before it fails with
        DeliveriesExhausted; the default is the queue's, else the mesh's. The other options hold for calls that do not say otherwise
        themselves, see Task.apply_async, or are attributes of Task.
        Raises TypeError for an unknown option, UsageError for a value out of range and when another function has the name.
        """
        return self._registry.declare("app.task()", target, options)

    def register_task(self, task: T | type[T], /, **options: Unpack[TaskOptions]) -> T:
        """Register an object of a class with ``run``, or the class; returns the task. Options and errors as :meth:`task`."""
        registered: T = self._registry.declare("app.register_task()", task, options)
        return registered

    def autodiscover_tasks(
        self,
        packages: Sequence[str] | Callable[[], Sequence[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """Have ``package.tasks`` of each package that has one imported when a worker loads the application; with ``force`` now.

        ``packages`` may be a function that returns them; None stands for Django's installed applications. Raises UsageError without Django,
        and whatever the modules raise, at that time.
        """
        self._registry.discover(packages, related_name, force)

    def import_modules(self) -> None:
        """Import what ``include``, ``app.conf.imports`` and :meth:`autodiscover_tasks` ask for, as a worker does, which has all tasks then.

        Raises UsageError for a module that does not exist, and what the modules raise.
        """
        self._registry.load()

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The registered tasks by name, read-only."""
        return MappingProxyType(self._registry.tasks)

    def register_error(self, error: E) -> E:
        """Let a task's exceptions of this type reach the caller as this type; usable as a class decorator. It has to be
        constructible from its ``args``.

        A class of the main program goes by the application's name, as tasks do: a worker has it under the name of the module that it
        loaded.
        """
        if not (isinstance(error, type) and issubclass(error, Exception)):
            raise TypeError(f"register_error() takes an exception class, not {error!r}")
        self._registered[type_name(error)] = error
        if error.__module__ == MAIN:
            self._registered[f"{self.name}.{error.__qualname__}"] = error
        return error

    @property
    def registered_errors(self) -> Mapping[str, type[Exception]]:
        """The types given to :meth:`register_error`, by name on the wire, read-only."""
        return MappingProxyType(self._registered)

    def _added(self, task: Task[..., Any]) -> None:
        if self._embedded is not None and task.queue is not None:
            self._embedded.consume(task.queue)
        self._calls.forget(task.name)

    def job(self, job: J) -> J:
        """Register a class as a job, as PyRes has them; usable as a class decorator. ``queue`` in the class names its queue, and its static
        method ``perform`` is what a worker of that queue runs.

        It is a task by the class's name (``module.Class``; in the main program the application's name stands for the module), and appears
        in :attr:`tasks`. Raises UsageError for a class without the two, and when another one has the name.
        """
        perform, queue = job_parts(job)
        self._registry.register("app.job()", perform, {"name": self._job_name(job), "queue": queue})
        return job

    def enqueue(self, job: type, *args: Any) -> result.AsyncResult[Any]:
        """Have a worker run a job: ``perform(*args)`` of a class that need not be registered here. Return and errors as Task.delay."""
        _, queue = job_parts(job)
        return self.send_task(self._job_name(job), args, queue=queue)

    def _job_name(self, job: type) -> str:
        return f"{self.name if job.__module__ == MAIN else job.__module__}.{job.__qualname__}"

    # -- calls --------------------

    def submit_many(self, signatures: Iterable[Signature[R]]) -> list[result.AsyncResult[R]]:
        """Submit calls as one batch; returns their results in order when all are confirmed.

        Nothing is sent when one of them can't be encoded. Raises as Task.delay; PublishUnknown also when a part was accepted. A
        PublishError has the ids in ``task_ids``.
        """
        calls = signatures if isinstance(signatures, list) else list(signatures)
        if any(type(call) is not Signature or (call.options and call.linking) for call in calls):
            return submit(self, calls)
        if self._calls.is_eager:
            return [self.apply(call) for call in calls]
        messages, deadline_s = self._messages(calls)
        return self._submit(messages, [message.id for message in messages], deadline_s)

    async def asubmit_many(self, signatures: Iterable[Signature[R]]) -> list[result.AsyncResult[R]]:
        """The same for an event loop, which goes on meanwhile."""
        calls = list(signatures)
        if any(type(call) is not Signature or (call.options and call.linking) for call in calls):
            return submit(self, calls)
        if self._calls.is_eager:
            return [self.apply(call) for call in calls]
        messages, deadline_s = self._messages(calls)
        if not messages:
            return []
        self._declare(self.client, deadline_s)
        return await Submission(self, messages, [message.id for message in messages], deadline_s).send_async()

    def apply(self, call: Signature[R], *, throw: bool | None = None) -> EagerResult[R]:
        """Run a call here and now, in place of a worker: its arguments and its value are encoded and decoded as on their way.

        It asks no node for anything. Raises UnknownTask for a task of another program, and what Task.apply_async raises for a call that is
        wrong; with ``throw`` (default: ``app.conf.task_eager_propagates``) also what the task raises.
        """
        ran: EagerResult[R] = run_eagerly(self, self._calls.message(call, 0, None))
        if self.conf.task_eager_propagates if throw is None else throw:
            ran.get()
        return ran

    def _messages(self, calls: Sequence[Signature[Any]]) -> tuple[list[Message], float]:
        """The messages of calls, and the deadline for publishing them."""
        began_s, max_body_bytes = time.monotonic(), self._max_body_bytes()
        messages = [self._calls.message(call, max_body_bytes, began_s + self.publish_timeout) for call in calls]
        return messages, began_s + self._calls.publish_time_s(calls, self.publish_timeout)

    def message_of(self, signature: Signature[Any], *, id: str | None = None, flow: Flow | None = None) -> Message:
        """The message of a call, which is not sent. ``id`` replaces its ``task_id``, ``flow`` is its place in a workflow.

        Raises as Task.apply_async; arguments of a step that gets another one's value are not complete, and not checked.
        """
        return self._calls.message(signature, self._max_body_bytes(), time.monotonic() + self.publish_timeout, id=id, flow=flow)

    def submit_messages(self, messages: Sequence[Message], watched: Sequence[str]) -> list[result.AsyncResult[Any]]:
        """Submit the messages of workflows as one batch, those that wait for others first; returns the results of the ``watched`` ids.

        Raises as :meth:`submit_many`.
        """
        return self._submit(waiting_first(list(messages)), watched, time.monotonic() + self.publish_timeout)

    def _submit(self, messages: list[Message], watched: Sequence[str], deadline_s: float) -> list[result.AsyncResult[Any]]:
        if not messages:
            return []
        self._declare(self.client, deadline_s)
        return Submission(self, messages, watched, deadline_s).send()

    def send_task(
        self, name: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> result.AsyncResult[Any]:
        """Submit a call of a task by name, which need not be defined here. Options, return and errors as Task.apply_async."""
        refuse_unknown("app.send_task()", options, ("name", *CALL_KEYWORDS))
        call: Signature[Any] = Signature(self, short_text(name, "a task's name"), args, kwargs, options)
        return self.submit_many([call])[0]

    def AsyncResult(self, id: str) -> result.AsyncResult[Any]:
        """The result of a task by its id, whichever process submitted it. Connects to the mesh."""
        client = self.client
        return result.AsyncResult(self, client, client.watch(short_text(id, "a task id")), None)

    def run_here(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a task of this application in this process. Raises UnknownTask."""
        return self.task_named(task)(*args, **kwargs)

    def task_named(self, name: str) -> Task[..., Any]:
        """The task of this application that has this name. Raises UnknownTask."""
        if name not in self.tasks:
            raise UnknownTask(f"application {self.name!r} has no task {name!r}")
        return self.tasks[name]

    def _declare(self, client: Client, deadline_s: float) -> None:
        """Have the mesh know the topology of ``conf``, once for each node that we attach to."""
        changes = self.conf.topology
        attached, version = self._declared
        if not changes or (attached is not None and attached is client.attached and version == self.conf.version):
            return
        try:
            client.query("topology-change", json.dumps({"changes": changes}), deadline_s)
        except NoCoordinator:
            return  # nodes route by what they have heard; the next publish tries again
        self._declared = client.attached, self.conf.version

    def _max_body_bytes(self) -> int:
        """The limit below which nobody needs to be asked."""
        attached = self.client.attached
        return attached.max_body_bytes if attached is not None else self._body_limit

    # -- the connection --------------------

    @property
    def client(self) -> Client:
        """The process's connection, made now when there is none; shared by all applications with the same home, mesh and seeds."""
        client = self._client
        if client is not None and client.usable:
            return client
        with self._lock:
            if self._client is None or not self._client.usable:
                self._client = self._connect()
            return self._client

    def _connect(self) -> Client:
        finder: Nodes
        if self._embedded is not None:
            settings = Settings.load()
            self.import_modules()
            for queue in self.conf.worker_queues:
                self._embedded.consume(queue)
            finder, self._client_key = self._embedded.start(), (id(self),)
        else:
            options = Options({"mesh": self._mesh, "join": self._seeds}, root=self._home)
            settings = options.settings()
            finder = NodeFinder(options.mesh, options.home.root, options["join"], settings)
            self._client_key = finder.key
        self._body_limit = settings.max_body_bytes
        return shared_client(self._client_key, lambda: Client(finder, self.name, settings))

    def connection(self, *, timeout: float | None = None) -> Connection:
        """A connection for plain messages; it shares the application's link to the node.

        ``timeout`` is how long its calls may take, in seconds; the default is ``publish_timeout``.
        """
        return Connection(self, timeout=timeout)

    def queue(self, name: str, serializer: Serializer | None = None) -> HotQueue:
        """A queue of values, for scripts: ``put``, ``get``, ``consume``. It shares the application's link to the node."""
        return HotQueue(name, serializer, place=self)

    def close(self) -> None:
        """Close the connection, unless another application of this process uses it, and stop an embedded node.

        A later call connects again.
        """
        with self._lock:
            client, self._client = self._client, None
            if client is not None:
                release(self._client_key, client)
            if self._embedded is not None:
                self._embedded.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Mesh {self.name!r}>"
