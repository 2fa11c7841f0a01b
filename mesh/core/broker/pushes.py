"""Results on their way to the nodes whose clients wait for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.core.broker.results import Removed
from mesh.core.cluster.replica import Replica
from mesh.wire.entries import Result, Status
from mesh.wire.messages import PeerMessage, Watch
from mesh.wire.messages import Results as ResultsMessage

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class Pushes:
    """Collects the results of a turn, and answers who asks for earlier ones. All of it leaves after the commit that holds it."""

    def __init__(self, broker: Broker, replica: Replica, post: Callable[[str, PeerMessage, bool], None]) -> None:
        self._broker = broker
        self._post = post
        self.removed = Removed(replica)
        self._by_node: dict[str, list[Result]] = {}

    def push(self, owner: str, result: Result) -> None:
        """A result goes to the node that accepted the task, and to all that watch it."""
        waiting = self._broker.watchers.pop(result.id)
        self._by_node.setdefault(owner, []).append(result)
        if waiting is not None:
            for node in sorted(waiting - {owner}):
                self._by_node.setdefault(node, []).append(result)

    def flush(self) -> None:
        """Hand over what came in this turn."""
        if not self._by_node:
            return
        pushes, self._by_node = self._by_node, {}
        for node, results in pushes.items():
            self._post(node, ResultsMessage(results), True)

    def on_duplicate(self, id: str, node: str) -> None:
        """A node has published what the mesh has already (R8): the result is for its clients, too."""
        result = self._broker.results.get(id)
        if result is not None:
            self._post(node, ResultsMessage([result]), True)
        else:
            self._broker.watchers.add(id, node)

    def on_watch(self, node: str, message: Watch) -> None:
        """A node's clients want these results, now or when they come."""
        broker = self._broker
        results: list[Result] = []
        states: list[tuple[str, int]] = []
        for id in message.ids:
            result = broker.results.get(id)
            record = broker.records.get(id)
            if result is not None:
                results.append(result)
            elif record is None and id in self.removed and not broker.is_live(id):
                results.append(self.removed.result(id))
            else:
                broker.watchers.add(id, node)  # also of an unknown task: a merge may still bring it
                known = record is not None or broker.is_live(id) or broker.dead_letters.get(id) is not None
                states.append((id, broker.states.status(record) if known else Status.UNKNOWN))
        if message.states:
            broker.states.watch(node, message.ids)
        broker.states.answer(node, message.ids)
        self._post(node, ResultsMessage(results, states), True)
