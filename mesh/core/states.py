"""Every state machine of the core, each as one table. A transition that is not in its table is a bug and raises."""

from __future__ import annotations

from enum import IntEnum

from mesh.errors import LocalProtocolError
from mesh.wire.entries import Status


class Role(IntEnum):
    """What a node is in the election (after Raft's roles, with the reconciliation before a reign made explicit, R9)."""

    FOLLOWER = 0
    """Follows a coordinator, or waits for one."""
    CANDIDATE = 1
    """Asks whether it would be elected (pre-vote; Ongaro's thesis, 9.6)."""
    ELECTING = 2
    """Has raised its term and asks for votes."""
    RECONCILING = 3
    """Elected; collects the reports of all reachable members before it dispatches."""
    REIGNING = 4
    """The coordinator."""


class RoleEvent(IntEnum):
    """What moves a node from one role to another."""

    STAND = 0
    """No coordinator is heard and it is this node's turn."""
    PRE_VOTES_WON = 1
    VOTES_WON = 2
    RECONCILED = 3
    ROUND_LOST = 4
    """The round timed out or was refused."""
    YIELD = 5
    """A higher term or another coordinator was heard, or this node stalled or leaves."""


ROLE_TRANSITIONS: dict[Role, dict[RoleEvent, Role]] = {
    Role.FOLLOWER: {RoleEvent.STAND: Role.CANDIDATE, RoleEvent.YIELD: Role.FOLLOWER},
    Role.CANDIDATE: {RoleEvent.PRE_VOTES_WON: Role.ELECTING, RoleEvent.ROUND_LOST: Role.FOLLOWER, RoleEvent.YIELD: Role.FOLLOWER},
    Role.ELECTING: {RoleEvent.VOTES_WON: Role.RECONCILING, RoleEvent.ROUND_LOST: Role.FOLLOWER, RoleEvent.YIELD: Role.FOLLOWER},
    Role.RECONCILING: {RoleEvent.RECONCILED: Role.REIGNING, RoleEvent.YIELD: Role.FOLLOWER},
    Role.REIGNING: {RoleEvent.YIELD: Role.FOLLOWER},
}


class RecordState(IntEnum):
    """What the coordinator does with a live message."""

    DELAYED = 0
    READY = 1
    LEASED = 2
    SETTLED = 3
    PAGED = 4
    """On the disk only; the record is forgotten, and made anew when the message is needed."""
    WAITING = 5
    """What it comes after in its workflow has not ended, or it is a gather."""


class RecordEvent(IntEnum):
    """What moves a message from one state to another."""

    DUE = 0
    DELIVERED = 1
    GIVEN_BACK = 2
    """The worker did not start it."""
    ENDED = 3
    """It finished, was superseded or was settled elsewhere."""
    PAGED_OUT = 4
    """There is no room for it in memory."""
    PAGED_IN = 5
    """Its turn comes, or somebody holds it."""
    AWAITED = 6
    """What it comes after is to end first."""
    RUNNABLE = 7
    """What it comes after has ended."""
    POSTPONED = 8
    """It is not due, or its body is not here."""


RECORD_TRANSITIONS: dict[RecordState, dict[RecordEvent, RecordState]] = {
    RecordState.DELAYED: {
        RecordEvent.DUE: RecordState.READY,
        RecordEvent.DELIVERED: RecordState.LEASED,  # a worker reports that it holds it
        RecordEvent.ENDED: RecordState.SETTLED,
        RecordEvent.AWAITED: RecordState.WAITING,  # the result that it goes by was taken back
    },
    RecordState.READY: {
        RecordEvent.DELIVERED: RecordState.LEASED,
        RecordEvent.ENDED: RecordState.SETTLED,
        RecordEvent.PAGED_OUT: RecordState.PAGED,
        RecordEvent.AWAITED: RecordState.WAITING,
        RecordEvent.POSTPONED: RecordState.DELAYED,
    },
    RecordState.LEASED: {
        RecordEvent.GIVEN_BACK: RecordState.READY,
        RecordEvent.ENDED: RecordState.SETTLED,
        RecordEvent.PAGED_OUT: RecordState.PAGED,  # given back before it was read
    },
    RecordState.SETTLED: {},
    RecordState.PAGED: {RecordEvent.PAGED_IN: RecordState.READY},
    RecordState.WAITING: {
        RecordEvent.RUNNABLE: RecordState.READY,
        RecordEvent.DELIVERED: RecordState.LEASED,  # a worker reports that it holds it
        RecordEvent.ENDED: RecordState.SETTLED,
    },
}


class TaskEvent(IntEnum):
    """What moves a task from one state to another, as people see it."""

    DELIVERED = 0
    """A worker has it."""
    BEGUN = 1
    """It has said so: ``track_started``, or a state of its own."""
    GIVEN_BACK = 2
    """The worker has not begun it, or was lost: somebody else gets it."""
    ASKED_AGAIN = 3
    RETURNED = 4
    RAISED = 5
    """Also: it was dropped, lost too often, or what it waited for failed."""
    GIVEN_UP = 6
    """It was revoked, or expired."""
    FORGOTTEN = 7
    """Its result was removed."""


_ENDS = {TaskEvent.RETURNED: Status.SUCCESS, TaskEvent.RAISED: Status.FAILURE, TaskEvent.GIVEN_UP: Status.REVOKED}
_RUNS = {TaskEvent.BEGUN: Status.STARTED, TaskEvent.GIVEN_BACK: Status.PENDING, TaskEvent.ASKED_AGAIN: Status.RETRY, **_ENDS}
TASK_TRANSITIONS: dict[Status, dict[TaskEvent, Status]] = {
    Status.UNKNOWN: {TaskEvent.DELIVERED: Status.RECEIVED, **_ENDS},
    Status.PENDING: {TaskEvent.DELIVERED: Status.RECEIVED, **_ENDS},
    Status.RECEIVED: _RUNS,
    Status.STARTED: _RUNS,
    Status.RETRY: {TaskEvent.DELIVERED: Status.RECEIVED, **_ENDS},
    Status.SUCCESS: {TaskEvent.FORGOTTEN: Status.REMOVED},
    Status.FAILURE: {TaskEvent.FORGOTTEN: Status.REMOVED},
    Status.REVOKED: {TaskEvent.FORGOTTEN: Status.REMOVED},
    Status.REMOVED: {},
}
"""A state of the task's own stands beside STARTED."""


def next_status(status: Status, event: TaskEvent) -> Status:
    """The state of a task after an event. Raises LocalProtocolError when the table has no such transition."""
    try:
        return TASK_TRANSITIONS[status][event]
    except KeyError:
        raise LocalProtocolError(f"a task does not go from {status.name} by {event.name}") from None


def next_role(role: Role, event: RoleEvent) -> Role:
    """The role after an event. Raises LocalProtocolError when the table has no such transition."""
    try:
        return ROLE_TRANSITIONS[role][event]
    except KeyError:
        raise LocalProtocolError(f"no transition from {role.name} by {event.name}") from None
