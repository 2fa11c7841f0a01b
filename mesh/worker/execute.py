"""One task from delivery to outcome, as a pipeline of named steps: find, decode, run, encode; or classify what went wrong.

Whatever a task raises is data afterwards, SystemExit and KeyboardInterrupt included: the slot lives on.
"""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from mesh import request
from mesh.errors import BodyTooLarge
from mesh.request import Context
from mesh.wire import bodies
from mesh.wire.entries import Failure, Status
from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.worker.inputs import INPUT, arguments_with
from mesh.worker.spool import make

TRACEBACK_BYTES_MAX = 64 << 10
MESSAGE_BYTES_MAX = 16 << 10
ARGUMENTS_BYTES_MAX = 16 << 10
_OWN_FOLDER = str(Path(__file__).parent.parent)


class Runnable(Protocol):
    """What a slot needs of a task."""

    @property
    def run(self) -> Callable[..., Any]:
        """The function."""

    @property
    def is_async(self) -> bool:
        """Whether it was declared with ``async def``."""


Wait = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a coroutine to its end on the slot's event loop and returns its value, or raises what it raised."""


class Executor:
    """Runs deliveries with the application's tasks. Results may have at most ``max_body_bytes``.

    What is larger than ``chunk_bytes`` comes and goes in files: ``paths`` has the arguments by the task's id, ``written`` the
    results, in the directory ``spool``.
    """

    def __init__(self, tasks: Mapping[str, Runnable], max_body_bytes: int, spool: str = "", chunk_bytes: int = 1 << 30) -> None:
        self.tasks = tasks
        self.paths: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self.hostname = ""
        """The worker's name."""
        self._max_body_bytes = max_body_bytes
        self._spool = spool
        self._chunk_bytes = chunk_bytes

    def run(self, delivery: Delivery, wait: Wait) -> Outcome:
        """The outcome of a delivery; a coroutine is run by ``wait``. Raises nothing."""
        task = self.tasks.get(delivery.task)
        if task is None:
            return not_here(delivery)
        context = Context(delivery, hostname=self.hostname)
        token = request.enter(context)
        try:
            context.args, context.kwargs = args, kwargs = arguments_with(delivery, task.run, *bodies.decode_call(self._body(delivery)))
            value = task.run(*args, **kwargs)
            return self._success(context, wait(value) if task.is_async else value)
        except BaseException as error:  # a task may raise anything, and none of it is the slot's
            return failed(context, error)
        finally:
            request.leave(token)

    async def run_async(self, delivery: Delivery) -> Outcome:
        """The same for an ``async def`` task, on the running event loop."""
        task = self.tasks.get(delivery.task)
        if task is None:
            return not_here(delivery)
        context = Context(delivery, hostname=self.hostname)
        token = request.enter(context)
        try:
            context.args, context.kwargs = args, kwargs = arguments_with(delivery, task.run, *bodies.decode_call(self._body(delivery)))
            return self._success(context, await task.run(*args, **kwargs))
        except BaseException as error:
            return failed(context, error)
        finally:
            request.leave(token)

    def is_async(self, delivery: Delivery) -> bool:
        """Whether :meth:`run_async` is the way to run it."""
        task = self.tasks.get(delivery.task)
        return task is not None and task.is_async

    def _body(self, delivery: Delivery) -> bytes:
        given = delivery.input
        if given is not None and given.chunks is not None:
            given.body = Path(self.paths.pop(INPUT + delivery.id)).read_bytes()
        return delivery.body if delivery.chunks is None else Path(self.paths.pop(delivery.id)).read_bytes()

    def _success(self, context: Context, value: Any) -> Outcome:
        delivery = context.delivery
        body = bodies.encode(value)
        if len(body) > self._max_body_bytes:
            raise BodyTooLarge(
                f"the result of {delivery.task} has {len(body)} bytes, the setting max_body_bytes allows {self._max_body_bytes}: "
                "return less, or store the data elsewhere and return where it is"
            )
        if len(body) > self._chunk_bytes:
            path = make(Path(self._spool)) / f"out-{uuid.uuid4().hex}"
            path.write_bytes(body)
            self.written[delivery.id] = str(path)
            body = b""
        return Outcome(id=delivery.id, status=Status.SUCCESS, body=body, children=tuple(context.children))


def not_here(delivery: Delivery) -> Outcome:
    """The application has no such task: another worker may."""
    return Outcome(id=delivery.id, kind=OutcomeKind.RETURNED)


def failed(context: Context, error: BaseException) -> Outcome:
    """The outcome of a task that raised."""
    return Outcome(id=context.delivery.id, status=Status.FAILURE, failure=describe(error), children=tuple(context.children))


def contain(work: Awaitable[Any]) -> Coroutine[Any, Any, tuple[Any, BaseException | None]]:
    """Await ``work`` and return (value, None) or (None, error).

    asyncio lets SystemExit and KeyboardInterrupt of a task out of the loop that runs it; here they must not get that far.
    """

    async def contained() -> tuple[Any, BaseException | None]:
        try:
            return await work, None
        except BaseException as error:
            return None, error

    return contained()


def waited(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` on a loop that belongs to this thread."""
    value, error = loop.run_until_complete(contain(work))
    return _value_or_raise(value, error)


def waited_elsewhere(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> Any:
    """Run ``work`` on a loop that runs in another thread."""
    value, error = asyncio.run_coroutine_threadsafe(contain(work), loop).result()
    return _value_or_raise(value, error)


def _value_or_raise(value: Any, error: BaseException | None) -> Any:
    if error is None:
        return value
    try:
        raise error
    finally:
        del error  # the frame and the error would keep each other alive


# -- an exception as data -----------------------------------------------------------------------------------------------------


def describe(error: BaseException) -> Failure:
    """An exception as data, limited in size: type name, message, arguments if they can travel, traceback without mesh's frames."""
    kind = type(error)
    return Failure(
        type_name=plain(f"{kind.__module__}.{kind.__qualname__}", MESSAGE_BYTES_MAX),
        message=plain(_message(error), MESSAGE_BYTES_MAX),
        arguments=_arguments(error),
        traceback=plain(_traceback(error), TRACEBACK_BYTES_MAX),
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        try:
            return repr(error)
        except Exception:
            return "(its message can't be shown)"


def _arguments(error: BaseException) -> bytes:
    try:
        body = bodies.encode(tuple(error.args))
    except Exception:
        return b""
    return body if len(body) <= ARGUMENTS_BYTES_MAX else b""


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(type(error), error, _without_own(error.__traceback__)))
    except Exception as second:
        return f"(its traceback can't be shown: {type(second).__name__})\n"


def _without_own(step: TracebackType | None) -> TracebackType | None:
    while step is not None and step.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        step = step.tb_next
    return step


def plain(text: str, most_bytes: int) -> str:
    """Text that UTF-8 can carry, at most ``most_bytes`` long; what is too much is cut out of its middle."""
    blob = text.encode("utf-8", "backslashreplace")
    if len(blob) > most_bytes:
        gap = b"\n[...]\n"
        half = (most_bytes - len(gap)) // 2
        blob = blob[:half] + gap + blob[-half:]
    return blob.decode("utf-8", "ignore")
