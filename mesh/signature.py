"""A call of a task that has not been made yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

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
    """

    __slots__ = ("_publisher", "args", "countdown", "immutable", "kwargs", "max_deliveries", "queue", "task", "task_id")

    def __init__(
        self,
        publisher: Publisher,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        queue: str = DEFAULT_QUEUE,
        task_id: str | None = None,
        countdown: float | None = None,
        max_deliveries: int | None = None,
        immutable: bool = False,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        self.queue = queue
        self.task_id = task_id
        self.countdown = countdown
        self.max_deliveries = max_deliveries
        self.immutable = immutable
        self._publisher = publisher

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R]:
        """Submit it, with more arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        task_id: str | None = None,
        countdown: float | None = None,
        max_deliveries: int | None = None,
    ) -> AsyncResult[R]:
        """Submit it, with more arguments and other options. Raises what Task.apply_async raises."""
        call = self.clone(args, kwargs, queue=queue, task_id=task_id, countdown=countdown, max_deliveries=max_deliveries)
        return self._publisher.submit_many([call])[0]

    def clone(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        queue: str | None = None,
        task_id: str | None = None,
        countdown: float | None = None,
        max_deliveries: int | None = None,
    ) -> Signature[R]:
        """A copy with more arguments and other options."""
        fixed = self.immutable
        return Signature(
            self._publisher,
            self.task,
            tuple(self.args) if fixed else (*args, *self.args),
            dict(self.kwargs) if fixed else {**self.kwargs, **(kwargs or {})},
            queue=queue or self.queue,
            task_id=task_id or self.task_id,
            countdown=self.countdown if countdown is None else countdown,
            max_deliveries=self.max_deliveries if max_deliveries is None else max_deliveries,
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
        options = self.queue, self.task_id, self.countdown, self.max_deliveries, self.immutable
        return self.task, tuple(self.args), dict(self.kwargs), options
