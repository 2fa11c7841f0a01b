"""What went wrong elsewhere becomes exceptions: a node's refusals by their code, a task's failures by their type's name.

Of types only builtins, mesh's own errors and registered ones count; nothing is imported because a name says so.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from typing import Any

from mesh import errors
from mesh.errors import (
    BodyTooLarge,
    DeclaredOtherwise,
    DiskLow,
    InUse,
    InvalidSetting,
    InvalidTopology,
    MeshBusy,
    MeshError,
    NoCoordinator,
    NotAccepted,
    NotFound,
    QueueFull,
    TaskError,
    Unroutable,
)
from mesh.wire.bodies import decode
from mesh.wire.entries import Failure, Result, Status

BUILTIN_ERRORS: Mapping[str, type[Exception]] = {
    f"builtins.{name}": kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)
}
"""Exceptions only: SystemExit and KeyboardInterrupt of a task must not end the caller."""
OWN_ERRORS: Mapping[str, type[Exception]] = {
    f"mesh.errors.{name}": kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, MeshError)
}


REFUSALS: Mapping[str, type[MeshError]] = {
    "too-large": BodyTooLarge,
    "disk-low": DiskLow,
    "queue-full": QueueFull,
    "busy": MeshBusy,
    "unroutable": Unroutable,
}
"""The code that a Confirm's error begins with; any other is a NotAccepted."""
ANSWERS: Mapping[str, type[MeshError]] = {
    "invalid": InvalidSetting,
    "not-found": NotFound,
    "no-coordinator": NoCoordinator,
    "invalid-topology": InvalidTopology,
    "declared-otherwise": DeclaredOtherwise,
    "in-use": InUse,
}
"""The code that an Answer's error begins with; any other is a MeshError."""
WITHOUT_COORDINATOR = "; while it elects one this takes a second or two; for longer see `mesh status`: start the nodes that are lost"


def refusal(text: str) -> MeshError:
    """The error for a Confirm that accepts nothing (``code: text``)."""
    return REFUSALS.get(text.partition(":")[0], NotAccepted)(text)


def answer_error(text: str, body: bytes = b"null") -> MeshError:
    """The error for an Answer (``code: text``), without the code when it has become the type; the body says more of some."""
    code, _, plain = text.partition(": ")
    kind = ANSWERS.get(code)
    if kind is None:
        return MeshError(text)
    if kind is DeclaredOtherwise:
        return DeclaredOtherwise(plain, **(json.loads(body) or {}))
    return kind(plain.partition(";")[0] + WITHOUT_COORDINATOR if kind is NoCoordinator else plain)


def type_name(kind: type) -> str:
    """What a type is called on the wire: module and qualified name."""
    return f"{kind.__module__}.{kind.__qualname__}"


def rebuild(result: Result, registered: Mapping[str, type[Exception]]) -> Exception:
    """The exception that a task ended with, a new one at each call.

    It has the remote type when that is a builtin, one of mesh's own or in ``registered`` (by :func:`type_name`) and can be made
    from its arguments; else it is a TaskError. It carries ``remote_traceback``, ``node`` and ``worker``, and a note that shows them.
    """
    failure = result.failure or Failure("", "the task was revoked or ended without saying why")
    kind = BUILTIN_ERRORS.get(failure.type_name) or OWN_ERRORS.get(failure.type_name) or registered.get(failure.type_name)
    error = _make(kind, failure) if kind is not None else None
    if error is None:
        name = failure.type_name.removeprefix("builtins.")
        error = TaskError(f"{name}: {failure.message}" if name else failure.message)
    details = {"remote_traceback": failure.traceback, "node": result.node, "worker": result.worker}
    if isinstance(error, TaskError):
        details["type_name"] = failure.type_name
    for name, value in details.items():
        try:
            setattr(error, name, value)
        except AttributeError:  # a registered type with such a property of its own: the note still tells
            pass
    if result.status != Status.REMOVED:
        error.add_note(_note(result, failure))
    return error


def _make(kind: type[Exception], failure: Failure) -> Exception | None:
    try:
        arguments: Any = decode(failure.arguments) if failure.arguments else (failure.message,)
        error = kind(*arguments)
    except Exception:  # whatever a registered type's constructor raises
        return None
    return error if isinstance(error, kind) else None


def _note(result: Result, failure: Failure) -> str:
    head = f"task {result.id} failed"
    if result.node:
        head += f" on node {result.node} in worker {result.worker}"
    return f"{head}:\n{failure.traceback.rstrip()}" if failure.traceback else head
