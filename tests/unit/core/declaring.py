"""Changes of the topology as tests write them, and what comes of them."""

from __future__ import annotations

import json
from typing import Any

from mesh.wire.messages import Answer, Confirm
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client


def exchange(name: str, type: str = "direct", **more: Any) -> dict[str, Any]:
    return {"do": "declare-exchange", "name": name, "type": type, **more}


def queue(name: str, **more: Any) -> dict[str, Any]:
    return {"do": "declare-queue", "name": name, **more}


def bind(source: str, destination: str, key: str = "", **more: Any) -> dict[str, Any]:
    return {"do": "bind", "source": source, "destination": destination, "routing_key": key, **more}


def delete_queue(name: str, **more: Any) -> dict[str, Any]:
    return {"do": "delete-queue", "name": name, **more}


def delete_exchange(name: str, **more: Any) -> dict[str, Any]:
    return {"do": "delete-exchange", "name": name, **more}


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.error == ""
    found: list[dict[str, Any]] = json.loads(answer.body)["changes"]
    return found


def held(cluster: Cluster, node: str) -> dict[str, str]:
    """Message id to its queue, as the coordinator has it."""
    return {id: record.message.queue for id, record in cluster[node].broker.records.items()}


def publish(client: Client, *ids: str, **more: Any) -> Confirm:
    confirm = client.confirm(client.publish(*ids, **more))
    assert confirm is not None
    return confirm


def three() -> Cluster:
    cluster = Cluster("abc")
    cluster.until(cluster.agreed, 10.0)
    return cluster
