"""Results that this process waits for. They are kept only while somebody holds the AsyncResult."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable

from mesh.wire.calls import States, TaskState
from mesh.wire.entries import Result
from mesh.wire.messages import Results


class Pending:
    """One awaited result, shared by all AsyncResults of its id in this process."""

    __slots__ = ("__weakref__", "askers", "followers", "id", "result", "state", "status", "waiters")

    def __init__(self, id: str, status: int | None) -> None:
        self.id = id
        self.result: Result | None = None
        self.status = status
        """What the node said of a task without a result, None before it said anything."""
        self.waiters: list[Callable[[], None]] | None = None
        """Called, in the I/O thread, when the result is there."""
        self.askers: list[Callable[[], None]] | None = None
        """Called when the node has said anything of the task."""
        self.followers: list[deque[TaskState]] | None = None
        """Where what the task says of itself goes, one after the other."""
        self.state: TaskState | None = None
        """The last of that."""

    def __repr__(self) -> str:
        return f"Pending({self.id!r})"


class _Reference(weakref.ref[Pending]):
    """A weak reference that knows its id, so that the table loses the line when the last holder is gone."""

    __slots__ = ("id",)

    id: str


class PendingTable:
    """The pending results of one client. Only single dict operations: weak references may die at any instant in any thread."""

    def __init__(self) -> None:
        table: dict[str, _Reference] = {}

        def forget(reference: _Reference) -> None:
            if table.get(reference.id) is reference:
                table.pop(reference.id, None)

        self._table = table
        self._forget = forget

    def __len__(self) -> int:
        return len(self._table)

    def get(self, id: str) -> Pending | None:
        """The pending result of this id, None when nobody waits for it."""
        reference = self._table.get(id)
        return reference() if reference is not None else None

    def new(self, id: str, status: int | None = None) -> Pending:
        """Wait for this result as long as the returned object lives."""
        pending = Pending(id, status)
        reference = _Reference(pending, self._forget)
        reference.id = id
        self._table[id] = reference
        return pending

    def ids(self) -> list[str]:
        """Ids without a result."""
        return list(self._table)

    def waited_for(self) -> Iterable[Pending]:
        """Those that somebody is blocked on."""
        alive = [reference() for reference in list(self._table.values())]
        return [pending for pending in alive if pending is not None and (pending.waiters or pending.askers)]

    def on_states(self, news: States) -> list[Callable[[], None]]:
        """Take in what tasks say of themselves. Returns whom to wake."""
        wake: list[Callable[[], None]] = []
        for state in news.states:
            pending = self.get(state.id)
            if pending is not None:
                pending.state = state
                for follower in pending.followers or ():
                    follower.append(state)
                if pending.followers and pending.askers:
                    wake += pending.askers
        return wake

    def settle(self, news: Results) -> list[Callable[[], None]]:
        """Take in what a node reports. Returns whom to wake."""
        table, wake = self._table, []
        for result in news.results:
            reference = table.pop(result.id, None)
            pending = reference() if reference is not None else None
            if pending is not None:
                pending.result = result
                if pending.waiters:
                    wake += pending.waiters
                if pending.askers:
                    wake += pending.askers
        for id, status in news.states:
            pending = self.get(id)
            if pending is not None:
                pending.status = status
                if pending.askers:
                    wake += pending.askers
        return wake
