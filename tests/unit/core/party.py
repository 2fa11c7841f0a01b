"""The smallest mesh: one node with a client and a worker."""

from __future__ import annotations

from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Worker


class Party:
    """One node with a client and a worker."""

    def __init__(self, slots: int = 1, **settings: object) -> None:
        self.cluster = Cluster("a", **settings)
        self.client: Client = self.cluster.client("a")
        self.worker: Worker = self.cluster.worker("a", slots=slots)

    @property
    def broker(self) -> object:
        return self.cluster["a"].broker

    def attempts(self, id: str) -> list[int]:
        """Attempt numbers of the deliveries of a task, on whatever worker."""
        workers = [program for program in self.cluster.programs.values() if isinstance(program, Worker)]
        return sorted(d.attempt for worker in {*workers, self.worker} for d in worker.deliveries if d.id == id)
