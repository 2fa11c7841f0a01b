"""The arguments of a step of a workflow: what it has waited for comes before its own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from mesh.client.failures import rebuild
from mesh.request import Context
from mesh.wire import bodies
from mesh.wire.calls import Input
from mesh.wire.entries import Chunks, Result, Status
from mesh.wire.messages import Delivery

NEW_STYLE_PARAMETERS = 3
"""An error callback with so many gets (request, exception, traceback), one with fewer the id of the task that failed:
Celery's rule. The request is its :class:`mesh.request.Context`, as far as that is known here: id and name."""


INPUT = "input of "
"""Before the id of a task: the name of what it has waited for, among the large bodies of deliveries."""


def large_bodies(delivery: Delivery) -> dict[str, Chunks]:
    """What of a delivery did not come with it, by name: its arguments by the task's id, and what it has waited for."""
    found = {delivery.id: delivery.chunks} if delivery.chunks is not None else {}
    if delivery.input is not None and delivery.input.chunks is not None:
        found[INPUT + delivery.id] = delivery.input.chunks
    return found


def arguments_with(
    delivery: Delivery, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a step is called with: the value of the one before it, or how that failed, and then the arguments of its own signature."""
    given, flow = delivery.input, delivery.flow
    if given is None or flow is None or not flow.takes_value:
        return args, kwargs
    if given.failure is None:
        return (bodies.decode(given.body), *args), kwargs
    if _positional(function) - len(args) < NEW_STYLE_PARAMETERS:
        return (given.id, *args), kwargs
    failed = Context(Delivery(given.id, given.task, b"", 0, ""))
    return (failed, _error(given), given.failure.traceback, *args), kwargs


def _error(given: Input) -> Exception:
    return rebuild(Result(given.id, int(Status.FAILURE), failure=given.failure), {})


def _positional(function: Callable[..., Any]) -> int:
    """How many positional arguments a function takes."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 0
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return NEW_STYLE_PARAMETERS * 1000
    return sum(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters)
