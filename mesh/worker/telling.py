"""What a worker's parent says to its node: what it takes, what ended, how its tasks get on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from mesh.config import Settings
from mesh.wire.calls import States, TaskState
from mesh.wire.messages import Attached, Offer, Outcomes
from mesh.worker.batches import capacity, chunks
from mesh.worker.holdings import FRAME_OUTCOMES_MAX, OUTBOX_MAX
from mesh.worker.spec import WorkerInfo, WorkerLink, WorkerSpec

if TYPE_CHECKING:
    from mesh.worker.parent import Worker

OUTBOX_BYTES_MAX = 64 << 20
"""Bytes of unconfirmed outcomes above which a worker asks for no more work."""
STALE = -1
"""In place of the room that was offered last: tasks or queues are others by now."""


class Telling:
    """Says it when there is something to say and the node listens; a new listener is told all."""

    def __init__(
        self, worker: Worker, link: WorkerLink, spec: WorkerSpec, settings: Settings, on_ready: Callable[[WorkerInfo], None] | None
    ) -> None:
        self._worker = worker
        self._link = link
        self._spec = spec
        self._settings = settings
        self._on_ready = on_ready
        self.greeted = 0
        """Generation of the link to which the last full report went."""
        self.offered = STALE
        self._states: dict[str, TaskState] = {}
        """The last state of each task that runs and says its state."""
        self._news: dict[str, None] = {}

    def note(self, states: list[TaskState]) -> None:
        """Tasks say where they are."""
        held = self._worker.holdings.held
        for state in states:
            if state.id in held:
                self._states[state.id] = state
                self._news[state.id] = None

    def tell(self) -> None:
        """Say what there is to say."""
        worker, link = self._worker, self._link
        if worker.tasks is None or link.attached is None:
            return
        if not worker.declaring.is_done(link.generation):
            if (question := worker.declaring.question(link.generation, time.monotonic())) is not None:
                link.send(question)
            return
        room = self._capacity()
        if self.greeted != link.generation and not self._greet(room):
            return
        holdings = worker.holdings
        leaving = holdings.leaving
        if self.offered == STALE or (not leaving and room != self.offered):
            if not link.send(self._offer(room)):
                return
            self.offered = room
        if self._news:
            self._tell_states()
        holdings.leaving = []
        for chunk in chunks(leaving, FRAME_OUTCOMES_MAX, self._settings.max_frame_bytes // 2):
            if holdings.leaving or not link.send(Outcomes(worker=worker.id, capacity=room, outcomes=chunk)):
                holdings.leaving += chunk  # the node takes no more now
            else:
                self.offered = room

    def _tell_states(self) -> None:
        held = self._worker.holdings.held
        self._states = {id: state for id, state in self._states.items() if id in held}
        states = [self._states[id] for id in self._news if id in self._states]
        if not states or self._link.send(States(self._worker.id, states)):
            self._news.clear()

    def _greet(self, room: int) -> bool:
        """A full report, then all outcomes and states again; False when it could not be sent."""
        worker, attached = self._worker, self._link.attached
        if attached is None or not self._link.send(self._offer(room, worker.holdings.active())):
            return False
        self.greeted = self._link.generation
        self.offered = room
        worker.holdings.say_all_again()
        self._news.update(dict.fromkeys(self._states))
        if self._on_ready is not None:
            self._on_ready(self._info(attached))
            self._on_ready = None
        return True

    def _offer(self, room: int, active: list[str] | None = None) -> Offer:
        worker = self._worker
        return Offer(
            worker=worker.id,
            name=self._spec.display_name,
            queues=worker.consumption.queues,
            tasks=list(worker.tasks or ()),
            slots=worker.slots.lanes,
            capacity=room,
            active=active,
            pid=os.getpid(),
            generation=self._link.generation,
        )

    def _capacity(self) -> int:
        worker, holdings = self._worker, self._worker.holdings
        if worker.draining or len(holdings.outbox) > OUTBOX_MAX or holdings.outbox_bytes > OUTBOX_BYTES_MAX:
            return 0
        lanes = len(worker.slots.ready) * worker.slots.width
        # Who waits for large arguments occupies no lane
        waiting = len(worker.transfers.fetching()) if worker.transfers else 0
        return waiting + capacity(lanes, worker.times.overall_s, self._settings.prefetch_target_s, self._settings.max_prefetch)

    def _info(self, attached: Attached) -> WorkerInfo:
        worker = self._worker
        return WorkerInfo(
            worker=worker.id,
            name=self._spec.display_name,
            mesh=attached.mesh,
            node=attached.node,
            coordinator=attached.coordinator,
            app=self._spec.app,
            queues=worker.consumption.queues,
            tasks=list(worker.tasks or ()),
            slots=worker.slots.lanes,
            pool=self._spec.pool,
        )
