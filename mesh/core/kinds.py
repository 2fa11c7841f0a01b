"""What the messages of one lane have in common: which workers may run them, and before which others."""

from __future__ import annotations

from mesh.wire.entries import Message
from mesh.wire.topology import Properties

PRIORITY_MAX = 255
STEPS_MAX = 1_000_000
"""Members of a group that something waits for."""
MAX_TARGET_CHARS = 300
"""A prefix and a name."""
Kind = tuple[str, int, str]
"""(task, priority, target)"""
NODE, WORKER, NEAR = "node:", "worker:", "near:"
"""How a target begins: only workers of the node with that name or id, only the worker with that name or id; those of the node with that id
rather than others."""


def kind_of(message: Message) -> Kind:
    """The kind of a message."""
    properties = message.properties
    return (message.task, 0, "") if properties is None else (message.task, properties.priority, properties.target)


def restricts(target: str) -> bool:
    """Whether all workers but those that it names have to leave a message with this target alone."""
    return bool(target) and not target.startswith(NEAR)


def properties_of(kind: Kind) -> Properties | None:
    """As much of a message's properties as its kind tells."""
    _, priority, target = kind
    return Properties(priority=priority, target=target) if priority or target else None


def problem_of(properties: Properties) -> str:
    """Why no message can have these, or nothing."""
    if not 0 <= properties.priority <= PRIORITY_MAX:
        return f"invalid: a priority is between 0 and {PRIORITY_MAX}, not {properties.priority}"
    target = properties.target
    if target and not (target.startswith((NODE, WORKER, NEAR)) and not target.endswith(":") and len(target) <= MAX_TARGET_CHARS):
        return f"invalid: a target is node:NAME, worker:NAME or near:NODE_ID, not {target[:40]!r}"
    return ""


def problem_of_flow(message: Message) -> str:
    """Why a message can't have its place in a workflow, or nothing."""
    flow = message.flow
    if flow is None:
        return ""
    if message.id in (flow.after, flow.into):
        return f"invalid: {message.id} waits for itself"
    if flow.gathers >= 0 and message.task:
        return f"invalid: {message.id} gathers values, and can't be a task as well"
    if flow.gathers > STEPS_MAX or not 0 <= flow.place < STEPS_MAX:
        return f"invalid: a group that something waits for has at most {STEPS_MAX} members"
    return ""


def is_for_declared(message: Message) -> bool:
    """Whether a message was routed to a queue that was declared (R22)."""
    return message.properties is not None and message.properties.declared


def expires(message: Message) -> bool:
    """Whether there is an instant after which a message is not handed out any more."""
    return message.properties is not None and message.properties.expires_ms > 0
