"""A call that runs here and now, encoded and decoded as on its way through the mesh: ``task.apply()`` and ``task_always_eager``."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from mesh.client.pending import Pending
from mesh.result import AsyncResult
from mesh.wire.calls import Call
from mesh.wire.entries import Message, Result
from mesh.wire.messages import Delivery, Outcome, OutcomeKind

if TYPE_CHECKING:
    from mesh.app import Mesh

R = TypeVar("R")
HOSTNAME = "eager"
SIZE_MAX = 1 << 62
"""Nothing is too large that travels nowhere."""


class EagerResult(AsyncResult[R]):
    """The result of a call that ran here: it is over. An AsyncResult otherwise."""

    __slots__ = ()

    def _current(self) -> Pending:
        return self._pending

    def __repr__(self) -> str:
        return f"<EagerResult {self.id} {self.state}>"


def run_eagerly(app: Mesh, message: Message) -> EagerResult[Any]:
    """Run a message's task here, and at once again as often as it asks for that. The mesh knows nothing of it.

    Raises UnknownTask; what the task raises is in the result.
    """
    from mesh.worker.execute import Executor  # slow to import, as it has asyncio

    app.task_named(message.task)
    executor = Executor(app.tasks, SIZE_MAX)
    executor.hostname = HOSTNAME
    while True:
        outcome = executor.run(_delivery(message), _waited)
        if outcome.kind != OutcomeKind.RETRY:
            break
        message = _again(message, outcome)
    pending = Pending(message.id, outcome.status)
    call = message.call
    pending.result = Result(
        message.id, outcome.status, outcome.body, outcome.failure, worker=HOSTNAME, task=message.task, call=call, children=outcome.children
    )
    return EagerResult(app, None, pending, None)  # type: ignore[arg-type]  # what is over asks nobody


def _delivery(message: Message) -> Delivery:
    properties = message.properties
    return Delivery(
        message.id, message.task, message.body, 1, message.queue, properties=properties, call=message.call, eta_ms=message.eta_ms
    )


def _again(message: Message, outcome: Outcome) -> Message:
    """The message of a retry, which does not wait."""
    for other in outcome.messages:
        if other.id == message.id:
            message = other
    call = message.call or Call()
    return replace(message, call=replace(call, retries=call.retries + 1, turn=call.turn + 1, failure=outcome.failure))


def _waited(work: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns or raises: on a loop of its own, in a thread of its own when one runs here already."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _on_a_loop(work)
    ended: list[Any] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            ended.extend((context.run(_on_a_loop, work), None))
        except BaseException as error:
            ended.extend((None, error))

    thread = threading.Thread(target=run, name="mesh-eager")
    thread.start()
    thread.join()
    value, error = ended
    if error is not None:
        raise error
    return value


def _on_a_loop(work: Coroutine[Any, Any, Any]) -> Any:
    import asyncio

    from mesh.worker.coroutines import waited

    loop = asyncio.new_event_loop()
    try:
        return waited(loop, work)
    finally:
        loop.close()
