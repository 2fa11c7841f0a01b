"""A call of a task that has not been made yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar, Unpack

from mesh.core.routing.declared import similar
from mesh.messaging.exchange import Exchange
from mesh.result import AsyncResult
from mesh.wire.topology import Headers

R = TypeVar("R")
DEFAULT_QUEUE = "default"
"""Where tasks without a queue go."""


class Publisher(Protocol):
    """What a signature needs of its application."""

    def submit_many(self, signatures: Sequence[Signature[R]]) -> list[AsyncResult[R]]:
        """Submit calls as one batch."""

    def run_here(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a task of this application in this process."""


class WayOptions(TypedDict, total=False):
    """Where a task goes, and before which others; for the decorator and for a call."""

    queue: str | None
    exchange: Exchange | str | None
    routing_key: str | None
    priority: int | None
    headers: Headers | None
    affinity: Literal["local", "any"] | None
    node: str | None
    worker: str | None


class TaskOptions(WayOptions, total=False):
    """What a task may say of itself."""

    max_deliveries: int | None


class CallOptions(TaskOptions, total=False):
    """What a call may say beside the task's arguments; None leaves it to the task."""

    task_id: str | None
    countdown: float | None
    expires: float | datetime | None


TASK_OPTIONS = tuple(TaskOptions.__annotations__)
CALL_KEYWORDS = ("args", "kwargs", *CallOptions.__annotations__)
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class Signature(Generic[R]):
    """A task's name with arguments and options; a partial one takes more arguments when it is called.

    Arguments given at the call go before ``args``; keywords and options given at the call win. An immutable signature takes none.
    ``options`` has the options that were given, see :meth:`mesh.task.Task.apply_async`.
    """

    __slots__ = ("_publisher", "args", "immutable", "kwargs", "options", "task")

    def __init__(
        self,
        publisher: Publisher,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        immutable: bool = False,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        self.options = given(options) if options else options
        self.immutable = immutable
        self._publisher = publisher

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Submit it, with more arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """Submit it, with more arguments and other options. Raises what Task.apply_async raises."""
        return self._publisher.submit_many([self.clone(args, kwargs, **options)])[0]

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]) -> Signature[R]:
        """A copy with more arguments and other options. Raises TypeError for an unknown option."""
        refuse_unknown(f"{self.task}.clone()", options, CALL_KEYWORDS)
        fixed = self.immutable
        return Signature(
            self._publisher,
            self.task,
            tuple(self.args) if fixed else (*args, *self.args),
            dict(self.kwargs) if fixed else {**self.kwargs, **(kwargs or {})},
            {**self.options, **given(options)},
            immutable=fixed,
        )

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run it here, in this process."""
        call = self.clone(args, kwargs)
        result: R = self._publisher.run_here(call.task, call.args, call.kwargs)
        return result

    def __eq__(self, other: object) -> bool:
        return self._parts() == other._parts() if isinstance(other, Signature) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # arguments may be lists and dicts

    def __repr__(self) -> str:
        parts = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(parts)})"

    def _parts(self) -> tuple[Any, ...]:
        return self.task, tuple(self.args), dict(self.kwargs), dict(self.options), self.immutable


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_unknown(where: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises TypeError that names the first unknown option and the known one that is most like it."""
    for option in options:
        if option not in known:
            raise TypeError(f"{where} has no option {option!r}: {similar(option, known)}")
