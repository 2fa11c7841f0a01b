"""What a running task has done in its place, or adds to the chord that it is a member of: written in the transaction that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from msgspec.structs import replace

from mesh import ids
from mesh.canvas.composite import step_of
from mesh.canvas.submission import replacement
from mesh.errors import InvalidCanvas, TaskReplaced, UsageError
from mesh.step import Publisher
from mesh.wire.calls import Call
from mesh.wire.entries import Message

if TYPE_CHECKING:
    from mesh.request import Context
    from mesh.result import AsyncResult


def replace_task(app: Publisher, context: Context, step: Any) -> NoReturn:
    """End the running task with the messages of a canvas whose end has its id, and so its result, its successors and its callbacks.

    Raises TaskReplaced, which the worker waits for; UsageError outside of a worker; for the canvas as its ``apply_async``.
    """
    id = _running(context, "replace()")
    messages = replacement(app, step_of(step, "replacement"), id, context.delivery.flow)
    context.messages = [_of_the_tree(message, context) for message in messages]
    raise TaskReplaced(f"task {id} goes on as {len(messages)} other messages")


def add_member(app: Publisher, context: Context, step: Any) -> AsyncResult[Any]:
    """Have the chord of the running task wait for a canvas, too; it is submitted when the task has returned.

    Returns its result. Raises InvalidCanvas when the task is no member of a chord, UsageError outside of a worker.
    """
    running, flow = _running(context, "add_to_chord()"), context.delivery.flow
    if flow is None or not flow.into:
        raise InvalidCanvas(f"task {running} is a member of no chord")
    id = ids.task_id()
    messages = replacement(app, step_of(step, "chord"), id, flow)
    context.messages += [_of_the_tree(message, context) for message in messages]
    context.submitted([id])
    return app.AsyncResult(id)


def _running(context: Context, what: str) -> str:
    id = context.id
    if id is None:
        raise UsageError(f"{what} is for tasks that run in a worker: called as a function, this one has nothing to go on as")
    return id


def _of_the_tree(message: Message, context: Context) -> Message:
    call = message.call or Call()
    known = context.delivery.call or Call()
    group = (known.group, known.group_index) if message.id == context.id else (call.group, call.group_index)
    root, parent = known.root or context.id or "", call.parent or context.parent_id or ""
    return replace(message, call=replace(call, root=root, parent=parent, group=group[0], group_index=group[1]))
