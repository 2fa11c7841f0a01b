"""Where a task is, why it does not run, and what has happened so far: one look at everything that the coordinator knows of it.

Each reason has a code for programs and a sentence for people, the one that holds it up first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mesh.core.broker.dead_letters import list_of
from mesh.core.broker.queues import Record
from mesh.core.broker.results import Removed
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.pages import Pages
from mesh.core.cluster.replica import Journal
from mesh.core.kinds import kind_of, restricts
from mesh.core.states import RecordState
from mesh.wire.calls import Flow, When
from mesh.wire.entries import HELD_LISTS, DeadLetter, Message, Result, Status

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

SHOWN_MAX = 5
"""Ids that a sentence names."""


class Why:
    """Answers the question ``why``."""

    def __init__(self, broker: Broker, pages: Pages, membership: Membership, has_authority: Callable[[], bool]) -> None:
        self._broker = broker
        self._pages = pages
        self._membership = membership
        self._has_authority = has_authority

    def explain(self, id: str) -> dict[str, Any]:
        """What is known of a task or message."""
        broker = self._broker
        result, held = broker.results.get(id), broker.dead_letters.get(id)
        record = broker.records.get(id)
        letter = held[2] if held is not None else None
        if result is None and record is None:
            paged = broker.paging.find(id)
            if paged is not None:
                return self._paged(id, *paged)
        if result is not None:
            return self._ended(result, letter)
        if record is not None:
            return self._row(id, record.message, *self._of_record(record))
        if letter is not None:
            return self._row(id, letter.message, "DEAD", [_of_letter(letter)])
        if id in broker.pushes.removed:
            failure = Removed.result(id).failure
            return self._row(id, None, Status.REMOVED.name, [("removed", failure.message if failure is not None else "")])
        if id in broker.ended:
            return self._row(id, None, "ENDED", [("ended", "it was a plain message, and its consumer has dealt with it")])
        if broker.takeover.has_any([id]):
            return self._row(id, None, Status.STARTED.name, [("message-away", "a worker has it; its message is on a node that is away")])
        text = f"the mesh has never heard of {id}, or it is on the disk of a node that is away ({self._away() or 'none is'})"
        return self._row(id, None, Status.UNKNOWN.name, [("unknown", text)])

    def _row(self, id: str, message: Message | None, state: str, reasons: list[tuple[str, str]]) -> dict[str, Any]:
        call = message.call if message is not None else None
        history = message.history if message is not None else ()
        return {
            "id": id,
            "task": message.task if message is not None else "",
            "queue": message.queue if message is not None else "",
            "state": state,
            "reasons": [{"code": code, "text": text} for code, text in reasons],
            "retries": call.retries if call is not None else 0,
            "attempts": [
                {"node": lost.node, "worker": lost.worker, "started_ms": lost.started_ms, "ended_ms": lost.ended_ms, "how": lost.how}
                for lost in history
            ],
            "result": None,
        }

    # -- what is over --------------------

    def _ended(self, result: Result, letter: DeadLetter | None) -> dict[str, Any]:
        row = self._row(result.id, letter.message if letter is not None else None, Status(result.status).name, [])
        row["task"] = result.task or row["task"]
        failure = result.failure
        what = f"{failure.type_name.rpartition('.')[2]}: {failure.message}" if failure is not None else ""
        if result.skipped:
            cause = result.flow.after if result.flow is not None else ""
            reason = ("skipped", f"it never ran, as {self._named(cause)} came first: {what}")
        elif failure is not None:
            reason = (_CAUSES.get(failure.type_name, "failed"), f"it failed: {what}")
        else:
            reason = ("done", "it has ended well")
        reasons = [reason, _of_letter(letter)] if letter is not None else [reason]
        row["reasons"] = [{"code": code, "text": text} for code, text in reasons]
        row["result"] = {"at_ms": result.at_ms, "node": result.node, "worker": result.worker, "error": what}
        return row

    # -- what is live --------------------

    def _of_record(self, record: Record) -> tuple[str, list[tuple[str, str]]]:
        message = record.message
        if record.state is RecordState.WAITING:
            return "WAITING", self._waits(message)
        if record.state is RecordState.LEASED:
            worker = self._broker.workers.get(record.worker)
            name = f"worker {(worker.name if worker is not None else '') or record.worker}"
            where = f" on {self._membership.name_of(worker.node)}" if worker is not None else ""
            if record.held is not None:
                return Status.PENDING.name, [("deputies", f"it leaves for {name}{where} as soon as the deputies know of that")]
            if worker is not None and worker.orphaned_at is not None:
                return Status.STARTED.name, [("worker-away", f"{name}{where} has it, and is not heard; it may come back")]
            return Status.STARTED.name, [("running", f"{name}{where} has it")]
        if record.state is RecordState.DELAYED:
            return Status.PENDING.name, [self._delayed(message)]
        return Status.PENDING.name, self._ready(message, record.order)

    def _delayed(self, message: Message) -> tuple[str, str]:
        if not self._broker.bodies.is_here(message):
            return ("body", "its body is not here: the node that has the rest of it is away")
        return ("not-due", f"it is not due before {message.eta_ms} (milliseconds since 1970)")

    def _paged(self, id: str, journal: Journal, sequence: int) -> dict[str, Any]:
        pages = self._pages
        place = journal.paged.get(sequence)
        assert place is not None, "the index names what is there"
        header = pages.header(place.lane, place.key)
        reasons = [("not-due", "it is not due")] if header.eta_ms else self._ready(header, None)
        return self._row(id, header, Status.PENDING.name, [*reasons, ("on-disk", "it is on the disk, and read when its turn comes")])

    def _ready(self, message: Message, order: int | None) -> list[tuple[str, str]]:
        """Why something that might run does not, what concerns most first."""
        broker, queue, kind = self._broker, message.queue, kind_of(message)
        if queue in broker.purge.under_way:
            return [("purge", f"the queue {queue!r} is being emptied, and nothing of it is handed out")]
        if broker.placement.is_withheld(queue):
            return [("withheld", f"the queue {queue!r} may be gone; that is known when everybody here has said what he holds")]
        if not self._has_authority():
            return [("no-authority", f"nothing is handed out: this side has no majority, and {self._away() or 'others'} may be at work")]
        consumers = [worker for worker in broker.workers.values() if queue in worker.queues]
        if not consumers:
            return [("no-consumer", f"no worker consumes the queue {queue!r}; start one with: mesh worker -Q {queue}")]
        able = [worker for worker in consumers if message.task in worker.tasks]
        what = f"the task {message.task!r}" if message.task else "plain messages"
        if not able:
            names = ", ".join(sorted(worker.name for worker in consumers)[:SHOWN_MAX])
            return [
                ("no-capable-worker", f"{what} is known to none of the workers of {queue!r}: {names}; do they run an older application?")
            ]
        if restricts(kind[2]):
            able = [worker for worker in able if broker.placement.can_run(worker, queue, kind) or not worker.synced]
            if not able:
                return [("no-target", f"it is for {kind[2]} alone, and no worker there can run it")]
        if queue in broker.placement.single and (consumer := broker.placement.consumer(queue)) is not None:
            able = [worker for worker in able if worker is consumer]
            if not able:
                return [("single-consumer", f"the queue {queue!r} has one consumer at a time, {consumer.name}, which can't run it")]
        if not any(worker.synced for worker in able):
            return [("not-synced", "the workers that can run it have not said yet what they hold")]
        if not any(worker.capacity for worker in able):
            return [("no-capacity", "the workers that can run it take nothing new: they stop, or their slots are being replaced")]
        if not any(worker.room > 0 for worker in able):
            line = f"; {self._before(queue, order)} are before it" if order is not None else ""
            return [("busy", f"all {len(able)} workers that can run it have as much as they want{line}")]
        return [("next", "it is about to be handed out")]

    def _before(self, queue: str, order: int) -> int:
        """How many in memory are before a place in the line."""
        others = (record for record in self._broker.records.values() if record.message.queue == queue)
        return sum(other.order < order and other.state is RecordState.READY for other in others)

    # -- workflows --------------------

    def _waits(self, message: Message) -> list[tuple[str, str]]:
        """What a step waits for, and what holds that up: to the first that does not wait itself."""
        reasons = [self._wait(message)]
        id, seen = self._awaited(message), {message.id, ""}
        while id not in seen and len(reasons) < SHOWN_MAX:
            seen.add(id)
            record = self._broker.records.get(id)
            if record is None or record.state is not RecordState.WAITING:
                reasons += [(one["code"], f"{self._named(id)}: {one['text']}") for one in self.explain(id)["reasons"][:1]]
                break
            code, text = self._wait(record.message)
            reasons.append((code, f"{self._named(id)}: {text}"))
            id = self._awaited(record.message)
        return reasons

    def _wait(self, message: Message) -> tuple[str, str]:
        flow = message.flow or Flow()
        if flow.after and flow.after not in self._broker.results:
            return ("predecessor", f"it waits until {self._named(flow.after)} has {'failed' if flow.when == When.FAILURE else 'ended'}")
        if flow.gathers < 0:
            return ("body", f"the value of {self._named(flow.after)} is not here: the node that has the rest of it is away")
        lacking = self._broker.flows.lacking(message.id)
        if not lacking:
            return ("gathering", "its values are being put together")
        ids = self._coming(message.id)
        named = f"{', '.join(self._named(id) for id in ids[:SHOWN_MAX])}{' ...' if len(ids) > SHOWN_MAX else ''}"
        return ("members", f"it gathers {flow.gathers} values and lacks {lacking}: {named or 'of members that were never submitted'}")

    def _awaited(self, message: Message) -> str:
        """The first of what a step waits for."""
        flow = message.flow or Flow()
        if flow.after and flow.after not in self._broker.results:
            return flow.after
        return next(iter(self._coming(message.id)), "")

    def _coming(self, gather: str) -> list[str]:
        """Members of a group that have not ended."""
        flows = [record.message for record in self._broker.records.values() if record.message.flow is not None]
        return [one.id for one in flows if one.flow is not None and one.flow.into == gather]

    def _named(self, id: str) -> str:
        record, result = self._broker.records.get(id), self._broker.results.get(id)
        task = record.message.task if record is not None else result.task if result is not None else ""
        return f"{task}[{id}]" if task else id

    def _away(self) -> str:
        others = [one for one in self._membership.members.values() if one.durable and one.id != self._membership.me.id]
        away = [one.name for one in others if not self._membership.is_reachable(one.id)]
        return ", ".join(sorted(away)[:SHOWN_MAX])


_CAUSES = {
    "mesh.errors.TaskExpired": "expired",
    "mesh.errors.TaskDropped": "dropped",
    "mesh.errors.DeliveriesExhausted": "deliveries-exhausted",
    "mesh.errors.BodyLost": "body-lost",
    "mesh.errors.ChordError": "member-failed",
    "mesh.errors.WorkflowIncomplete": "incomplete",
    "mesh.errors.TaskRevokedError": "revoked",
    "mesh.errors.ResultRemoved": "predecessor-removed",
}


def _of_letter(letter: DeadLetter) -> tuple[str, str]:
    code = letter.held_in if letter.held_in in HELD_LISTS else "dead-letter"
    name = list_of(letter)
    again = f"mesh queue requeue {name} --task {letter.message.id} runs it again"
    return (code, f"it is in the dead letters of {name}: {letter.reason}; {again}")
