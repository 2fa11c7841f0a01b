"""The worker's parent: one plain loop between a node and the slots. It never imports nor runs what users wrote, so no task can
keep it from renewing its leases.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from mesh.config import Settings
from mesh.ids import worker_id
from mesh.transport.bell import Bell
from mesh.transport.poller import Poller
from mesh.wire.calls import Cancel
from mesh.wire.entries import Status
from mesh.wire.messages import (
    Answer,
    Consume,
    Deliver,
    Delivery,
    Fetched,
    Grant,
    NewCoordinator,
    Notice,
    Outcome,
    OutcomeKind,
    OutcomesKept,
    Recall,
    SessionReply,
)
from mesh.worker.batches import LONG_S, RunTimes, take
from mesh.worker.consumption import Consumption
from mesh.worker.declaring import Declaring
from mesh.worker.holdings import UNSENT, Holdings
from mesh.worker.orders import Finished, GivenBack, Loaded, Told
from mesh.worker.processes import ProcessSlots
from mesh.worker.recalls import Recalls
from mesh.worker.slots import Died, Slot, Slots
from mesh.worker.spec import WorkerInfo, WorkerLink, WorkerSpec
from mesh.worker.stopping import Stopping
from mesh.worker.telling import STALE, Telling
from mesh.worker.transfers import Transfers

STUCK_S = 0.1
"""How long a slot may be silent with more than one task, or tasks wait for any slot, before they are taken back."""
CHECK_S = 0.03
"""Pause between looks at what is stuck."""
STOP_S = 1.0
"""How long a stop waits for the mesh to confirm the outbox."""


class Worker:
    """Runs the tasks of an application for the mesh that ``link`` attaches to, until it is told to stop.

    ``on_ready`` is called once, when the application is loaded and a node has been found. ``slots`` replaces the pool that
    ``spec`` names; an embedded mesh gives InProcessSlots.
    """

    def __init__(
        self,
        link: WorkerLink,
        spec: WorkerSpec,
        settings: Settings,
        log: logging.Logger | None = None,
        *,
        slots: Slots | None = None,
        on_ready: Callable[[WorkerInfo], None] | None = None,
    ) -> None:
        self.id = worker_id()
        self._link = link
        self._spec = spec
        self._settings = settings
        self._log = log or logging.getLogger("mesh.worker")
        self.slots = slots or ProcessSlots(
            spec.app,
            spec.pool,
            spec.concurrency,
            settings.max_body_bytes,
            self._log.getEffectiveLevel(),
            settings.piece_bytes,
            spec.display_name,
        )
        self._poller = Poller()
        self._bell = Bell()
        self.tasks: dict[str, None] | None = None
        self.consumption = Consumption()
        self.declaring = Declaring()
        self.holdings = Holdings()
        self._recalls = Recalls()
        self.transfers = Transfers(settings.piece_bytes)
        self._attachment = 0
        """Generation of the link to which large values were sent."""
        self.times = RunTimes()
        self._telling = Telling(self, link, spec, settings, on_ready)
        self._stopping = Stopping(self.slots, self.holdings, self._log)
        self._moved_at_s = 0.0
        self._check_at_s = 0.0
        self._stop_requests = 0
        self.draining = False
        self._unknown: set[str] = set()
        self._exit_code: int | None = None

    # -- for the owner ------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until told to stop: 0 after a drain, 1 when the application can't be loaded or tasks were ended by a stop.

        In the main thread SIGINT and SIGTERM call :meth:`stop`. Raises MeshNotFound or NotAllowed when the first search for
        a node fails; the slots have ended then.
        """
        self._poller.register(self._bell.fileno())
        try:
            with self._signals():
                self._link.register(self._poller)
                self.slots.start(self._poller)
                while self._exit_code is None:
                    self._turn()
                return self._exit_code
        finally:
            self.transfers.close()
            self.slots.close()
            self._link.close()
            self._bell.close()

    def stop(self) -> None:
        """First call: finish what runs, give back the rest, leave. Second call: end what runs as well. From any thread."""
        self._stop_requests += 1
        self._bell.ring()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # -- the loop -----------------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        events: Mapping[object, int] = dict(self._poller.poll(self._pause_s()))
        now_s = time.monotonic()
        self._hear_slots(events, now_s)
        for reply in self._link.receive():
            self._hear_node(reply)
        self._link.tick(now_s)
        if self.transfers:
            self._move_bodies(now_s)
        if self._bell.fileno() in events:
            self._obey()
        self._hand_out(now_s)
        self.slots.flush()
        self.slots.tick(now_s)
        if now_s >= self._check_at_s:
            self._check(now_s)
        self._telling.tell()
        if self.draining:
            self._leave_when_done()

    def _pause_s(self) -> float:
        busy = self.holdings.held or self.holdings.leaving or self.draining
        pause_s = CHECK_S if busy else self._settings.worker_beat_s
        return min(pause_s, self._link.pause_s(), self.slots.pause_s(time.monotonic()))

    # -- from the slots -------------------------------------------------------------------------------------------------------

    def _hear_slots(self, events: Mapping[object, int], now_s: float) -> None:
        for slot, report in self.slots.receive(events, now_s):
            if isinstance(report, Finished):
                self._finished(slot, report)
            elif isinstance(report, GivenBack):
                self._given_back(slot, report.ids)
            elif isinstance(report, Loaded):
                self._loaded(slot, report)
            elif isinstance(report, Told):
                self._telling.note(report.states)
            else:
                self._died(slot, report)

    def _finished(self, slot: Slot, report: Finished) -> None:
        settle, release = self.holdings.settle, slot.release
        verbose = self._log.isEnabledFor(logging.DEBUG)
        for outcome in report.outcomes:
            release(outcome.id)
            if outcome.id in report.paths and outcome.id in self.holdings.held:
                outcome.chunks = UNSENT
                self.transfers.upload(outcome, report.paths[outcome.id])
            delivery = settle(outcome)
            if delivery is not None and (verbose or outcome.failure is not None):
                self._log_end(delivery, outcome)
        for time_ in report.times:
            self.times.record(time_.task, time_.count, time_.total_s, time_.longest_s)
            if verbose:
                self._log.debug("%d runs of %s took %.6f s, the longest %.6f s", time_.count, time_.task, time_.total_s, time_.longest_s)

    def _log_end(self, delivery: Delivery, outcome: Outcome) -> None:
        if outcome.kind == OutcomeKind.RETRY:
            self._log.info("task %s[%s] is run again in %g s", delivery.task, outcome.id, outcome.delay_ms / 1000)
        elif outcome.failure is not None:
            text = " ".join(outcome.failure.message.split())[:200]
            self._log.warning("task %s[%s] raised %s: %s", delivery.task, outcome.id, outcome.failure.type_name, text)
        else:
            self._log.debug("task %s[%s] succeeded", delivery.task, outcome.id)

    def _given_back(self, slot: Slot, ids: list[str]) -> None:
        released = [handed.delivery for handed in map(slot.release, ids) if handed is not None]
        slot.recalled = slot.load.held <= slot.load.width
        slot.reckon_slow()
        if self.draining:
            self.holdings.give_back([delivery.id for delivery in released])
        else:
            back = self._recalls.pick([delivery.id for delivery in released])
            self.holdings.give_back(back)
            self.holdings.wait_again([delivery for delivery in released if delivery.id not in back])

    def _loaded(self, slot: Slot, report: Loaded) -> None:
        if not report.error:
            queues = list(self._spec.queues or report.queues)
            if self.consumption.begin(queues) or self.tasks is None or set(self.tasks) != set(report.tasks):
                self.tasks = dict.fromkeys(report.tasks)
                self._telling.offered = STALE
            self._stopping.limits_ms = report.limits_ms
            self.declaring.set(report.topology)
            return
        if self.tasks is None:
            if self._exit_code is None:
                self._log.error("%s", report.error)
            self._exit_code = 1
        else:
            self._log.error("slot %d can't start: %s", slot.number, report.error)

    def _died(self, slot: Slot, death: Died) -> None:
        if self.tasks is None:
            if self._exit_code is None:
                self._log.error("a slot %s while it loaded %s", death.reason, self._spec.app)
            self._exit_code = 1
            return
        again = []
        for handed in list(slot.handed.values()):
            if handed.delivery.id not in self.holdings.held:
                continue  # it was ended on purpose
            if slot.started(handed):
                self._log.warning("slot %d %s while it ran %s[%s]", slot.number, death.reason, handed.delivery.task, handed.delivery.id)
                self.holdings.settle(Outcome(id=handed.delivery.id, kind=OutcomeKind.LOST, status=Status.PENDING))
            else:
                again.append(handed.delivery)
        if not slot.handed:
            self._log.warning("slot %d %s; another is started", slot.number, death.reason)
        self.holdings.wait_again(again)

    # -- from the node --------------------------------------------------------------------------------------------------------

    def _hear_node(self, reply: SessionReply) -> None:
        if isinstance(reply, Deliver):
            tasks = self.tasks or {}
            unknown = [delivery for delivery in reply.deliveries if delivery.task not in tasks]
            known = [delivery for delivery in reply.deliveries if delivery.task in tasks] if unknown else reply.deliveries
            self.transfers.fetch(self.slots.spool, self.holdings.accept(known))
            if unknown:
                self._refuse(unknown)
        elif isinstance(reply, OutcomesKept):
            self.holdings.kept(reply.ids, reply.kinds)
        elif isinstance(reply, NewCoordinator):
            self._telling.greeted = 0
            self.transfers.ask_again()
        elif isinstance(reply, Fetched):
            self.transfers.on_fetched(reply)
        elif isinstance(reply, Grant):
            refused = self.transfers.on_grant(reply, time.monotonic())
            if refused is not None:
                self.holdings.leaving.append(refused)
        elif isinstance(reply, Answer):
            self._declared(self.declaring.on_answer(reply, self._link.generation))
        elif isinstance(reply, Notice):
            self._log.warning("%s", reply.text)
        elif isinstance(reply, Recall):
            self._recall(reply)
        elif isinstance(reply, Consume):
            self._consume(reply)
        elif isinstance(reply, Cancel):
            self._stopping.cancel(reply, time.monotonic())

    def _declared(self, error: str) -> None:
        if not error:
            return
        self._log.error("the queues of %s can't be declared: %s", self._spec.app, error)
        if self.declaring.answers == 1:
            self._exit_code = 1

    def _refuse(self, deliveries: list[Delivery]) -> None:
        for name in {delivery.task for delivery in deliveries} - self._unknown:
            self._unknown.add(name)
            self._log.warning("%s has no task %r: it goes back to the mesh", self._spec.app, name)
        self.holdings.refuse(deliveries)

    def _recall(self, recall: Recall) -> None:
        """Somebody else has an idle slot: give back what none has begun here, from the slots last, as that takes a moment."""
        holdings = self.holdings
        count = recall.count - holdings.recall(recall.ids, recall.count)
        fetching = set(self.transfers.fetching()).intersection(recall.ids) if count else set()
        count -= holdings.give_back(sorted(fetching)[:count])
        if count:
            self._recalls.ask(recall.ids, count, self.slots.ready)

    def _consume(self, consume: Consume) -> None:
        """Other queues from now on; what runs of those that are cancelled ends here."""
        if not self.consumption.change(consume):
            return
        queues = self.consumption.queues
        self._telling.offered = STALE
        self._log.warning("consumes %s from now on", ", ".join(queues) or "no queue")
        waiting = [delivery.id for delivery in self.holdings.ready if delivery.queue not in queues]
        self.holdings.recall(waiting, len(waiting))

    # -- to the slots -----------------------------------------------------------------------------------------------------------

    def _hand_out(self, now_s: float) -> None:
        ready = self.holdings.ready
        if not ready:
            self._moved_at_s = now_s
            return
        if self.draining:
            self.holdings.give_back_ready()
            return
        slots = sorted(self.slots.ready, key=lambda slot: slot.load.held)
        for position, slot in enumerate(slots):
            share = -(-len(ready) // (len(slots) - position))
            batch = take(ready, slot.load, self.times.by_task, share)
            if batch:
                slot.hand(batch, now_s, self.transfers.paths(delivery for delivery, _ in batch))
                self._moved_at_s = now_s

    def _check(self, now_s: float) -> None:
        """What waits behind a long task is taken back, first from its slot, then from this worker."""
        self._check_at_s = now_s + CHECK_S
        self._stopping.look(now_s)
        for slot in self.slots.ready:
            if len(slot.handed) > 1 and not slot.recalled and now_s - slot.news_at_s >= STUCK_S:
                slot.recall()
        if self.holdings.ready and now_s - self._moved_at_s >= STUCK_S:
            count = self.holdings.give_back_ready()
            self.times.overall_s = max(self.times.overall_s, LONG_S)
            self._log.debug("%d tasks go back: every slot is busy", count)

    # -- large bodies ---------------------------------------------------------------------------------------------------------------

    def _move_bodies(self, now_s: float) -> None:
        """Go on with bodies that are fetched and sent; go on with the tasks whose body is there."""
        transfers, holdings = self.transfers, self.holdings
        if self._link.attached is not None and self._attachment != self._link.generation:
            self._attachment = self._link.generation
            transfers.begin_again()
        transfers.send(self._link.send, now_s)
        for delivery, lost in transfers.take_fetched():
            if lost is not None:
                holdings.settle(lost)
            elif delivery.id in holdings.held:
                holdings.ready.append(delivery)
        holdings.leaving += [outcome for outcome in transfers.take_sent() if outcome.id in holdings.outbox]
        transfers.sweep(holdings.held, holdings.outbox)

    # -- the end ------------------------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        self._bell.hear()
        if self._stop_requests > 1:
            self._stop_now()
        elif not self.draining:
            self._drain()

    def _drain(self) -> None:
        self.draining = True
        self.holdings.give_back_ready()
        self.holdings.give_back(self.transfers.fetching())
        for slot in self.slots.ready:
            slot.recall()
        running = sorted({handed.delivery.task for slot in self.slots.ready for handed in slot.handed.values()})
        if running:
            self._log.warning("waiting for running tasks: %s; stop again to end them now", ", ".join(running))

    def _leave_when_done(self) -> None:
        holdings = self.holdings
        if self._exit_code is None and not holdings.held and not holdings.leaving and not holdings.outbox:
            self._exit_code = 0

    def _stop_now(self) -> None:
        """End the slots; what they held goes back to the mesh."""
        self.draining = True
        self.slots.kill()
        count = self.holdings.give_back(list(self.holdings.held))
        self.holdings.ready.clear()
        if count:
            self._log.warning("%d tasks were ended or not started, and go back to the mesh", count)
        until_s = time.monotonic() + STOP_S
        while time.monotonic() < until_s and (self.holdings.leaving or self.holdings.outbox):
            self._telling.tell()
            self._poller.poll(CHECK_S)
            for reply in self._link.receive():
                self._hear_node(reply)
        self._exit_code = 1
