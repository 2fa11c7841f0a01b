"""What a task may say and ask while it runs, and what it may override: the part of ``Task`` that a worker needs."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mesh import request
from mesh.errors import Ignore, MaxRetriesExceededError, Reject, Retry
from mesh.request import Context
from mesh.wire.entries import Message
from mesh.wire.working import Delivery

RETRY_DELAY_S = 180.0
MAX_RETRIES = 3
BACKOFF_MAX_S = 600.0
"""Celery's defaults."""
UNSET: Any = object()
"""Where None has a meaning of its own: no limit."""
HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
CONTROL_FLOW = (Ignore, Reject, Retry)


class Again(NamedTuple):
    """How a task is to be run again."""

    delay_s: float
    exc: BaseException | None
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    options: Mapping[str, Any]
    """Of a call: another queue, another priority."""


class ExceptionInfo(NamedTuple):
    """What hooks and signals get of an exception beside itself, as Celery's ``einfo``."""

    type: type[BaseException]
    exception: BaseException
    traceback: str

    def __str__(self) -> str:
        return self.traceback


class Running:
    """A task as it sees itself when it runs. Subclasses override the hooks; each is called in the worker, in the task's thread."""

    name: str
    options: Mapping[str, Any]

    @property
    def request(self) -> Context:
        """What is known of the call that runs now; ``called_directly`` is true outside of one."""
        return request.of(self.name)

    # -- to be run again --------------------

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = UNSET,
        **options: Any,
    ) -> Retry:
        """Have this task run again, with the same id: raises Retry, so that nothing after it is run.

        ``countdown`` (seconds from now) and ``eta`` (an instant) say when, else ``default_retry_delay`` (180 s); it is never earlier.
        ``args`` and ``kwargs`` replace the arguments, ``options`` such as ``queue`` those of the call. ``throw=False`` returns the Retry:
        the task is run again when it has ended, whatever it returns.
        Of more than ``max_retries`` (None: without limit; else the task's, 3) it raises ``exc``, or MaxRetriesExceededError. Called
        outside of a worker it raises ``exc``, or Retry.
        """
        context = self.request
        if context.called_directly:
            raise exc or Retry("the task wants to be run again, and was called as a function")
        most = self._max_retries() if max_retries is UNSET else max_retries
        if most is not None and context.retries >= most:
            if exc is not None:
                raise exc
            raise MaxRetriesExceededError(
                f"can't retry {self.name}[{context.id}]: it was run again {context.retries} times, max_retries is {most}"
            )
        delay_s, when = self._when(eta, countdown)
        context.again = Again(delay_s, exc, args, kwargs, options)
        wanted = Retry(f"{self.name}[{context.id}] is run again in {delay_s:g} s{f': {exc!r}' if exc is not None else ''}", exc, when)
        if throw:
            raise wanted
        return wanted

    def message_again(self, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], delivery: Delivery) -> Message:
        """The message of a retry with other options."""
        raise TypeError(f"{self.name} has no application that could route it anew")

    def _max_retries(self) -> int | None:
        own = getattr(self, "max_retries", UNSET)
        most: int | None = self.options.get("max_retries", MAX_RETRIES) if own is UNSET else own
        return most

    def _when(self, eta: datetime | None, countdown: float | None) -> tuple[float, float | datetime]:
        if eta is not None:
            at = eta if eta.tzinfo is not None else eta.replace(tzinfo=UTC)
            return max(0.0, at.timestamp() - time.time()), eta
        if countdown is None:
            countdown = self._own("default_retry_delay", RETRY_DELAY_S)
        return max(0.0, float(countdown)), countdown

    def retry_for(self, error: BaseException) -> None:
        """Raise Retry for an exception that ``autoretry_for`` names; return for others. Raises as :meth:`retry`."""
        wanted = tuple(self._own("autoretry_for", ()))
        unwanted = tuple(self._own("dont_autoretry_for", ()))
        if not wanted or not isinstance(error, wanted) or isinstance(error, (*CONTROL_FLOW, *unwanted)):
            return
        how = dict(self._own("retry_kwargs", {}))
        backoff = self._own("retry_backoff", False)
        if backoff:
            how["countdown"] = backoff_s(
                int(max(1.0, backoff)), self.request.retries, self._own("retry_backoff_max", BACKOFF_MAX_S), self._own("retry_jitter", True)
            )
        self.retry(exc=error, **how)

    def _own(self, name: str, default: Any) -> Any:
        """Of its class, or as ``@app.task`` was given."""
        value = getattr(self, name, None)
        if value is None:
            value = self.options.get(name)
        return default if value is None else value

    # -- states --------------------

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None) -> None:
        """Tell who watches this task where it is: ``state`` is a name of your own, ``meta`` what travels with it (NotEncodable if it
        can't). At most 10 of them leave per second, the last one always. Nothing is told outside of a worker.
        """
        context = self.request
        if context.say is not None and task_id in (None, context.id):
            context.say(context, state or "STARTED", meta)

    def progress(self, done: float, total: float | None = None, note: str = "") -> None:
        """Tell how far it is: the state PROGRESS, with ``done``, ``total`` and ``note`` as its meta."""
        self.update_state(state="PROGRESS", meta={"done": done, "total": total, "note": note})

    # -- hooks --------------------

    def before_start(self, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Called when it has returned."""

    def on_failure(self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: ExceptionInfo) -> None:
        """Called when it has raised."""

    def on_retry(self, exc: BaseException, task_id: str, args: Sequence[Any], kwargs: Mapping[str, Any], einfo: ExceptionInfo) -> None:
        """Called when it is to be run again."""

    def after_return(
        self,
        status: str,
        retval: Any,
        task_id: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        einfo: ExceptionInfo | None,
    ) -> None:
        """Called when it has ended in any of these ways; ``retval`` is the exception if it raised."""


def backoff_s(factor: float, retries: int, longest_s: float, jitter: bool) -> float:
    """Exponential: ``factor`` seconds, then twice as long each time, up to ``longest_s``; with ``jitter`` anything from 0 to that."""
    pause_s = min(longest_s, factor * 2.0 ** min(retries, 64))
    return random.uniform(0.0, pause_s) if jitter else max(0.0, pause_s)
