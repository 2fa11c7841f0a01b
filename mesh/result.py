"""The result of a task, here or still to come."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from weakref import ref

from mesh import request
from mesh.client.client import Client
from mesh.client.failures import rebuild
from mesh.client.pending import Pending
from mesh.client.waking import waker
from mesh.errors import IncompleteStream, ResultTimeout
from mesh.watching import StateChange, Watching, change_of
from mesh.wire.bodies import decode
from mesh.wire.entries import Result, Status

if TYPE_CHECKING:
    import asyncio

    from mesh.group_result import GroupResult

R = TypeVar("R")
_UNSET: Any = object()
_NOTHING_FOLLOWS: Mapping[str, Any] = {}
UNKNOWN_HINT = ": the mesh has never had it, or has removed its result (result_expires_s, max_results_bytes) and forgotten that too"


class Source(Protocol):
    """What a result needs of its application."""

    publish_timeout: float

    @property
    def client(self) -> Client:
        """The process's connection now."""

    @property
    def registered_errors(self) -> Mapping[str, type[Exception]]:
        """Exception types that may be rebuilt, by name on the wire."""


class AsyncResult(Generic[R]):
    """A task's result by the task's id. Equal and hashed by id; safe to use from any thread, and awaitable.

    ``copies`` is the number of fsynced copies that existed when the task was accepted, None when another process submitted it.
    The value is kept here, and the connection forgets the result as soon as nobody holds its AsyncResult.
    """

    __slots__ = ("__weakref__", "_client", "_pending", "_source", "_value", "copies", "following", "id", "parent")

    def __init__(self, source: Source, client: Client, pending: Pending, copies: int | None) -> None:
        self.id = pending.id
        self.copies = copies
        self.parent: AsyncResult[Any] | GroupResult | None = None
        """In a workflow that this process submitted: the result that the task gets the value of."""
        self.following: Mapping[str, ref[AsyncResult[Any]]] = _NOTHING_FOLLOWS
        """In such a workflow: the results of the tasks that wait for this one, by id."""
        self._source = source
        self._client = client
        self._pending = pending
        self._value = _UNSET

    # -- waiting --------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        on_message: Callable[[dict[str, Any]], None] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R:
        """Wait for the task and return its value.

        ``timeout`` is in seconds; None waits for ever, also for an id that nobody ever submits. Raises the task's exception, as its
        own type when that is a builtin or registered with the application and as TaskError otherwise; with ``propagate=False`` the
        exception is returned. Raises ResultTimeout at the deadline: the task goes on, and a later call may succeed; ResultRemoved when
        it is over and the mesh has removed its result, as far as the mesh still knows that.
        In an event loop use ``await result``: this call blocks the loop.

        ``on_message`` is called with each state on the way: a dict of ``task_id``, ``status`` and ``result``. In a task it raises
        ResultInTask, as all slots may wait for tasks that no slot is left for; ``disable_sync_subtasks=False``, or
        :func:`mesh.request.allow_join_result`, allows it.
        """
        if disable_sync_subtasks:
            request.check_may_wait(self.id)  # also of one that is over: what is so by chance must not fail another day
        if self._pending.result is None:
            if on_message is not None:
                for change in self.watch(timeout):
                    on_message({"task_id": self.id, "status": change.state, "result": change.info})
            else:
                self._wait(timeout)
        value: R = self._outcome(propagate)
        return value

    def __await__(self) -> Generator[Any, None, R]:
        if self._pending.result is None:
            yield from self._wait_async().__await__()
        value: R = self._outcome(True)
        return value

    def ready(self) -> bool:
        """Whether the task is over. Asks the mesh only about a task that this process knows nothing of."""
        pending = self._current()
        if pending.result is None:
            if pending.status is None:
                self._ask()
            else:
                self._client.look()
        return self._pending.result is not None

    def successful(self) -> bool:
        """Whether the task is over and returned."""
        return self.ready() and self._pending_status() is Status.SUCCESS

    def failed(self) -> bool:
        """Whether the task is over and raised."""
        return self.ready() and self._pending_status() is Status.FAILURE

    def revoke(self, *, terminate: bool = False, signal: str = "SIGTERM") -> None:
        """End the task for good: see :meth:`mesh.control.Control.revoke`."""
        source: Any = self._source
        source.control.revoke(self.id, terminate=terminate, signal=signal)

    def watch(self, timeout: float | None = None) -> Watching:
        """The task's states as they come, for ``for`` and ``async for``: each with ``state`` and ``info``, the last one with its value or
        exception. ``timeout`` is for all of it, in seconds; then it raises ResultTimeout.
        """
        pending = self._current()
        return Watching(self._client, pending, lambda: StateChange(self._pending_status().name, self._outcome(False)), timeout)

    # -- what is known --------------------

    @property
    def state(self) -> str:
        """Celery's name of the task's state; ``REMOVED`` if its result is not kept any more, ``UNKNOWN`` for an id that the mesh has
        never seen or has forgotten.

        Asks the mesh while there is no result. Raises ResultTimeout when it does not answer within ``publish_timeout``.
        """
        if self._pending.result is None:
            self._ask()
        own, status = self._pending.state, self._pending_status()
        return own.state if own is not None and status is Status.STARTED else status.name

    status = state

    @property
    def info(self) -> Any:
        """What the task said with its last state; its value or exception when it is over."""
        if self.ready():
            return self._outcome(False)
        self._ask()
        state = self._pending.state
        return change_of(state).info if state is not None else None

    @property
    def result(self) -> R | Exception | None:
        """The value or the exception of a task that is over, else None."""
        return self._outcome(False) if self.ready() else None

    @property
    def traceback(self) -> str | None:
        """The remote traceback of a task that raised, else None."""
        failure = self._finished.failure if self.ready() else None
        return failure.traceback if failure is not None else None

    @property
    def node(self) -> str | None:
        """The node whose worker ran the task, None before it is over."""
        return self._finished.node if self.ready() else None

    @property
    def worker(self) -> str | None:
        """The worker that ran the task, None before it is over."""
        return self._finished.worker if self.ready() else None

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """The results of the tasks that it has submitted and of those that follow it, None before it is over."""
        if not self.ready():
            return None
        ids = dict.fromkeys((*self._finished.children, *self.following))
        known = {id: result for id, kept in self.following.items() if (result := kept()) is not None}
        return [known.get(id) or self._other(id) for id in ids]

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """This result and those below it, as pairs (parent, result), nearest first.

        Raises IncompleteStream at one that is not over, unless ``intermediate``.
        """
        waiting: deque[tuple[Any, Any]] = deque([(None, self)])
        while waiting:
            parent, result = waiting.popleft()
            yield parent, result
            if result.ready():
                waiting += [(result, child) for child in result.children or ()]
            elif not intermediate:
                raise IncompleteStream

    def collect(self, timeout: float | None = None, propagate: bool = True) -> Iterator[tuple[Any, Any]]:
        """This result and those below it as they end, as pairs (result, value). Each is waited for as with :meth:`get`."""
        for _, result in self.iterdeps():
            yield result, result.get(timeout, propagate)

    def get_leaf(self) -> Any:
        """The value of the last task below this one, or of this one."""
        *_, (_, value) = self.collect()
        return value

    def as_tuple(self) -> tuple[Any, Any]:
        """Ids that :func:`mesh.group_result.result_from_tuple` makes the result from: ((id, parent), None)."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, AsyncResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        result = self._pending.result
        return f"<AsyncResult {self.id}{'' if result is None else ' ' + self._pending_status().name}>"

    # -- inside --------------------

    @property
    def source(self) -> Source:
        """The application."""
        return self._source

    def current_pending(self) -> Pending:
        """The awaited result in the present connection; for who waits for several."""
        return self._current()

    @property
    def current_client(self) -> Client:
        """The connection of :meth:`current_pending`."""
        return self._client

    def _other(self, id: str) -> AsyncResult[Any]:
        client = self._source.client
        return AsyncResult(self._source, client, client.watch(id), None)

    @property
    def _finished(self) -> Result:
        result = self._pending.result
        assert result is not None
        return result

    def _current(self) -> Pending:
        """The awaited result in the present connection: after a fork or a close it has to be watched anew."""
        client = self._source.client
        if client is not self._client and self._pending.result is None:
            self._pending, self._client = client.watch(self.id), client
        return self._pending

    def _pending_status(self) -> Status:
        result, status = self._pending.result, self._pending.status
        try:
            return Status(result.status if result is not None else status or 0)
        except ValueError:  # a newer node knows more states
            return Status.PENDING

    def _ask(self) -> None:
        pending = self._current()
        self._client.ask(pending, time.monotonic() + self._source.publish_timeout)
        if pending.result is None and pending.status is None:
            raise ResultTimeout(f"the mesh did not say within {self._source.publish_timeout:g} s how task {self.id} stands")

    def _wait(self, timeout: float | None) -> None:
        deadline_s = None if timeout is None else time.monotonic() + timeout
        pending = self._current()
        if not self._client.wait(pending, deadline_s):
            status = self._pending_status()
            hint = UNKNOWN_HINT if status is Status.UNKNOWN else ""
            raise ResultTimeout(f"task {self.id} has no result after {timeout:g} s; it is {status.name}{hint}")

    async def _wait_async(self) -> None:
        from asyncio import get_running_loop  # slow to import, and whoever awaits has it

        pending, loop = self._current(), get_running_loop()
        while pending.result is None:
            woken: asyncio.Future[None] = loop.create_future()
            wake = waker(loop, woken)
            if not self._client.when_done(pending, wake):
                break
            try:
                await woken
            finally:
                self._client.forget_waiter(pending, wake)
            if pending.result is None:
                self._client.raise_why()

    def _outcome(self, propagate: bool) -> Any:
        if self._value is not _UNSET:
            return self._value
        result = self._finished
        if result.status == Status.SUCCESS:
            self._value = decode(result.body) if result.body else None
            return self._value
        error = rebuild(result, self._source.registered_errors)
        if propagate:
            raise error
        return error
