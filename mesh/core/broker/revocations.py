"""Tasks that are revoked: they have a result from then on, so nothing runs them any more, wherever their message is (R16).

That is all there is to it: the result is durable and replicated, a message that comes later is a duplicate of what is over, and a worker
that runs the task tells of an end that came too late (R28). Workers are told, too, so that they need not begin, or are to end, in vain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from mesh.core.broker.queues import Record
from mesh.core.states import RecordState
from mesh.errors import InvalidSetting
from mesh.wire.calls import Cancel
from mesh.wire.entries import Failure, Message, Status
from mesh.wire.messages import Outcome, PeerMessage

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

REVOKED = "mesh.errors.TaskRevokedError"
IDS_MAX = 100_000
"""In one question."""


class Revocation(msgspec.Struct, forbid_unknown_fields=True):
    """The argument of the question ``revoke``: which tasks, and what is to be done about those that run."""

    ids: list[str] = []
    """Also of tasks that nobody has submitted yet: they will not run then."""
    groups: list[str] = []
    """All live members of these, and what their group is followed by."""
    stamps: dict[str, list[str]] = {}
    """All live tasks with one of these values for one of these stamps."""
    terminate: bool = False
    """End what runs."""
    signal: str = "SIGTERM"


class Revocations:
    """Ends tasks for good that a person or a program does not want any more."""

    def __init__(self, broker: Broker, post: Callable[[str, PeerMessage, bool], None]) -> None:
        self._broker = broker
        self._post = post

    def revoke(self, wanted: Revocation) -> list[dict[str, Any]]:
        """One transaction: all of them have a result. Answers for each what became of it: ``revoked`` or ``ended``, and whether it ran."""
        if len(wanted.ids) > IDS_MAX:
            raise InvalidSetting(f"{len(wanted.ids)} ids: one call revokes at most {IDS_MAX}")
        rows: list[dict[str, Any]] = []
        cancelled: dict[str, list[str]] = {}
        for id in dict.fromkeys([*wanted.ids, *self._found(wanted)]):
            rows.append(self._revoke(id, cancelled))
        for worker_id, ids in cancelled.items():
            worker = self._broker.workers.get(worker_id)
            if worker is not None:
                self._post(worker.node, Cancel(worker_id, ids, wanted.signal if wanted.terminate else ""), False)
        return rows

    def _found(self, wanted: Revocation) -> Iterable[str]:
        groups, stamps = set(wanted.groups), wanted.stamps
        if not (groups or stamps):
            return []
        return [
            id for id, record in self._broker.records.items() if _belongs(record.message, groups) or _is_stamped(record.message, stamps)
        ]

    def _revoke(self, id: str, cancelled: dict[str, list[str]]) -> dict[str, Any]:
        broker = self._broker
        if id in broker.results or id in broker.ended:
            return {"id": id, "became": "ended", "ran": False}
        record = broker.record(id)
        outcome = Outcome(id, status=int(Status.REVOKED), failure=Failure(REVOKED, _why(id, record)))
        if record is None:
            broker.conclude_unseen(outcome)
            return {"id": id, "became": "revoked", "ran": False}
        runs = record.state is RecordState.LEASED and record.held is None
        if runs:
            cancelled.setdefault(record.worker, []).append(id)
        broker.finish(record, outcome, broker.workers.get(record.worker) if runs else None)
        return {"id": id, "became": "revoked", "ran": runs}


def _why(id: str, record: Record | None) -> str:
    name = f"{record.message.task}[{id}]" if record is not None and record.message.task else id
    return f"task {name} was revoked"


def _belongs(message: Message, groups: set[str]) -> bool:
    call, flow = message.call, message.flow
    return (call is not None and call.group in groups) or message.id in groups or (flow is not None and flow.into in groups)


def _is_stamped(message: Message, stamps: dict[str, list[str]]) -> bool:
    call = message.call
    return call is not None and any(call.stamps.get(name) in values for name, values in stamps.items() if name in call.stamps)
