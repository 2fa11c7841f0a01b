"""A function that the mesh may run."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, Unpack

from mesh.result import AsyncResult
from mesh.signature import CALL_KEYWORDS, NO_OPTIONS, CallOptions, Publisher, Signature, refuse_unknown

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A registered function: called, it runs here; with :meth:`delay` it runs in the mesh. Made by ``@app.task``.

    ``name`` is what workers know it by, ``options`` what ``@app.task`` was given, and ``run`` the function itself.
    """

    __wrapped__: Callable[P, Any]
    __name__: str

    def __init__(self, publisher: Publisher, function: Callable[P, Any], name: str, options: Mapping[str, Any] = NO_OPTIONS) -> None:
        self.name = name
        self.options = options
        self.run = function
        self.is_async = inspect.iscoroutinefunction(function)
        self._publisher = publisher
        self.check_arguments = argument_check(function)
        functools.update_wrapper(self, function)

    @property
    def queue(self) -> str | None:
        """The queue that ``@app.task`` was given; None: the application's routes and defaults say."""
        return self.options.get("queue")

    @property
    def max_deliveries(self) -> int | None:
        """How often it may be delivered unless a call says otherwise; None for the queue's limit."""
        return self.options.get("max_deliveries")

    def named_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments by the function's names for them, defaults included. Raises TypeError for those that it does not take."""
        bound = inspect.signature(self.run).bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here, in this process."""
        result: R = self.run(*args, **kwargs)
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
        rules); ``headers`` are for a headers exchange. ``priority`` is from 0 to 255, higher ones first. ``affinity="local"`` prefers
        workers on the node that the task is submitted at, ``node=`` and ``worker=`` name the only one. ``task_id`` (1 to 255 characters)
        replaces the random one, and the mesh runs one id once; ``countdown`` is in seconds from now. ``expires`` is in
        seconds from now, too, or an instant (a datetime with a time zone): what no worker was given by then fails with TaskExpired, and
        its state is REVOKED. ``max_deliveries`` (1 to 1,000) is how often it may be delivered before it fails with DeliveriesExhausted.
        None leaves it to the task. Raises TypeError for an unknown option, UsageError for a value out of range.
        """
        refuse_unknown(f"{self.name}.apply_async()", options, CALL_KEYWORDS)
        return self._publisher.submit_many([Signature[R](self._publisher, self.name, args, kwargs, options)])[0]

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

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


class AsyncTask(Task[P, R]):
    """A task from an ``async def`` function: called here it gives a coroutine, and its result in the mesh is what that returns."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:  # type: ignore[override]
        """Run it here, on the running event loop."""
        coroutine: Coroutine[Any, Any, R] = self.run(*args, **kwargs)
        return coroutine


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
