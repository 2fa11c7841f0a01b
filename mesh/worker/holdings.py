"""What a worker holds: deliveries that wait or run, and outcomes that the mesh has not confirmed. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from mesh.wire.entries import Chunks
from mesh.wire.messages import Delivery, Outcome, OutcomeKind
from mesh.wire.working import stage_of
from mesh.worker.batches import size_bytes
from mesh.worker.inputs import large_bodies

TERMINAL = (OutcomeKind.DONE, OutcomeKind.ACKED, OutcomeKind.REJECTED, OutcomeKind.RETRY, OutcomeKind.REPLACED)
"""A delivery with one of these is over: should it come again, the word of it was lost on the way."""
OUTBOX_MAX = 8192
"""Unconfirmed outcomes above which a worker or consumer asks for no more."""
FRAME_OUTCOMES_MAX = 1024
"""Outcomes in one message to the node."""
FINAL = (OutcomeKind.DONE, OutcomeKind.ACKED)
"""After one of these there is no further delivery of the id."""
UNSENT = Chunks(b"", 0, 0, 0)
"""In an outcome: its value is on this machine, and the node does not have it yet."""


class Holdings:
    """Each id is in at most one place: held (waiting in ``ready`` or handed to a slot), or in the outbox.

    RETURNED outcomes are not kept in the outbox: when one gets lost on the way, the next full report says that the worker
    does not hold the id, which means the same.
    """

    def __init__(self) -> None:
        self.ready: deque[Delivery] = deque()
        self.held: dict[str, Delivery] = {}
        self.outbox: dict[str, Outcome] = {}
        self.outbox_bytes = 0
        self.leaving: list[Outcome] = []
        """Outcomes to be sent next."""

    def accept(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Take deliveries: those whose arguments have to be fetched before they are ready.

        One that is held already is ignored; of one that is finished the outcome is said again, unless that has brought it here.
        """
        large: list[Delivery] = []
        for delivery in deliveries:
            id = delivery.id
            if id in self.held:
                continue
            outcome = self.outbox.get(id)
            if outcome is not None:
                if outcome.kind in TERMINAL and not _has_gone_on(outcome, delivery):
                    self._say(outcome)
                    continue
                self._forget(id)  # the outcome was heard, as it comes again: from the queue that it went to as a dead letter, if rejected
            self.held[id] = delivery
            (large if large_bodies(delivery) else self.ready).append(delivery)
        return large

    def _say(self, outcome: Outcome) -> None:
        """The outcome leaves next; one whose value has to be sent first leaves after that."""
        if outcome.chunks is not UNSENT:
            self.leaving.append(outcome)

    def refuse(self, deliveries: Iterable[Delivery]) -> None:
        """Deliveries that this worker can't run go back to the mesh."""
        for delivery in deliveries:
            if delivery.id not in self.held:
                self.leaving.append(Outcome(id=delivery.id, kind=OutcomeKind.RETURNED))

    def wait_again(self, deliveries: list[Delivery]) -> None:
        """Held deliveries that a slot did not start go first, in their order."""
        self.ready.extendleft(reversed(deliveries))

    def settle(self, outcome: Outcome) -> Delivery | None:
        """A held delivery has this outcome: the delivery, or None when it is not held."""
        delivery = self.held.pop(outcome.id, None)
        if delivery is not None:
            if outcome.kind not in FINAL:
                outcome.stage = stage_of(delivery.properties, delivery.call, delivery.attempt)
            self._say(outcome)
            if outcome.kind != OutcomeKind.RETURNED:
                self.outbox[outcome.id] = outcome
                self.outbox_bytes += size_bytes(outcome)
        return delivery

    def give_back(self, ids: Iterable[str]) -> int:
        """Held deliveries go back to the mesh: how many."""
        before = len(self.leaving)
        for id in ids:
            self.settle(Outcome(id=id, kind=OutcomeKind.RETURNED))
        return len(self.leaving) - before

    def give_back_ready(self) -> int:
        """All that waits in ``ready`` goes back to the mesh: how many."""
        count = self.give_back([delivery.id for delivery in self.ready])
        self.ready.clear()
        return count

    def recall(self, ids: Iterable[str], count: int) -> int:
        """Up to ``count`` of these, as far as they wait in ``ready``, go back to the mesh: how many."""
        waiting = {delivery.id for delivery in self.ready}
        back = dict.fromkeys([id for id in ids if id in waiting][:count])
        if back:
            self.ready = deque(delivery for delivery in self.ready if delivery.id not in back)
        return self.give_back(back)

    def kept(self, ids: Sequence[str], kinds: Sequence[int]) -> None:
        """The mesh has confirmed these outcomes; one of the same task that ended otherwise waits for its own confirmation."""
        for id, kind in zip(ids, kinds, strict=False):
            outcome = self.outbox.get(id)
            if outcome is not None and outcome.kind == kind:
                self._forget(id)

    def active(self) -> list[str]:
        """All ids that this worker holds, for a full report."""
        return [*self.held, *self.outbox]

    def say_all_again(self) -> None:
        """The listener is new: after a full report, the whole outbox has to be sent."""
        self.leaving = [outcome for outcome in self.outbox.values() if outcome.chunks is not UNSENT]

    def _forget(self, id: str) -> None:
        outcome = self.outbox.pop(id, None)
        if outcome is not None:
            self.outbox_bytes -= size_bytes(outcome)


def _has_gone_on(outcome: Outcome, delivery: Delivery) -> bool:
    """Whether the message was rejected here and has come back by way of a dead letter exchange, or was run again by its own wish."""
    return outcome.stage is not None and stage_of(delivery.properties, delivery.call, delivery.attempt) > outcome.stage
