"""A workflow as people want to see it: all that waits for each other, and what tasks have submitted, around one task, with states."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mesh.core.states import RecordState
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message, Result, Status

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

STEPS_MAX = 10_000
"""In one answer: those that are nearest to the task that was asked for."""
_NOWHERE = Flow()


def show(broker: Broker, id: str) -> dict[str, Any]:
    """The steps around a task; empty when the mesh does not know it."""
    links = _Links(broker)
    found = list(links.around(id)) if links.knows(id) else []
    return {"id": id, "steps": [links.row(one) for one in sorted(found[:STEPS_MAX])], "more": len(found) > STEPS_MAX}


class _Links:
    """What is linked to what, collected for one question."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._linked: dict[str, set[str]] = {}
        self._parents: dict[str, str] = {}
        for record in broker.records.values():
            self._note(record.message, ())
        for result in broker.results.all():
            self._note(result, result.children)

    def _note(self, step: Message | Result, children: tuple[str, ...]) -> None:
        flow = step.flow or _NOWHERE
        parent = step.call.parent if step.call is not None else ""
        if parent:
            self._parents[step.id] = parent
        for child in children:
            self._parents.setdefault(child, step.id)
        for other in (flow.after, flow.into, parent, *children):
            if other:
                self._linked.setdefault(step.id, set()).add(other)
                self._linked.setdefault(other, set()).add(step.id)

    def knows(self, id: str) -> bool:
        """Whether there is something of it."""
        return id in self._linked or id in self._broker.results or self._broker.is_live(id)

    def around(self, id: str) -> Iterator[str]:
        """All that is linked to a task, the nearest first."""
        seen, following = {id}, deque([id])
        while following and len(seen) <= STEPS_MAX + 1:
            one = following.popleft()
            yield one
            for other in sorted(self._linked.get(one, ())):
                if other not in seen:
                    seen.add(other)
                    following.append(other)

    def row(self, id: str) -> dict[str, Any]:
        """One step."""
        broker = self._broker
        record, result = broker.records.get(id), broker.results.get(id)
        step = record.message if record is not None else result
        flow = (step.flow if step is not None else None) or _NOWHERE
        return {
            "id": id,
            "task": step.task if step is not None else "",
            "state": self._state(id, result),
            "after": flow.after,
            "on": "failure" if flow.when == When.FAILURE else "success",
            "gathers": flow.gathers if flow.gathers >= 0 else None,
            "lacks": broker.flows.lacking(id) if record is not None and flow.gathers >= 0 else 0,
            "into": flow.into,
            "place": flow.place,
            "parent": self._parents.get(id, ""),
            "error": f"{result.failure.type_name}: {result.failure.message}" if result is not None and result.failure is not None else "",
        }

    def _state(self, id: str, result: Result | None) -> str:
        broker = self._broker
        if result is not None:
            return "SKIPPED" if result.skipped else Status(result.status).name
        record = broker.records.get(id)
        if record is None:
            if broker.is_live(id):
                return Status.PENDING.name
            if broker.dead_letters.get(id) is not None:
                return "DEAD"
            return Status.REMOVED.name if id in broker.pushes.removed else Status.UNKNOWN.name
        if record.state is RecordState.WAITING:
            return "WAITING"
        return Status.STARTED.name if record.state is RecordState.LEASED and record.held is None else Status.PENDING.name
