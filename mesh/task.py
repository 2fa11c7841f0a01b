"""A function that the mesh may run, and the class of it."""

from __future__ import annotations

import functools
import inspect
import math
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, NoReturn, ParamSpec, TypeVar, Unpack

from mesh.call_options import CALL_KEYWORDS, NO_OPTIONS, TASK_OPTIONS, CallOptions, check_options, given, refuse_unknown
from mesh.models import Models
from mesh.result import AsyncResult
from mesh.routes import check_way
from mesh.running import HOOKS, Running
from mesh.signature import Publisher, Signature
from mesh.wire.entries import Message
from mesh.wire.working import Delivery

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.eager import EagerResult

if TYPE_CHECKING:
    from mesh.canvas.maps import Chunks, XMap, XStarmap
    from mesh.step import Step

P = ParamSpec("P")
R = TypeVar("R")
CALLS = frozenset(["delay", "apply_async", "signature", "s", "si", "apply", "adelay", "aapply_async"])
"""What may be called on a class with ``run`` as if it were the task of it."""
_unregistered: weakref.WeakSet[TaskClass] = weakref.WeakSet()


class TaskClass(type):
    """Lets ``MyTask.delay(...)`` be a call of the registered task of that class, as Celery's old classes of tasks did."""

    if not TYPE_CHECKING:

        def __getattribute__(cls, name: str) -> Any:
            if name in CALLS and _runs(cls):
                from mesh.registry import task_of  # knows the applications, which know tasks

                return getattr(task_of(cls), name)
            return super().__getattribute__(name)


