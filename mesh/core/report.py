"""What ``mesh status`` shows, as the coordinator (or, without one, this node) knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from mesh.core.broker.topology_draft import arguments_of
from mesh.core.states import Role
from mesh.wire.entries import Member
from mesh.wire.topology import QueueDeclaration

if TYPE_CHECKING:
    from mesh.core.machine import Machine

PLAIN = frozenset([""])
"""What a consumer of plain messages offers to run."""
_encode = msgspec.json.Encoder().encode


def status_report(machine: Machine) -> bytes:
    """The status of the mesh as JSON; the fields are those of docs/reference/status.md."""
    broker, dispatcher, election = machine.broker, machine.dispatcher, machine.election
    membership, letters = machine.membership, broker.dead_letters
    consumed = {name for worker in broker.workers.values() for name in worker.queues}
    report = {
        "mesh": machine.me.mesh,
        "id": machine.me.mesh_id,
        "coordinator": membership.name_of(election.coordinator) if election.coordinator else None,
        "deputies": [membership.name_of(id) for id in machine.replication.deputies],
        "term": election.term,
        "dispatching": election.role == Role.REIGNING and machine.reign.has_authority(),
        "nodes": [_node(machine, member) for member in sorted(membership.members.values(), key=lambda m: m.name) if member.durable],
        "workers": [
            {
                "name": worker.name,
                "node": membership.name_of(worker.node),
                "queues": worker.queues,
                "tasks": sorted(worker.tasks),
                "slots": worker.slots,
                "active": len(worker.leases),
            }
            for worker in sorted(broker.workers.values(), key=lambda w: w.name)
            if worker.tasks != PLAIN
        ],
        "consumers": [
            {
                "name": worker.name,
                "node": membership.name_of(worker.node),
                "queues": worker.queues,
                "prefetch": worker.capacity,
                "unsettled": len(worker.leases),
                "pid": worker.pid,
            }
            for worker in sorted(broker.workers.values(), key=lambda w: (w.name, w.id))
            if worker.tasks == PLAIN and (worker.queues or worker.leases)
        ],
        "queues": [
            {
                "name": name,
                "declared": _declared(machine, name),
                "set": machine.policies.all_of(name),
                "ready": queue.ready if queue is not None else 0,
                "delayed": queue.delayed if queue is not None else 0,
                "blocked": queue.waiting if queue is not None else 0,
                "unsettled": queue.unsettled if queue is not None else 0,
                "consumers": sum(name in worker.queues for worker in broker.workers.values()),
                "waiting_for": dispatcher.waiting_for(name),
                "waiting_for_targets": dispatcher.waiting_for_targets(name),
                "active_consumer": _active_consumer(machine, name),
                "dead_letters": letters.count(name),
                **_limits(machine, name),
            }
            for name in sorted(
                {*broker.queues, *machine.topology.queues, *broker.dead_letters.queues(), *broker.overflow.dropped, *consumed}
            )
            for queue in [broker.queues.get(name)]
        ],
        "alarms": machine.alarms.report(),
        "under_replicated": machine.replication.under_replicated(),
        "results": {"count": len(broker.results), "bytes": broker.results.bytes, "evicted": broker.results.evicted},
        "counters": {"delivered": dispatcher.delivered, "finished": broker.finished, "redelivered": broker.redelivered},
    }
    return _encode(report)


def _declared(machine: Machine, name: str) -> dict[str, Any] | None:
    """The arguments that say something."""
    queue = machine.topology.queue(name)
    if queue is None:
        return None
    plain = QueueDeclaration(name=name)
    return {key: value for key, value in arguments_of(queue).items() if value != getattr(plain, key) and value is not False} | (
        {} if queue.durable else {"durable": False}
    )


def _active_consumer(machine: Machine, name: str) -> str | None:
    placement = machine.broker.placement
    worker = placement.consumer(name) if name in placement.single else None
    return worker.name if worker is not None else None


def _limits(machine: Machine, name: str) -> dict[str, Any]:
    broker = machine.broker
    queue, limits = broker.queues.get(name), machine.broker.arguments.limits(name)
    return {
        "bytes": queue.bytes if queue is not None else 0,
        "max_length": limits.max_length if limits is not None else 0,
        "max_bytes": limits.max_bytes if limits is not None else 0,
        "overflow": limits.overflow if limits is not None else "",
        "publishers_waiting": broker.admission.waiting(name),
        "dropped": broker.overflow.dropped.get(name, 0),
    }


def _node(machine: Machine, member: Member) -> dict[str, Any]:
    membership, election = machine.membership, machine.election
    me = member.id == machine.me.id
    peer = membership.peers.get(member.id)
    reachable = membership.is_reachable(member.id)
    if me or reachable:
        state = "alive"
    elif not member.present or (peer is not None and (peer.left or (member.sleeps and not peer.refused))):
        state = "away"  # decision 117: of a machine that sleeps silence is no news, but a refused connection is
    else:
        state = "lost"
    if member.id == election.coordinator:
        role = "coordinator"
    elif member.id in machine.replication.deputies:
        role = "deputy"
    else:
        role = "member"
    since_ms = machine.absences.since_ms(member.id)
    return {
        "name": member.name,
        "id": member.id,
        "address": member.addresses[0] if member.addresses else "",
        "state": state,
        "role": role,
        "pid": member.pid,
        "version": member.version,
        "absent_s": None if since_ms is None else max(0, machine.wall_ms - since_ms) // 1000,
        "forgotten": machine.absences.forgotten(member.id),
        "skew_ms": membership.skew_ms(member.id) if me or reachable else None,
    }
