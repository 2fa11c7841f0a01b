"""Which queues a worker consumes: those that it began with, and what it was told since."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.wire.consuming import Consume


class Consumption:
    """The queues of one worker."""

    def __init__(self) -> None:
        self.own: list[str] = []
        """Of its command line, or the application's."""
        self._added: list[str] = []
        self._cancelled: set[str] = set()

    @property
    def queues(self) -> list[str]:
        """What it consumes now."""
        return [queue for queue in dict.fromkeys([*self.own, *self._added]) if queue not in self._cancelled]

    def begin(self, queues: Sequence[str]) -> bool:
        """The queues that it began with; whether they are others than before."""
        changed = list(queues) != self.own
        self.own = list(queues)
        return changed

    def change(self, consume: Consume) -> bool:
        """Other queues from now on; whether anything is different."""
        before = self.queues
        self._added = [queue for queue in dict.fromkeys([*self._added, *consume.add]) if queue not in consume.cancel]
        self._cancelled = self._cancelled.difference(consume.add).union(consume.cancel)
        return self.queues != before
