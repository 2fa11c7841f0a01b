"""One task from delivery to outcome, as a pipeline of named steps: find, decode, run, encode; or classify what went wrong.

Whatever a task raises is data afterwards, SystemExit and KeyboardInterrupt included: the slot lives on.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mesh import request
from mesh.errors import BodyTooLarge, SoftTimeLimitExceeded, TimeLimitExceeded
from mesh.request import Context
from mesh.wire import bodies
from mesh.wire.calls import TaskState
from mesh.wire.entries import Status
from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.worker import endings
from mesh.worker.coroutines import Interruptible, Wait
from mesh.worker.inputs import INPUT, arguments_with
from mesh.worker.limits import Ends, Interrupt, Timekeeper, run_within
from mesh.worker.plans import Plan, Plans, Runnable
from mesh.worker.saying import Saying
from mesh.worker.spool import make

Limits = list[tuple[float, type[BaseException]]]
"""(seconds, what is raised then)"""


class Executor:
    """Runs deliveries with the application's tasks. Results may have at most ``max_body_bytes``.

    What is larger than ``chunk_bytes`` comes and goes in files: ``paths`` has the arguments by the task's id, ``written`` the
    results, in the directory ``spool``. Where nobody else ends a task that runs for too long it is ended here, as far as that can be.
    """

    def __init__(
        self,
        tasks: Mapping[str, Runnable],
        max_body_bytes: int,
        spool: str = "",
        chunk_bytes: int = 1 << 30,
        *,
        hostname: str = "",
        ends_tasks: bool = False,
    ) -> None:
        self.plans = Plans(tasks)
        self.paths: dict[str, str] = {}
        self.written: dict[str, str] = {}
        self.hostname = hostname
        """The worker's name."""
        self._say: Saying | None = None
        """Tells the states of tasks that run."""
        self._keeper = Timekeeper()
        self.ends = Ends() if ends_tasks else None
        """Who can end tasks of this process one by one; None where the parent ends the process."""
        self._max_body_bytes = max_body_bytes
        self._spool = spool
        self._chunk_bytes = chunk_bytes

    def tell_by(self, tell: Callable[[TaskState], None]) -> None:
        """Tasks may say where they are, in this way."""
        self._say = Saying(self._keeper, tell)

    def run(self, delivery: Delivery, wait: Wait) -> Outcome:
        """The outcome of a delivery; a coroutine is run by ``wait``. Raises nothing."""
        plan = self.plans.get(delivery.task)
        if plan is None:
            return not_here(delivery)
        context = Context(delivery, hostname=self.hostname)
        token = request.enter(context)
        try:
            args, kwargs = self._begin(plan, context)
            limits = self._limits(plan, delivery)
            if plan.is_async:
                value = wait(self._awaited(plan.run(*args, **kwargs), limits, delivery.id))
            elif limits or self.ends is not None:
                value = run_within(self._keeper, limits, partial(plan.run, *args, **kwargs), self.ends, delivery.id)
            else:
                value = plan.run(*args, **kwargs)
            return endings.returned(plan, context, value, self._success(context, value))
        except BaseException as error:  # a task may raise anything, and none of it is the slot's
            return endings.raised(plan, context, error)
        finally:
            request.leave(token)
            if context.said and self._say is not None:
                self._say.forget(delivery.id)

    async def run_async(self, delivery: Delivery) -> Outcome:
        """The same for an ``async def`` task, on the running event loop."""
        plan = self.plans.get(delivery.task)
        if plan is None:
            return not_here(delivery)
        context = Context(delivery, hostname=self.hostname)
        token = request.enter(context)
        try:
            args, kwargs = self._begin(plan, context)
            value = await self._awaited(plan.run(*args, **kwargs), self._limits(plan, delivery), delivery.id)
            return endings.returned(plan, context, value, self._success(context, value))
        except BaseException as error:
            return endings.raised(plan, context, error)
        finally:
            request.leave(token)
            if context.said and self._say is not None:
                self._say.forget(delivery.id)

    def is_async(self, delivery: Delivery) -> bool:
        """Whether :meth:`run_async` is the way to run it."""
        plan = self.plans.get(delivery.task)
        return plan is not None and plan.is_async

    def _begin(self, plan: Plan, context: Context) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Decode the arguments, and tell that it begins."""
        delivery = context.delivery
        context.say = self._say
        args, kwargs = arguments_with(delivery, plan.run, *bodies.decode_call(self._body(delivery)))
        context.args, context.kwargs = args, kwargs
        if self._say is not None and (plan.tracks_start or (delivery.call is not None and delivery.call.track_started)):
            self._say(context, Status.STARTED.name, None)
        endings.begin(plan, context)
        return args, kwargs

    def _limits(self, plan: Plan, delivery: Delivery) -> Limits:
        soft_ms, hard_ms = plan.limits_ms(delivery)
        limits: Limits = []
        if soft_ms:
            limits.append((soft_ms / 1000, SoftTimeLimitExceeded))
        if hard_ms and self.ends is not None:
            limits.append((hard_ms / 1000, TimeLimitExceeded))
        return limits

    def _awaited(self, work: Coroutine[Any, Any, Any], limits: Limits, id: str) -> Coroutine[Any, Any, Any]:
        return self._within(work, limits, id) if limits or self.ends is not None else work

    async def _within(self, work: Coroutine[Any, Any, Any], limits: Limits, id: str) -> Any:
        loop, awaited = asyncio.get_running_loop(), Interruptible(work)
        timers = [loop.call_later(after_s, awaited.interrupt, kind()) for after_s, kind in limits]
        if self.ends is not None:
            self.ends.put(id, _on_loop(loop, awaited))
        try:
            return await awaited
        finally:
            if self.ends is not None:
                self.ends.take(id)
            for timer in timers:
                timer.cancel()

    def _body(self, delivery: Delivery) -> bytes:
        given = delivery.input
        if given is not None and given.chunks is not None:
            given.body = Path(self.paths.pop(INPUT + delivery.id)).read_bytes()
        return delivery.body if delivery.chunks is None else Path(self.paths.pop(delivery.id)).read_bytes()

    def _success(self, context: Context, value: Any) -> Outcome:
        delivery = context.delivery
        if delivery.call is not None and delivery.call.ignore_result:
            value = None
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


def _on_loop(loop: asyncio.AbstractEventLoop, awaited: Interruptible) -> Interrupt:
    def interrupt(kind: type[BaseException]) -> None:
        loop.call_soon_threadsafe(awaited.interrupt, kind())

    return interrupt
