"""Tasks that are ended from outside: their time is over, or they were revoked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from mesh.wire.calls import Cancel
from mesh.wire.entries import Failure, Status
from mesh.wire.working import Delivery, Outcome
from mesh.worker.holdings import Holdings
from mesh.worker.orders import Revoke
from mesh.worker.slots import Slot, Slots

TIME_LIMIT = "mesh.errors.TimeLimitExceeded"
GRACE_S = 0.5
"""How long a slot, and what its task has started, may take to end by a signal before it is killed."""


class Stopping:
    """Ends slots of one task for the sake of that task; in slots of many lanes only the task, as far as Python can."""

    def __init__(self, slots: Slots, holdings: Holdings, log: logging.Logger) -> None:
        self._slots = slots
        self._holdings = holdings
        self._log = log
        self.limits_ms: Mapping[str, int] = {}
        """Of tasks that name a limit themselves, by name."""
        self._begun: dict[str, float] = {}
        """Since when tasks with a limit run, as far as it was seen."""
        self._condemned: dict[Slot, float] = {}
        """Slots that were sent a signal: when they are killed."""

    def hard_limit_s(self, delivery: Delivery) -> float:
        """How long it may run, 0 for as long as it likes."""
        own_ms = self.limits_ms.get(delivery.task, 0) if self.limits_ms else 0
        return ((delivery.call.hard_limit_ms if delivery.call is not None else 0) or own_ms) / 1000

    def look(self, now_s: float) -> None:
        """End what has run for too long. A slot of many lanes does that itself."""
        for slot, at_s in list(self._condemned.items()):
            if now_s >= at_s:
                del self._condemned[slot]
                slot.host.kill()
        if self._slots.width > 1:
            return
        running = [(slot, delivery, limit_s) for slot in self._slots.ready for delivery, limit_s in self._limited(slot)]
        for slot, delivery, limit_s in running:
            if now_s - self._begun.setdefault(delivery.id, now_s) >= limit_s:
                self._end(slot, delivery, limit_s)
        if len(self._begun) > len(running):
            ids = {delivery.id for _, delivery, _ in running}
            self._begun = {id: at_s for id, at_s in self._begun.items() if id in ids}

    def _limited(self, slot: Slot) -> Iterable[tuple[Delivery, float]]:
        for handed in slot.handed.values():
            limit_s = self.hard_limit_s(handed.delivery)
            if limit_s and slot.started(handed):
                yield handed.delivery, limit_s

    def _end(self, slot: Slot, delivery: Delivery, limit_s: float) -> None:
        text = f"{delivery.task}[{delivery.id}] ran for longer than its time limit of {limit_s:g} s, and was ended"
        self._log.warning("task %s", text)
        self._holdings.settle(Outcome(delivery.id, status=Status.FAILURE, failure=Failure(TIME_LIMIT, text)))
        slot.host.kill()

    def cancel(self, cancel: Cancel, now_s: float) -> None:
        """These were revoked: they have their result. What has not begun is given up; what runs is ended if there is a signal for it."""
        self._holdings.recall(cancel.ids, len(cancel.ids))
        waiting = [id for id in cancel.ids if id in self._holdings.held]
        for slot in self._slots.ready:
            ids = [id for id in waiting if id in slot.handed]
            if not ids:
                continue
            running = [id for id in ids if slot.started(slot.handed[id])]
            if running and cancel.signal and self._slots.width == 1 and slot.host.signal(cancel.signal):
                self._log.warning("task %s is ended by %s, as it was revoked", ", ".join(running), cancel.signal)
                self._condemned[slot] = now_s + GRACE_S
            else:
                slot.control(Revoke(ids, ends=bool(cancel.signal)))
