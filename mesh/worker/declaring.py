"""Before a worker takes anything: the mesh has to know the application's exchanges, queues and bindings."""

from __future__ import annotations

from mesh.wire.messages import Answer, Query

AGAIN_S = 1.0
"""Pause before a question is asked again that nobody could answer."""


class Declaring:
    """What is to be declared, and what the node that the worker is attached to has said to it. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.answers = 0
        """How often a node has said something to it."""
        self._topology = ""
        self._number = 0
        self._asked: tuple[int, float] = (0, 0.0)
        """Generation of the link, and when."""
        self._declared_at = 0
        """Generation of the link at which it was declared."""

    def set(self, topology: str) -> None:
        """The argument of ``topology-change``; empty when there is nothing to declare."""
        if topology != self._topology:
            self._topology = topology
            self._asked = (0, 0.0)
            self._declared_at = 0

    def is_done(self, generation: int) -> bool:
        """Whether the mesh knows all of it."""
        return not self._topology or self._declared_at == generation

    def question(self, generation: int, now_s: float) -> Query | None:
        """What is to be asked now, if anything; a link that does not take it is asked again later."""
        if self._asked[0] == generation and now_s < self._asked[1] + AGAIN_S:
            return None
        self._asked = generation, now_s
        self._number += 1
        return Query(self._number, "topology-change", self._topology)

    def on_answer(self, answer: Answer, generation: int) -> str:
        """Take the answer in; returns what is wrong with the declarations, empty when nothing is, or nobody could say."""
        if answer.number != self._number or answer.error.startswith("no-coordinator:"):
            return ""
        if not answer.error or self.answers:  # at another node later, the worker goes on
            self._declared_at = generation
        self.answers += 1
        return answer.error.partition(": ")[2] if answer.error else ""
