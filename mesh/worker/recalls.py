"""What the mesh wants back because a slot elsewhere is idle, as far as slots of this worker have it already."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.worker.slots import Slot


class Recalls:
    """The last recall, until the slots have answered."""

    def __init__(self) -> None:
        self._ids: list[str] = []
        self._count = 0

    def ask(self, ids: Iterable[str], count: int, slots: Iterable[Slot]) -> None:
        """Ask the slots that hold some of these and have not begun them; of what they give back ``count`` are wanted."""
        wanted = set(ids)
        self._ids, self._count = [], count
        for slot in slots:
            waiting = [id for id, handed in slot.handed.items() if id in wanted and slot.waits(handed)]
            if waiting:
                self._ids += waiting
                slot.recall()

    def pick(self, released: Iterable[str]) -> list[str]:
        """Which of these, that a slot has given back, go back to the mesh: the youngest."""
        if not self._count:
            return []
        wanted = set(self._ids)
        picked = [id for id in released if id in wanted][-self._count :]
        self._count -= len(picked)
        return picked
