"""Every error that mesh raises, in one tree that says whose fault it is and whether trying again can help.

An error's ``fault`` is one of :class:`Fault`; ``retry`` is true when the same call may succeed later without any change by
the caller; ``exit_code`` is what the command line returns for it (1 failed, 2 usage, 3 not allowed in or not found).
The first line of the docstring is the message when none is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Literal


class Fault(Enum):
    """Whose fault an error is."""

    CALLER = "caller"
    MESH = "mesh"
    PEER = "peer"
    MACHINE = "machine"
    TASK = "task"


class MeshError(Exception):
    """Something went wrong in mesh."""

    fault: Fault = Fault.MESH
    retry: bool = False
    exit_code: int = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


# -- the caller's --------------------


class UsageError(MeshError):
    """The call or the command is wrong as written."""

    fault = Fault.CALLER
    exit_code = 2


class NotEncodable(UsageError, TypeError):
    """A value can't travel in a task's body.

    ``path`` leads to it, for example ``args[0]['user'].photo``.
    """

    def __init__(self, message: str = "", path: str = "") -> None:
        super().__init__(message)
        self.path = path


class BodyTooLarge(UsageError, ValueError):
    """A body is larger than ``max_body_bytes``."""


class InvalidSetting(UsageError, ValueError):
    """A setting has an unknown name or a value out of range."""


class InvalidTopology(UsageError, ValueError):
    """An exchange, queue or binding has a name, type or argument that is not possible."""


class DeclaredOtherwise(UsageError):
    """The exchange or queue exists with other arguments.

    The text shows both; ``mine`` and ``theirs`` are the arguments that differ, by name.
    """

    def __init__(self, message: str = "", mine: Mapping[str, Any] | None = None, theirs: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.mine = dict(mine or {})
        self.theirs = dict(theirs or {})


class InUse(UsageError):
    """The exchange or queue is used: it is exclusive to another program, has consumers, holds messages, or is bound."""


class Closed(UsageError):
    """The connection was closed, or the consumer was cancelled."""


class AppNotFound(UsageError):
    """The application named by ``-A`` can't be loaded."""


class InvalidCanvas(UsageError, ValueError):
    """A workflow is not possible as composed: it contains itself, lacks a part, or a part is no signature."""


class CanvasTooLarge(InvalidCanvas):
    """A workflow has more steps, or is nested deeper, than one may be: submit it in parts, or let a task submit the rest."""


class UnknownTask(UsageError, LookupError):
    """The application has no task of that name."""


# -- being let in, and finding --------------------


class MeshNotFound(MeshError):
    """No mesh answered within the discovery timeout."""

    fault = Fault.MACHINE
    retry = True
    exit_code = 3


class NotAllowed(MeshError):
    """The mesh does not let this machine in."""

    fault = Fault.CALLER
    exit_code = 3


class NotFound(MeshError, LookupError):
    """The mesh does not know what was asked for."""

    fault = Fault.CALLER
    exit_code = 3


class NoCoordinator(MeshError):
    """The mesh has no coordinator right now."""

    retry = True


# -- publishing --------------------


class PublishError(MeshError):
    """A publish was not confirmed.

    ``outcome`` says what is known: ``accepted`` (it will run), ``not accepted`` (it will not) or ``unknown``; ``task_ids`` are the ids
    of the call, ``task_id`` the first of them. Of a call with several messages some may be in all the same: ``accepted_ids``, and the
    outcome is that of the others.
    """

    outcome: Literal["accepted", "not accepted", "unknown"] = "unknown"
    task_ids: Sequence[str] = ()
    accepted_ids: Sequence[str] = ()

    @property
    def task_id(self) -> str:
        """The id of the task, the first one of a batch; empty when the error came from elsewhere, as a task's own failure."""
        return self.task_ids[0] if self.task_ids else ""


class NotAccepted(PublishError):
    """The mesh refused the message; it will not run."""

    outcome = "not accepted"


class Unroutable(NotAccepted):
    """No queue takes the message: no binding of its exchange matches, or there is no such exchange or queue."""

    fault = Fault.CALLER


class PublishUnknown(PublishError, TimeoutError):
    """No answer before the deadline: the message may or may not run. Publishing the same id again is safe."""

    retry = True


class NotEnoughCopies(PublishError):
    """Accepted and kept, but not on as many disks as durability="safe" asks for when the deadline came. It will run.

    ``copies`` is how many disks have it for sure, ``results`` are the AsyncResults of the call and ``result`` the first of them: they
    can be waited for. Publishing the same ids again waits for the copies once more and runs nothing twice.
    """

    outcome = "accepted"
    retry = True

    def __init__(self, message: str = "", copies: int = 1) -> None:
        super().__init__(message)
        self.copies = copies
        self.results: Sequence[Any] = ()

    @property
    def result(self) -> Any:
        """The task's AsyncResult, the first one of a batch; None when the error came from elsewhere, as a task's own failure."""
        return self.results[0] if self.results else None


class MeshBusy(NotAccepted):
    """The mesh took nothing new until the deadline: a limit was reached, and the text says which."""

    retry = True


class QueueFull(MeshBusy):
    """The queue was at its limit (``max_length``, ``max_bytes``) until the deadline, and its ``overflow`` is ``reject-publish``."""


