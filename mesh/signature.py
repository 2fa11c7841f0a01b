"""A call of a task that has not been made yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, Unpack

from mesh.call_options import CALL_KEYWORDS as CALL_KEYWORDS
from mesh.call_options import NO_OPTIONS as NO_OPTIONS
from mesh.call_options import TASK_OPTIONS as TASK_OPTIONS
from mesh.call_options import CallOptions as CallOptions
from mesh.call_options import TaskOptions as TaskOptions
from mesh.call_options import given as given
from mesh.call_options import refuse_unknown as refuse_unknown
from mesh.result import AsyncResult

R = TypeVar("R")
DEFAULT_QUEUE = "default"
"""Where tasks without a queue go."""


class Publisher(Protocol):
    """What a signature needs of its application."""

    def submit_many(self, signatures: Sequence[Signature[R]]) -> list[AsyncResult[R]]:
        """Submit calls as one batch."""

    def run_here(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a task of this application in this process."""


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
