"""Canvases on their way into the mesh, and the results that wait for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from msgspec.structs import replace

from mesh import ids
from mesh.canvas.compiler import Plan, Planned, TaskNode, compile_canvas, compile_replacement
from mesh.group_result import GroupResult
from mesh.result import AsyncResult
from mesh.signature import DEFAULT_QUEUE
from mesh.step import Publisher, Step
from mesh.wire.calls import Call, Flow
from mesh.wire.entries import Message


def submit(app: Publisher, steps: Sequence[Step]) -> list[Any]:
    """Submit canvases as one batch; returns the result of each.

    Raises InvalidCanvas, CanvasTooLarge, and for each step what Task.apply_async raises.
    """
    plan = compile_canvas(steps, ids.task_id, app.tasks)
    results = app.submit_messages(messages_of(app, plan), [node.id for node in plan.nodes if isinstance(node, TaskNode)])
    return results_of(app, plan, results)


def replacement(app: Publisher, step: Step, id: str, flow: Flow | None) -> list[Message]:
    """The messages of what runs in place of the task ``id``, whose place in a workflow is ``flow``. Raises as :func:`submit`."""
    return messages_of(app, compile_replacement(step, id, flow, ids.task_id, app.tasks))


def messages_of(app: Publisher, plan: Plan) -> list[Message]:
    """The messages of a plan, those of its gathers among them. Raises what Task.apply_async raises."""
    queues: dict[str, str] = {}
    messages: list[Message] = []
    for planned in plan.messages:
        if planned.step is None:
            messages.append(Message(planned.id, "", "", b"", flow=planned.flow))
        else:
            message = app.message_of(planned.step, id=planned.id, flow=planned.flow)
            if planned.flow is not None and planned.flow.after:
                queues[planned.flow.after] = message.queue
            messages.append(message)
        _place(messages[-1], planned)
    some = next((message.queue for message in messages if message.queue), DEFAULT_QUEUE)
    for message in messages:
        if message.flow is not None and message.flow.gathers >= 0:
            message.queue = queues.get(message.id) or some  # what follows it tells where its values are wanted
    return messages


def _place(message: Message, planned: Planned) -> None:
    """Say of which workflow and group it is."""
    root = "" if planned.root == planned.id else planned.root
    if not (root or planned.group):
        return
    parent = planned.flow.after if planned.flow is not None else ""
    call = message.call
    if call is None:
        message.call = Call(root=root, parent=parent, group=planned.group, group_index=planned.index)
    else:  # one task's calls share it
        message.call = replace(call, root=call.root or root, parent=parent or call.parent, group=planned.group, group_index=planned.index)


def results_of(app: Publisher, plan: Plan, results: Sequence[AsyncResult[Any]]) -> list[Any]:
    """The results of the canvases, each with its parents and members; ``results`` are those of the plan's tasks, in order."""
    made: dict[int, Any] = {}
    coming = iter(results)
    for node in plan.nodes:
        result = made[id(node)] = next(coming) if isinstance(node, TaskNode) else GroupResult(node.id, [], app=app)
        if node.parent is not None:
            result.parent = made[id(node.parent)]
    by_id = {result.id: ref(result) for result in results}
    for node, result in zip(plan.nodes, made.values(), strict=True):
        if isinstance(node, TaskNode):
            if node.following:
                result.following = {id: by_id[id] for id in node.following}
        else:
            result.results = [made[id(member)] for member in node.members]
    return [made[id(node)] for node in plan.top]