class DiskLow(MeshBusy):
    """A disk is nearly full, and there was no room until the deadline (rule R21)."""

    fault = Fault.MACHINE


# -- results --------------------


class ResultTimeout(MeshError, TimeoutError):
    """The result did not arrive within the timeout; the task goes on."""

    retry = True


class IncompleteStream(MeshError):
    """The task is not over, so that what follows it is not known: use collect(), which waits, or intermediate=True."""

    retry = True


class ResultRemoved(MeshError, LookupError):
    """The task is over, and its result was removed (``result_expires_s``, ``max_results_bytes``)."""

    fault = Fault.CALLER
    exit_code = 3


class TaskError(MeshError):
    """A task raised an exception whose type is neither a builtin nor registered with the application.

    ``type_name`` is the remote type; ``remote_traceback``, ``node`` and ``worker`` say where it happened.
    """

    fault = Fault.TASK

    def __init__(self, message: str = "", type_name: str = "", remote_traceback: str = "", node: str = "", worker: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.remote_traceback = remote_traceback
        self.node = node
        self.worker = worker


class DeliveriesExhausted(TaskError):
    """The task's worker was lost more often than ``max_deliveries`` allows."""


class BodyLost(TaskError):
    """Chunks of a large argument or result are on no disk of the mesh any more, or are not what was sent: publish the task again."""


class TaskDropped(TaskError):
    """The task was dropped before it ran: its queue was over its limit, and ``overflow`` is ``drop-head`` or ``dead-letter``."""


class ChordError(TaskError):
    """A task of a group failed that something waits for; the message names it and its exception."""


class WorkflowIncomplete(TaskError):
    """What the task waits for was never submitted: its program ended while it sent the workflow. Submit it anew."""


class NotUnique(TaskError):
    """The task did not run: another live task has its ``unique`` key. The text has its id."""


class TaskExpired(TaskError):
    """The task was not begun before it expired: by its own ``expires``, or by the ``message_ttl`` of its queue."""


class TaskRevokedError(TaskError):
    """The task was revoked."""


class WorkerLostError(TaskError):
    """The worker was lost while it ran the task, which is delivered once only (``acks_early``)."""


class SoftTimeLimitExceeded(TaskError):
    """The task ran for longer than its soft time limit: raised in the task, which may catch it to clean up."""


class TimeLimitExceeded(TaskError):
    """The task ran for longer than its time limit, and was ended."""


class MaxRetriesExceededError(TaskError):
    """The task asked to be run again more often than ``max_retries`` allows."""


class ResultInTask(UsageError, RuntimeError):
    """A task waits for another one's result: use a chain or a chord, or allow it with ``get(disable_sync_subtasks=False)``."""


# -- what a task raises to say how it goes on --------------------


class TaskPredicate(MeshError):
    """Raised in a task to say that it neither succeeded nor failed."""

    fault = Fault.TASK


class Ignore(TaskPredicate):
    """The task gives up: it fails with this, and no handler of failures is called for it."""


class Reject(TaskPredicate):
    """The worker does not want the task: it goes to the dead letter exchange of its queue, or with ``requeue`` to another worker.

    ``reason`` is for people. Each requeue counts as one of ``max_deliveries``.
    """

    def __init__(self, reason: object = None, requeue: bool = False) -> None:
        super().__init__("" if reason is None else str(reason))
        self.reason = reason
        self.requeue = requeue


class TaskReplaced(TaskPredicate):
    """The task goes on as other ones: what ``self.replace()`` raises."""


class Retry(TaskPredicate):
    """The task is to be run again: what ``self.retry()`` raises.

    ``exc`` is why, ``when`` the seconds from now, or the instant, before which it is not run.
    """

    def __init__(self, message: str = "", exc: BaseException | None = None, when: float | datetime | None = None) -> None:
        super().__init__(message)
        self.exc = exc
        self.when = when


# -- the machine's --------------------


class MachineError(MeshError):
    """Something on this machine has to change first."""

    fault = Fault.MACHINE


class PortInUse(MachineError):
    """Another program listens on the port."""


class StateRefused(MachineError):
    """The state directory can't be used."""

    exit_code = 3


class StateLocked(StateRefused):
    """Another node process uses this state directory."""

    exit_code = 1


class StateTooNew(StateRefused):
    """The state directory was written by a newer version of mesh."""


class StateNotOurs(StateRefused):
    """The state directory belongs to another user, or others can read its secrets."""


class StateDamaged(StateRefused):
    """The state directory is damaged."""


class StateCopied(StateRefused):
    """The state directory is a copy of another node's (rule R3)."""


class IdentityTaken(MachineError):
    """Another process with this node's key is alive (rule R3)."""

    exit_code = 3


class DiskFull(MachineError):
    """The disk has no room for a transaction; nothing of it was written, and it may be tried again."""

    retry = True


class DiskFailed(MachineError):
    """The disk did not keep what was written; the node stops, as its copies can't be trusted to count (rule R7)."""


# -- on the wire --------------------


class ProtocolError(MeshError):
    """A message broke the protocol."""


class LocalProtocolError(ProtocolError):
    """This program tried to send what the protocol does not allow."""

    fault = Fault.MESH


class RemoteProtocolError(ProtocolError):
    """The other side sent what the protocol does not allow."""

    fault = Fault.PEER