class Task(Running, Generic[P, R], metaclass=TaskClass):
    """A registered function: called, it runs here; with :meth:`delay` it runs in the mesh. Made by ``@app.task``.

    ``name`` is what workers know it by, ``options`` what it says of itself, and ``run`` what a worker calls. A subclass has a method
    ``run``, or is given to ``@app.task(base=...)`` for its methods; options, ``name`` among them, may be attributes of the class. Every
    worker has one object of it for all calls, made without arguments.
    """

    __wrapped__: Callable[P, Any]
    __name__: str
    run: Callable[..., Any]
    is_async: bool
    name: str = ""
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] = NO_OPTIONS
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    throws: Sequence[type[BaseException]] = ()
    ignore_result: bool = False
    store_errors_even_if_ignored: bool = False
    track_started: bool = False
    acks_late: bool = True
    time_limit: float | None = None
    soft_time_limit: float | None = None
    rate_limit: str | float | None = None
    serializer: str = "msgpack"
    _base_options: Mapping[str, Any] = NO_OPTIONS
    _publisher: Publisher

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        _unregistered.add(cls)

    def set_up(
        self,
        publisher: Publisher,
        function: Callable[P, Any] | None,
        name: str,
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        bind: bool = False,
    ) -> None:
        """Make it the task of a function, or of its own ``run``. With ``bind`` it is the function's first argument.

        Raises UsageError for options of its class that are not possible, TypeError for a class without ``run``.
        """
        if function is not None:
            self.run = MethodType(function, self) if bind else function
            functools.update_wrapper(self, function)
        elif not callable(getattr(self, "run", None)):
            raise TypeError(f"{type(self).__qualname__} has no method run(): a class of tasks needs one")
        else:
            self.__name__ = type(self).__name__
            self.run = self.__wrapped__ = self.run  # bound once, not at each call
            _unregistered.discard(type(self))
        self.name = name
        self.is_async = inspect.iscoroutinefunction(self.run)
        self._publisher = publisher
        self._base_options = {**_class_options(type(self)), **options}
        check_options(f"the task {name}", self._base_options)
        check_way(f"the task {name}", self._base_options)
        self.check_arguments = argument_check(self.run)
        self.models: Models | None = None
        """How arguments and value travel that are models of pydantic."""
        self._here = self.run
        if self._base_options.get("pydantic"):
            self.models = Models(name, self.run)
            self.run = self.models.around(self.run)
        self.annotated = False
        """Whether ``app.conf.task_annotations`` says something of it."""
        self.annotate({})

    def annotate(self, options: Mapping[str, Any]) -> None:
        """Have these options, and hooks, over its own. Raises UsageError and TypeError, and nothing has changed then."""
        hooks = {name: options[name] for name in options if name in HOOKS}
        own = {name: value for name, value in options.items() if name not in HOOKS}
        refuse_unknown(f"the annotation of {self.name}", own, (*TASK_OPTIONS, *HOOKS))
        check_options(f"the annotation of {self.name}", own)
        check_way(f"the annotation of {self.name}", own)
        before = self.__dict__.get("options", NO_OPTIONS)
        self.options: Mapping[str, Any] = {**self._base_options, **own}
        self.annotated = bool(options)
        for name in before.keys() - self.options.keys():
            self.__dict__.pop(name, None)
        for name, value in {**self.options, **hooks}.items():
            if not isinstance(inspect.getattr_static(type(self), name, None), property):
                setattr(self, name, value)

    @property
    def queue(self) -> str | None:
        """The queue that ``@app.task`` was given; None: the application's routes and defaults say."""
        return self.options.get("queue")

    @property
    def max_deliveries(self) -> int | None:
        """How often it may be delivered unless a call says otherwise; None for the queue's limit."""
        return self.options.get("max_deliveries")

    @property
    def app(self) -> Mesh:
        """Its application; for a shared task the one that was made last."""
        publisher: Any = self._publisher
        return getattr(publisher, "app", publisher)  # type: ignore[no-any-return]

    def named_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the function's names for them, defaults included. Raises TypeError for those that it does not take."""
        bound = inspect.signature(self.run).bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, in this process."""
        result: R = self._here(*args, **kwargs)
        return result

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Submit a call; returns when the mesh has confirmed it, with the number of copies in the result's ``copies``.

        Raises TypeError for arguments that the function does not take, NotEncodable for values that can't travel, BodyTooLarge,
        NotAccepted, MeshBusy and DiskLow when it will not run, PublishUnknown when that is not known at the deadline
        (``app.publish_timeout``), NotEnoughCopies when it will run but too few disks have it by then (``durability`` is ``safe``; the
        result is on the error), MeshNotFound and NotAllowed when there is no node.
        """
        return self._publisher.submit_many([Signature[R](self._publisher, self.name, args, kwargs)])[0]

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """Submit a call with options; returns and raises as :meth:`delay` does, and Unroutable when no queue takes it.

        ``queue``, or ``exchange`` and ``routing_key``, replace what the task or ``app.conf`` say (:class:`mesh.routes.Router` has the
        rules); ``headers`` are for a headers exchange. ``priority`` is from 0 to 255, higher ones first. ``persistent=False`` keeps
        the task and its result in memory only, gone when all nodes that have them stop. ``affinity="local"`` prefers workers on the node
        that the task is submitted at, ``node=`` and ``worker=`` name the only one. ``task_id`` (1 to 255 characters)
        replaces the random one, and the mesh runs one id once; ``countdown`` is in seconds from now. ``expires`` is in
        seconds from now, too, or an instant (a datetime with a time zone): what no worker was given by then fails with TaskExpired, and
        its state is REVOKED. ``max_deliveries`` (1 to 1,000) is how often it may be delivered before it fails with DeliveriesExhausted.
        None leaves it to the task. Raises TypeError for an unknown option, UsageError for a value out of range.
        """
        refuse_unknown(f"{self.name}.apply_async()", options, CALL_KEYWORDS)
        return self._publisher.submit_many([Signature[R](self._publisher, self.name, args, kwargs, options)])[0]

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """:meth:`delay` for an event loop, which goes on meanwhile: ``result = await task.adelay(1)``, then ``await result``."""
        return (await self.app.asubmit_many([Signature[R](self._publisher, self.name, args, kwargs)]))[0]

    async def aapply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """:meth:`apply_async` for an event loop, which goes on meanwhile."""
        refuse_unknown(f"{self.name}.aapply_async()", options, CALL_KEYWORDS)
        return (await self.app.asubmit_many([Signature[R](self._publisher, self.name, args, kwargs, options)]))[0]

    def apply(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Unpack[CallOptions],
    ) -> EagerResult[R]:
        """Run it here and now, in place of a worker; see Mesh.apply. Options as for :meth:`apply_async`."""
        refuse_unknown(f"{self.name}.apply()", options, ("throw", *CALL_KEYWORDS))
        return self.app.apply(Signature[R](self._publisher, self.name, args, kwargs, options), throw=throw)

    def signature(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
        **options: Unpack[CallOptions],
    ) -> Signature[R]:
        """A call that is not made yet; it may be partial. Options as for :meth:`apply_async`."""
        refuse_unknown(f"{self.name}.signature()", options, ("immutable", *CALL_KEYWORDS))
        return Signature(self._publisher, self.name, args, kwargs, options, immutable=immutable)

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """The same from plain arguments."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """The same, immutable: arguments given at the call are left out."""
        return self.signature(args, kwargs, immutable=True)

    def message_again(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], delivery: Delivery) -> Message:
        """The message of a retry with other options; errors as :meth:`apply_async`."""
        call: Signature[R] = Signature(self._publisher, self.name, args, kwargs, options)
        publisher: Any = self._publisher
        message: Message = publisher.message_of(call, id=delivery.id, flow=delivery.flow)
        return message

    def replace(self, sig: Step) -> NoReturn:
        """Go on as another canvas: its end has this task's id, so who waits for this one gets its value. For the running task (``bind``).

        Raises TaskReplaced, which the worker waits for; InvalidCanvas; UsageError outside of a worker.
        """
        from mesh.canvas.replacing import replace_task

        replace_task(self._publisher, self.request, sig)

    def add_to_chord(self, sig: Step, lazy: bool = False) -> AsyncResult[Any]:
        """Have the chord that the running task is a member of wait for one more; its value comes after all others.

        It is submitted in the transaction in which the task ends; ``lazy`` is accepted. Raises InvalidCanvas when there is no chord.
        """
        from mesh.canvas.replacing import add_member

        return add_member(self._publisher, self.request, sig)

    def map(self, it: Iterable[Any]) -> XMap:
        """One call that calls this task for each item, and has the list of the values."""
        from mesh.canvas.maps import XMap

        return XMap(self.s(), it)

    def starmap(self, it: Iterable[Sequence[Any]]) -> XStarmap:
        """The same, with a list of arguments for each call."""
        from mesh.canvas.maps import XStarmap

        return XStarmap(self.s(), it)

    def chunks(self, it: Iterable[Sequence[Any]], n: int) -> Chunks:
        """A group of starmaps of ``n`` calls each."""
        from mesh.canvas.maps import Chunks

        return Chunks(self.s(), it, n)

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task from an ``async def`` function: called here it gives a coroutine, and its result in the mesh is what that returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """Run it here, on the running event loop."""
        coroutine: Coroutine[Any, Any, R] = self._here(*args, **kwargs)
        return coroutine


def declared() -> Iterator[type[Task[..., Any]]]:
    """The classes with ``run`` of which no task was made yet; those with ``abstract = True`` are for others to be made of."""
    for kind in list(_unregistered):
        if _runs(kind) and not vars(kind).get("abstract"):
            yield kind  # type: ignore[misc]


def _runs(kind: type) -> bool:
    return any("run" in vars(one) for one in kind.__mro__)


def _class_options(kind: type) -> dict[str, Any]:
    """The options that the attributes of a class say, those of its bases included."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if one not in (Task, AsyncTask):
            found.update((name, value) for name, value in vars(one).items() if name in TASK_OPTIONS)
    kept = given(found)
    return {**kept, "max_retries": None} if "max_retries" in found and found["max_retries"] is None else kept


ArgumentCheck = Callable[[Sequence[Any], Mapping[str, Any]], None]
"""Raises TypeError when a function does not take the arguments."""


def argument_check(function: Callable[..., Any]) -> ArgumentCheck:
    """A check of arguments against a function, cheap when they are positional."""
    signature = inspect.signature(function)
    kinds = inspect.Parameter
    low, high, keyword_needed = 0, 0.0, False
    for parameter in signature.parameters.values():
        required = parameter.default is kinds.empty
        if parameter.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD):
            low, high = low + required, high + 1
        elif parameter.kind is kinds.VAR_POSITIONAL:
            high = math.inf
        elif parameter.kind is kinds.KEYWORD_ONLY:
            keyword_needed = keyword_needed or required
    name = getattr(function, "__name__", repr(function))

    def check(args: Sequence[Any], kwargs: Mapping[str, Any], /) -> None:
        if not kwargs and not keyword_needed and low <= len(args) <= high:
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}() {error}") from None

    return check
