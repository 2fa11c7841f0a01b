"""The workers that the coordinator knows, what they offer, and the leases that they hold."""

from __future__ import annotations

from collections.abc import Iterable

from mesh.config import Settings
from mesh.core.broker.queues import Record
from mesh.core.cluster.membership import Membership
from mesh.wire.messages import Offer

PLAIN = frozenset([""])


class WorkerState:
    """One worker as the coordinator sees it."""

    __slots__ = (
        "capacity",
        "fate_is_known",
        "generation",
        "id",
        "leases",
        "name",
        "node",
        "orphaned_at",
        "pid",
        "queues",
        "reported",
        "slots",
        "synced",
        "tasks",
    )

    def __init__(self, id: str, node: str) -> None:
        self.id = id
        self.node = node
        """The node that it is attached to."""
        self.name = ""
        self.pid = 0
        self.queues: list[str] = []
        self.tasks: frozenset[str] = frozenset()
        self.slots = 0
        self.capacity = 0
        self.generation = 0
        self.leases: dict[str, Record] = {}
        self.synced = False
        """Its full Offer has come since its node last reported: what it holds is known, so it may be given more."""
        self.orphaned_at: float | None = None
        """When its node was lost; its leases stay valid for a while, as it may attach to another node."""
        self.fate_is_known = False
        """Its node is reachable again, and is about to say whether it is still there; or gone for good, and it looks for another."""
        self.reported: set[str] = set()
        """What it said last that it holds; the messages of some may not have come yet."""

    def update(self, node: str, offer: Offer) -> None:
        """Take over what the worker says of itself."""
        self.node = node
        self.name = offer.name
        self.pid = offer.pid
        self.queues = list(dict.fromkeys(offer.queues))
        self.tasks = frozenset(offer.tasks)
        self.slots = offer.slots
        self.capacity = offer.capacity
        self.orphaned_at = None
        self.fate_is_known = False

    @property
    def is_consumer(self) -> bool:
        """It takes plain messages for a program, which decides how many it holds."""
        return self.tasks == PLAIN

    @property
    def free_slots(self) -> int:
        """Slots without a lease."""
        return min(self.slots, self.capacity) - len(self.leases)

    @property
    def room(self) -> int:
        """How many more messages it wants to hold, its margin for short tasks included."""
        return self.capacity - len(self.leases)


def lost_for_good(workers: Iterable[WorkerState], membership: Membership, settings: Settings, now: float) -> list[WorkerState]:
    """Workers whose node was lost and that did not come back through another one in time."""
    lost = []
    for worker in workers:
        if worker.orphaned_at is None:
            continue
        sure = membership.is_reachable(worker.node) or membership.gone_for_sure(worker.node)
        if sure and not worker.fate_is_known:
            worker.orphaned_at = now  # while the node was silent its workers may have been cut off with it
        worker.fate_is_known = sure
        grace_s = settings.orphan_grace_s if sure else settings.takeover_patience_s
        if now - worker.orphaned_at >= grace_s:
            lost.append(worker)
    return lost
