"""Which nodes wait for which results, beyond those of their own messages."""

from __future__ import annotations

from collections.abc import Set

WATCHERS_MAX = 200_000
"""Ids that are remembered; the oldest go first."""


class Watchers:
    """Ids of tasks to the nodes whose clients want the result."""

    def __init__(self) -> None:
        self._nodes: dict[str, str | set[str]] = {}
        """One node as a rule, and a set takes 200 bytes."""

    def __contains__(self, id: str) -> bool:
        return id in self._nodes

    def __len__(self) -> int:
        return len(self._nodes)

    def keys(self) -> Set[str]:
        """The ids that somebody waits for."""
        return self._nodes.keys()

    def add(self, id: str, node: str) -> None:
        """Clients of that node want the result of this id when it comes."""
        waiting = self._nodes.get(id)
        if waiting is None:
            if len(self._nodes) >= WATCHERS_MAX:
                del self._nodes[next(iter(self._nodes))]
            self._nodes[id] = node
        elif isinstance(waiting, set):
            waiting.add(node)
        elif waiting != node:
            self._nodes[id] = {waiting, node}

    def get(self, id: str) -> set[str]:
        """Who waits for this id."""
        waiting = self._nodes.get(id)
        return {waiting} if isinstance(waiting, str) else waiting or set()

    def pop(self, id: str) -> set[str] | None:
        """Who waits for this id, and no longer needs to."""
        waiting = self._nodes.pop(id, None)
        return {waiting} if isinstance(waiting, str) else waiting
