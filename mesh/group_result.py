"""The results of several tasks as one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from mesh.client.arrivals import Arrivals
from mesh.errors import ResultTimeout, UsageError
from mesh.result import AsyncResult
from mesh.signature import DEFAULT_QUEUE
from mesh.step import Publisher
from mesh.wire.bodies import encode
from mesh.wire.calls import Flow
from mesh.wire.entries import Message

SAVED = ":saved"
"""Behind a group's id: the id of what :meth:`GroupResult.save` keeps."""
Member = Any
"""AsyncResult or ResultSet."""


class ResultSet:
    """Results that are waited for together; each is an AsyncResult, or the result of a group."""

    def __init__(self, results: Iterable[Member], *, app: Publisher | None = None) -> None:
        self.results: list[Member] = list(results)
        self.app = app

    # -- values --------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        callback: Callable[[str, Any], object] | None = None,
    ) -> list[Any]:
        """Wait for all and return their values, in order.

        ``timeout`` is in seconds for all together, None waits for ever. ``callback`` is called with (task id, value) of each as it comes.
        Raises the exception of the first that fails, at once, without waiting for the others; with ``propagate=False`` exceptions are
        among the values. Raises ResultTimeout at the deadline.
        """
        deadline_s = None if timeout is None else time.monotonic() + timeout
        for result in self._arriving(deadline_s):
            if propagate and not result.successful():
                result.get()
            if callback is not None:
                callback(result.id, result.get(propagate=propagate))
        return self._values(propagate)

    join = join_native = get

    def _values(self, propagate: bool) -> list[Any]:
        """When all is there. Groups in groups are as deep as canvases may be, and cost no stack."""
        top: list[Any] = []
        waiting: list[tuple[Iterator[Member], list[Any]]] = [(iter(self.results), top)]
        while waiting:
            members, values = waiting[-1]
            for member in members:
                if isinstance(member, ResultSet):
                    inner: list[Any] = []
                    values.append(inner)
                    waiting.append((iter(member.results), inner))
                    break
                values.append(member.get(None, propagate))
            else:
                waiting.pop()
        return top

    def __await__(self) -> Generator[Any, None, list[Any]]:
        for result in self.tasks():
            yield from result.__await__()
        return self._values(True)

    def iterate(self, timeout: float | None = None, propagate: bool = True) -> Iterator[Any]:
        """The values as they come. ``timeout``, ``propagate`` and errors as :meth:`get`."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        for result in self._arriving(deadline_s):
            yield result.get(None, propagate)

    def iter_native(self, timeout: float | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task id, {"status", "result"}) as they come."""
        deadline_s = None if timeout is None else time.monotonic() + timeout
        for result in self._arriving(deadline_s):
            yield result.id, {"status": result.state, "result": result.result}

    def _arriving(self, deadline_s: float | None) -> Iterator[AsyncResult[Any]]:
        """The tasks' results as they come. Raises ResultTimeout at the deadline."""
        tasks = list(self.tasks())
        if not tasks:
            return
        pendings = [task.current_pending() for task in tasks]
        arrivals = Arrivals(tasks[0].current_client, pendings)
        try:
            for come in range(len(tasks)):
                index = arrivals.next(deadline_s)
                if index is None:
                    raise ResultTimeout(f"{len(tasks) - come} of {len(tasks)} tasks have no result yet; they go on")
                yield tasks[index]
        finally:
            arrivals.close()

    # -- what is known --------------------

    def tasks(self) -> Iterator[AsyncResult[Any]]:
        """The results of single tasks, in order, those of groups in it among them."""
        waiting = [iter(self.results)]
        while waiting:
            for member in waiting[-1]:
                if isinstance(member, ResultSet):
                    waiting.append(iter(member.results))
                    break
                yield member
            else:
                waiting.pop()

    def completed_count(self) -> int:
        """How many have returned."""
        return sum(task.successful() for task in self.tasks())

    def ready(self) -> bool:
        """Whether all are over."""
        return all(task.ready() for task in self.tasks())

    def waiting(self) -> bool:
        """Whether some are not over."""
        return not self.ready()

    def successful(self) -> bool:
        """Whether all have returned."""
        return all(task.successful() for task in self.tasks())

    def failed(self) -> bool:
        """Whether some have failed."""
        return any(task.failed() for task in self.tasks())

    def maybe_throw(self, callback: Callable[[str, Any], object] | None = None, propagate: bool = True) -> None:
        """Raise the exception of the first that has failed."""
        for task in self.tasks():
            if task.ready():
                value = task.get(None, propagate)
                if callback is not None:
                    callback(task.id, value)

    maybe_reraise = maybe_throw

    def revoke(self, *, terminate: bool = False, signal: str = "SIGTERM") -> None:
        """End all these tasks for good, in one order: see :meth:`mesh.control.Control.revoke`."""
        tasks = list(self.tasks())
        if tasks:
            source: Any = tasks[0].source
            source.control.revoke([task.id for task in tasks], terminate=terminate, signal=signal)

    # -- as a collection --------------------

    def add(self, result: Member) -> None:
        """Put in one more."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[Member]) -> None:
        """Put in more."""
        for result in results:
            self.add(result)

    def remove(self, result: Member | str) -> None:
        """Take one out, or that of an id. Raises KeyError."""
        found = next((member for member in self.results if member == result or getattr(member, "id", None) == result), None)
        if found is None:
            raise KeyError(result)
        self.results.remove(found)

    discard = remove

    def clear(self) -> None:
        """Take all out."""
        self.results.clear()

    def __iter__(self) -> Iterator[Member]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> Member:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        return self.results == other.results if isinstance(other, ResultSet) else NotImplemented

    def __hash__(self) -> int:
        raise TypeError("a ResultSet changes, and has no hash; a GroupResult has the one of its id")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(task.id for task in self.tasks())}]>"


class GroupResult(ResultSet):
    """The results of a group, in its order. ``parent`` is the result that its tasks get the value of."""

    def __init__(self, id: str, results: Iterable[Member], parent: Any = None, *, app: Publisher | None = None) -> None:
        super().__init__(results, app=app)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Member]:
        """The same as ``results``."""
        return self.results

    def save(self, backend: object = None) -> None:
        """Have the mesh keep which results these are, for :meth:`restore`. ``backend`` is accepted, and there is but one.

        Raises as Task.delay.
        """
        body = encode(self.as_tuple())
        self._app().submit_messages([Message(self.id + SAVED, DEFAULT_QUEUE, "", body, flow=Flow(gathers=0))], [])

    @classmethod
    def restore(cls, id: str, backend: object = None, app: Publisher | None = None, timeout: float | None = 10.0) -> GroupResult | None:
        """What :meth:`save` has kept, in any process; None when there is nothing of this id. ``timeout`` is in seconds, ``app`` the
        application that the process made last unless it is given.

        Raises ResultTimeout, UsageError without an application.
        """
        if app is None:
            from mesh.registry import current_app  # which knows tasks, which know results

            app = current_app()
        saved = app.AsyncResult(id + SAVED)
        if saved.state == "UNKNOWN":
            return None
        restored = result_from_tuple(saved.get(timeout), app)
        assert isinstance(restored, cls)
        return restored

    def as_tuple(self) -> tuple[Any, Any]:
        """Ids that :func:`result_from_tuple` makes the result from: ((id, parent), members)."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), [member.as_tuple() for member in self.results]

    def _app(self) -> Publisher:
        if self.app is None:
            raise UsageError("this GroupResult belongs to no application: give it app=")
        return self.app

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return self.id == other.id and self.results == other.results if isinstance(other, GroupResult) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<GroupResult {self.id}: {len(self.results)} results>"


def result_from_tuple(form: Sequence[Any], app: Publisher) -> Any:
    """The result that ``as_tuple`` has written down."""
    (id, parent), members = form
    result: Any
    if members is None:
        result = app.AsyncResult(id)
    else:
        result = GroupResult(id, [result_from_tuple(member, app) for member in members], app=app)
    result.parent = result_from_tuple(parent, app) if parent is not None else None
    return result
