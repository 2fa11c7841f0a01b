"""How a task ended, as an outcome, and who is told of it in the slot: the task's own hooks, and what is connected to signals.

What hooks and receivers raise is logged: it is not the task's failure.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from mesh import signals
from mesh.errors import Ignore, Reject, Retry, TaskReplaced
from mesh.request import Context
from mesh.running import Again, ExceptionInfo
from mesh.wire import bodies
from mesh.wire.calls import Call
from mesh.wire.entries import Message, Status
from mesh.wire.working import Delivery, Outcome, OutcomeKind
from mesh.worker.description import describe, traceback_text
from mesh.worker.plans import Plan

_log = logging.getLogger("mesh.worker")


def returned(plan: Plan, context: Context, value: Any, outcome: Outcome) -> Outcome:
    """The task returned: ``outcome``, unless it has asked to be run again."""
    if context.again is not None:
        return again(plan, context, Retry(exc=context.again.exc))
    if context.messages:
        outcome.messages = context.messages
    if plan.has_hooks or signals.task_success or signals.task_postrun:
        _tell_success(plan, context, value)
    return outcome


def raised(plan: Plan, context: Context, error: BaseException) -> Outcome:
    """The task raised."""
    if isinstance(error, TaskReplaced):
        return Outcome(context.delivery.id, OutcomeKind.REPLACED, messages=context.messages, children=tuple(context.children))
    if not isinstance(error, (Ignore, Reject, Retry)) and plan.running is not None and context.again is None:
        error = _wish(plan, error)
    if isinstance(error, Retry) or (context.again is not None and isinstance(error, Exception)):
        return again(plan, context, error)
    if isinstance(error, Reject):
        signals.task_rejected.send(plan.task, message=context, exc=error)
        return Outcome(context.delivery.id, OutcomeKind.REQUEUED if error.requeue else OutcomeKind.REJECTED)
    failure = describe(error)
    if not isinstance(error, Ignore):
        _tell_failure(plan, context, error)
    return Outcome(context.delivery.id, status=Status.FAILURE, failure=failure, children=tuple(context.children))


def _wish(plan: Plan, error: BaseException) -> BaseException:
    """The exception by which the task goes on: Retry, where ``autoretry_for`` names this one."""
    assert plan.running is not None, "asked before"
    try:
        plan.running.retry_for(error)
    except BaseException as wish:
        return wish
    return error


def again(plan: Plan, context: Context, error: BaseException) -> Outcome:
    """The task is to be run again."""
    delivery = context.delivery
    wanted = context.again or _by_hand(error)
    cause = wanted.exc or error
    try:
        messages = _as_changed(plan, delivery, wanted)
    except Exception as unsendable:
        return Outcome(delivery.id, status=Status.FAILURE, failure=describe(unsendable), children=tuple(context.children))
    if plan.has_hooks or signals.task_retry or signals.task_postrun:
        _tell_retry(plan, context, cause)
    return Outcome(
        delivery.id,
        OutcomeKind.RETRY,
        failure=describe(cause),
        messages=messages,
        delay_ms=int(wanted.delay_s * 1000 + 0.999),  # rounded up: never early
        children=tuple(context.children),
    )


def _by_hand(error: BaseException) -> Again:
    """Of a Retry that the task has made itself."""
    when = error.when if isinstance(error, Retry) else None
    return Again(float(when) if isinstance(when, int | float) else 0.0, error.exc if isinstance(error, Retry) else None, None, None, {})


def _as_changed(plan: Plan, delivery: Delivery, wanted: Again) -> list[Message]:
    """The message that it is run again with, when that is another one. Raises what encoding and routing raise."""
    if wanted.args is None and wanted.kwargs is None and not wanted.options:
        return []
    own_args, own_kwargs = bodies.decode_call(delivery.body)
    args = own_args if wanted.args is None else wanted.args
    kwargs = own_kwargs if wanted.kwargs is None else wanted.kwargs
    if wanted.options and plan.running is not None:
        changed = plan.running.message_again(args, kwargs, wanted.options, delivery)
        return [replace(changed, call=_merged(delivery.call, changed.call), flow=delivery.flow)]
    body = bodies.encode_call(args, kwargs)
    return [
        Message(delivery.id, delivery.queue, delivery.task, body, properties=delivery.properties, call=delivery.call, flow=delivery.flow)
    ]


def _merged(before: Call | None, said: Call | None) -> Call | None:
    """The call as it was, with what is said anew."""
    if before is None or said is None:
        return before or said
    news = {name: getattr(said, name) for name in Call.__struct_fields__ if getattr(said, name) != getattr(Call(), name)}
    return replace(before, **news)


# -- who is told ------------------------------------------------------------------------------------------------------------------


def begin(plan: Plan, context: Context) -> None:
    """The task begins. Raises what its own ``before_start`` raises, which is its failure."""
    if signals.task_prerun:
        signals.task_prerun.send(plan.task, task_id=context.id, task=plan.task, args=context.args, kwargs=context.kwargs)
    if plan.has_hooks and plan.running is not None:
        plan.running.before_start(context.delivery.id, context.args, context.kwargs)


def _tell_success(plan: Plan, context: Context, value: Any) -> None:
    id, args, kwargs = context.delivery.id, context.args, context.kwargs
    signals.task_success.send(plan.task, result=value)
    if plan.has_hooks and plan.running is not None:
        _guarded(plan, plan.running.on_success, value, id, args, kwargs)
        _guarded(plan, plan.running.after_return, "SUCCESS", value, id, args, kwargs, None)
    _tell_end(plan, context, value, "SUCCESS")


def _tell_failure(plan: Plan, context: Context, error: BaseException) -> None:
    if not (plan.has_hooks or signals.task_failure or signals.task_postrun):
        return
    id, args, kwargs = context.delivery.id, context.args, context.kwargs
    info = ExceptionInfo(type(error), error, traceback_text(error))
    signals.task_failure.send(plan.task, task_id=id, exception=error, args=args, kwargs=kwargs, traceback=error.__traceback__, einfo=info)
    if plan.has_hooks and plan.running is not None:
        _guarded(plan, plan.running.on_failure, error, id, args, kwargs, info)
        _guarded(plan, plan.running.after_return, "FAILURE", error, id, args, kwargs, info)
    _tell_end(plan, context, error, "FAILURE")


def _tell_retry(plan: Plan, context: Context, error: BaseException) -> None:
    id, args, kwargs = context.delivery.id, context.args, context.kwargs
    info = ExceptionInfo(type(error), error, traceback_text(error))
    signals.task_retry.send(plan.task, request=context, reason=error, einfo=info)
    if plan.has_hooks and plan.running is not None:
        _guarded(plan, plan.running.on_retry, error, id, args, kwargs, info)
        _guarded(plan, plan.running.after_return, "RETRY", error, id, args, kwargs, info)
    _tell_end(plan, context, error, "RETRY")


def _tell_end(plan: Plan, context: Context, value: Any, state: str) -> None:
    if signals.task_postrun:
        signals.task_postrun.send(
            plan.task,
            task_id=context.id,
            task=plan.task,
            args=context.args,
            kwargs=context.kwargs,
            retval=value,
            state=state,
        )


def _guarded(plan: Plan, hook: Callable[..., Any], *given: Any) -> None:
    try:
        hook(*given)
    except Exception:
        _log.exception("%s of %s raised", getattr(hook, "__name__", "a hook"), plan.name)
