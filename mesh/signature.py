"""A call of a task that has not been made yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, Unpack

from mesh.call_options import CALL_KEYWORDS as CALL_KEYWORDS
from mesh.call_options import NO_OPTIONS as NO_OPTIONS
from mesh.call_options import TASK_OPTIONS as TASK_OPTIONS
from mesh.call_options import CallOptions as CallOptions
from mesh.call_options import TaskOptions as TaskOptions
from mesh.call_options import given as given
from mesh.call_options import refuse_unknown as refuse_unknown
from mesh.result import AsyncResult
from mesh.step import LINKS, Step
from mesh.step import Publisher as Publisher

R = TypeVar("R")
DEFAULT_QUEUE = "default"
"""Where tasks without a queue go."""


class Signature(Step, Generic[R]):
    """A task's name with arguments and options; a partial one takes more arguments when it is called.

    Arguments given at the call go before ``args``; keywords and options given at the call win. An immutable signature takes none.
    ``options`` has the options that were given, see :meth:`mesh.task.Task.apply_async`.
    """

    __slots__ = ("task",)

    known_options = CALL_KEYWORDS

    def __init__(
        self,
        publisher: Publisher | None,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        immutable: bool = False,
    ) -> None:
        self.task = task  # and what Step's constructor does, without a call more in the way of every delay()
        self.args = args
        self.kwargs = kwargs or NO_OPTIONS
        self.options = given(options) if options else options
        self.immutable = immutable
        self._publisher = publisher

    @property
    def name(self) -> str:
        """The task's name."""
        return self.task

    @property
    def parts(self) -> Sequence[Step]:
        """It is one step."""
        return ()

    @property
    def linking(self) -> bool:
        """Whether it is submitted as a workflow: it names steps that follow it."""
        return any(name in self.options for name in LINKS)

    @property
    def routed_as(self) -> str:
        """The task whose way it goes."""
        return self.task

    def with_call(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any]) -> Signature[R]:
        """A copy with these instead."""
        new = self.copy()
        new.args, new.kwargs, new.options = args, kwargs, options
        return new

    def copy(self) -> Signature[R]:
        """The same again."""
        return Signature(self._publisher, self.task, tuple(self.args), dict(self.kwargs), self.options, immutable=self.immutable)

    def form(self) -> dict[str, Any]:
        """Its JSON form."""
        return {
            "task": self.task,
            "args": list(self.args),
            "kwargs": dict(self.kwargs),
            "options": dict(self.options),
            "subtask_type": None,
            "immutable": self.immutable,
        }

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Submit it, with more arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(  # type: ignore[override]  # the options of a call have types
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> AsyncResult[R]:
        """Submit it, with more arguments and other options. Raises what Task.apply_async raises."""
        return self.publisher.submit_many([self.clone(args, kwargs, **options)])[0]

    def clone(  # type: ignore[override]  # the options of a call have types
        self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Unpack[CallOptions]
    ) -> Signature[R]:
        """A copy with more arguments and other options. Raises TypeError for an unknown option."""
        return super().clone(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        """Run it here, in this process."""
        call = self.clone(args, kwargs)
        result: R = self.publisher.run_here(call.task, call.args, call.kwargs)
        return result

    def __repr__(self) -> str:
        parts = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task}({', '.join(parts)})"
