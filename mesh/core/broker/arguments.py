"""What holds for a queue: what an operator has set (``mesh queue set``), above what it was declared with, above the mesh's settings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec.structs import replace

from mesh.core.cluster.policies import Policies
from mesh.core.cluster.topology import Topology
from mesh.wire.topology import QueueDeclaration

QUEUES_KEPT = 10_000
"""Queues whose arguments are kept ready; a program may name a queue for each of its users."""
REJECT_PUBLISH = "reject-publish"
DEAD_LETTER = "dead-letter"
UNDECLARED = QueueDeclaration(name="")
FIELDS = {
    "message_ttl_s": "message_ttl_ms",
    "expires_s": "expires_ms",
    "dead_letter_exchange": "dead_letter_exchange",
    "dead_letter_routing_key": "dead_letter_routing_key",
}
"""What ``mesh queue set`` takes, and the argument that it stands above."""


class Arguments(NamedTuple):
    """The effective arguments of one queue; 0 stands for no limit."""

    max_length: int
    max_bytes: int
    overflow: str
    max_deliveries: int
    declaration: QueueDeclaration
    """The rest; of a queue that was not declared without a name."""

    @property
    def limited(self) -> bool:
        """Whether there is a limit to what waits in it."""
        return bool(self.max_length or self.max_bytes)

    @property
    def rejects(self) -> bool:
        """Whether publishers have to wait for room."""
        return self.overflow == REJECT_PUBLISH


class QueueArguments:
    """The arguments of all queues, worked out when they are first asked for."""

    def __init__(self, policies: Policies, topology: Topology) -> None:
        self._policies = policies
        self._topology = topology
        self._kept: dict[str, Arguments] = {}
        policies.on_changed.append(self._kept.clear)
        topology.on_queue_changed.append(self._forget)

    def _forget(self, queue: str) -> None:
        self._kept.pop(queue, None)

    def of(self, queue: str) -> Arguments:
        """A queue's arguments, declared or not."""
        try:
            return self._kept[queue]
        except KeyError:
            if len(self._kept) >= QUEUES_KEPT:
                self._kept.clear()
            arguments = self._kept[queue] = self._work_out(queue)
            return arguments

    def limits(self, queue: str) -> Arguments | None:
        """A queue's arguments, None when it has no limits."""
        arguments = self.of(queue)
        return arguments if arguments.limited else None

    def any_limits(self) -> bool:
        """Whether some queue has limits: a quick look before the queues are asked one by one."""
        return self._policies.any_limits() or self._topology.any_limits

    def any_stamps(self) -> bool:
        """Whether some queue makes anything of the properties of its messages."""
        return self._policies.any_queues() or bool(self._topology.queues)

    def expiring(self) -> Iterable[str]:
        """Declared queues that were set to go when they are not used."""
        return [queue for queue in self._policies.queues_with("expires_s") if queue in self._topology.queues]

    def _work_out(self, queue: str) -> Arguments:
        declared = self._topology.queue(queue) or UNDECLARED

        def effective(name: str) -> Any:
            own = self._policies.own(queue, name)
            return own if own is not None else getattr(declared, name) or self._policies.of_mesh(name)

        limits = (effective("max_length"), effective("max_bytes"), effective("overflow"), effective("max_deliveries"))
        return Arguments(*limits, self._above(declared, queue))

    def _above(self, declared: QueueDeclaration, queue: str) -> QueueDeclaration:
        """The declaration with what was set above it."""
        fields: dict[str, Any] = {}
        for setting, field in FIELDS.items():
            value = self._policies.own(queue, setting)
            if value is not None:
                fields[field] = round(value * 1000) if field.endswith("_ms") else value
        return replace(declared, **fields) if fields else declared


def describe(limits: Arguments) -> str:
    """A queue's limits, for people."""
    parts = [f"{name} = {value}" for name, value in (("max_length", limits.max_length), ("max_bytes", limits.max_bytes)) if value]
    return " and ".join(parts)
