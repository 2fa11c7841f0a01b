"""Where tasks are that have not ended, for those who watch them. In memory only: workers say it again to a new coordinator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from mesh.core.broker.queues import Record
from mesh.core.broker.watchers import Watchers
from mesh.core.states import RecordState, TaskEvent, next_status
from mesh.wire.calls import States, TaskState
from mesh.wire.entries import Status
from mesh.wire.messages import Delivery, PeerMessage

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

SWEEP = 1000
"""States that are looked at in one tick, whether their task still runs."""


class TaskStates:
    """The last state that each task has said of itself, and the nodes whose programs want to hear of the next."""

    def __init__(self, broker: Broker, post: Callable[[str, PeerMessage, bool], None]) -> None:
        self._broker = broker
        self._post = post
        self._said: dict[str, tuple[str, TaskState]] = {}
        """By id: the worker, and what it said."""
        self.watchers = Watchers()
        self._to_sweep: list[str] = []

    def reset(self) -> None:
        """The reign is over."""
        self._said.clear()
        self._to_sweep.clear()
        self.watchers = Watchers()

    def status(self, record: Record | None) -> Status:
        """Where a task is, by what is done with its message."""
        call = record.message.call if record is not None else None
        again = call is not None and call.retries > 0
        if record is None or record.state is not RecordState.LEASED:
            return Status.RETRY if again else Status.PENDING
        received = next_status(Status.RETRY if again else Status.PENDING, TaskEvent.DELIVERED)
        said = self.said(record)
        return next_status(received, TaskEvent.BEGUN) if said is not None else received

    def said(self, record: Record) -> TaskState | None:
        """What the task has said of itself to the worker that has it now."""
        known = self._said.get(record.message.id)
        return known[1] if known is not None and record.state is RecordState.LEASED and known[0] == record.worker else None

    def on_states(self, node: str, message: States) -> None:
        """A worker says where its tasks are."""
        told: list[TaskState] = []
        for state in message.states:
            record = self._broker.records.get(state.id)
            if record is not None and record.state is RecordState.LEASED and record.worker == message.worker:
                self._said[state.id] = message.worker, state
                told.append(state)
        self._tell(told)

    def watch(self, node: str, ids: Iterable[str]) -> None:
        """A node wants to hear of the states of these, from now on."""
        for id in ids:
            self.watchers.add(id, node)

    def answer(self, node: str, ids: Iterable[str]) -> None:
        """Tell a node what these have said of themselves."""
        records = self._broker.records
        said = [self.said(records[id]) for id in ids if id in self._said and id in records]
        states = [state for state in said if state is not None]
        if states:
            self._post(node, States("", states), True)

    def delivered(self, deliveries: list[Delivery]) -> None:
        """These are on their way to a worker."""
        at_ms, name = self._broker.wall_ms, Status.RECEIVED.name
        self._tell([TaskState(delivery.id, name, b"", at_ms) for delivery in deliveries if delivery.id in self.watchers])

    def asked_again(self, id: str) -> None:
        """A task waits to be run again."""
        if id in self.watchers:
            self._tell([TaskState(id, Status.RETRY.name, b"", self._broker.wall_ms)])

    def _tell(self, states: list[TaskState]) -> None:
        by_node: dict[str, list[TaskState]] = {}
        for state in states:
            for node in sorted(self.watchers.get(state.id)):
                by_node.setdefault(node, []).append(state)
        for node, news in by_node.items():
            self._post(node, States("", news), False)

    def tick(self) -> None:
        """Forget, little by little, what was said of tasks that do not run any more."""
        if not self._to_sweep:
            self._to_sweep = [*self._said, *self.watchers.keys()]
        for id in self._to_sweep[-SWEEP:]:
            record = self._broker.records.get(id)
            if record is None or self.said(record) is None:
                self._said.pop(id, None)
            if id in self._broker.results:
                self.watchers.pop(id)
        del self._to_sweep[-SWEEP:]
