"""The way of a message as people want to see it: exchange by exchange, to the queues and to who consumes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mesh.core.broker.topology_draft import arguments_of
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.topology import Topology
from mesh.errors import InvalidTopology
from mesh.wire.topology import Headers

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker


class RouteAsked(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``route``."""

    queue: str = ""
    """To this queue by its name; empty: the exchange decides."""
    exchange: str = ""
    routing_key: str = ""
    headers: Headers = {}
    task: str = ""
    """Which of the consumers run it."""


_decoder = msgspec.json.Decoder(RouteAsked)


def explain(broker: Broker, topology: Topology, membership: Membership, argument: str) -> dict[str, Any]:
    """The steps of a message and the queues at their end. Raises InvalidTopology."""
    try:
        asked = _decoder.decode(argument)
    except msgspec.DecodeError as error:
        raise InvalidTopology(f"a route that is not possible: {error}") from None
    routing, refusal = topology.routing, ""
    if asked.queue:
        steps: list[dict[str, Any]] = []
        queues: tuple[str, ...] = (asked.queue,)
    else:
        refusal = routing.refusal(asked.exchange)
        found = routing.explain(asked.exchange, asked.routing_key, asked.headers)
        steps = [
            {
                "exchange": step.exchange,
                "type": step.kind,
                "came_from": step.came_from,
                "matched": [arguments_of(binding) for binding in step.matched],
                "alternate": step.alternate,
            }
            for step in found
        ]
        queues = () if refusal else routing.route(asked.exchange, asked.routing_key, asked.headers)
    return {"refusal": refusal, "steps": steps, "queues": [_queue(broker, topology, membership, name, asked.task) for name in queues]}


def _queue(broker: Broker, topology: Topology, membership: Membership, name: str, task: str) -> dict[str, Any]:
    queue = broker.queues.get(name)
    return {
        "name": name,
        "declared": topology.queue(name) is not None,
        "waiting": queue.length if queue is not None else 0,
        "consumers": [
            {"worker": worker.name, "node": membership.name_of(worker.node), "runs_it": task in worker.tasks}
            for worker in sorted(broker.workers.values(), key=lambda worker: (worker.name, worker.id))
            if name in worker.queues
        ],
    }
