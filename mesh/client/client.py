"""One connection per process: any thread may call, and a thread of its own works it while no caller does (mesh/client/duty.py).

That thread never runs code of the caller, except ``call_soon_threadsafe`` of a waiting event loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable

from mesh.client.bodies import BodySender
from mesh.client.consumers import Consumers
from mesh.client.duty import Duty, Mode
from mesh.client.failures import answer_error
from mesh.client.large import LargeResults
from mesh.client.link import Link, Nodes
from mesh.client.outbox import Outbox, Publication
from mesh.client.pending import Pending, PendingTable
from mesh.client.questions import Questions, held_latch
from mesh.config import Settings
from mesh.errors import Closed, MeshError
from mesh.ids import body_id
from mesh.transport.bell import Bell
from mesh.transport.poller import READ, Poller
from mesh.wire.calls import States
from mesh.wire.entries import Message, Status
from mesh.wire.messages import (
    Answer,
    Attached,
    Confirm,
    Deliver,
    Fetched,
    Go,
    Grant,
    Held,
    NewCoordinator,
    Notice,
    OutcomesKept,
    Recall,
    Results,
    SessionReply,
    Taken,
)

log = logging.getLogger("mesh")

CLOSE_TIMEOUT_S = 1.0
FOREVER_S = threading.TIMEOUT_MAX
CLOSED = "the client is closed"


class Client:
    """Submits, watches and asks over one link. Thread-safe. Starts its thread at once; looks for a node at the first need.

    Every call has a deadline (monotonic seconds). After :meth:`close` every call raises MeshError.
    """

    def __init__(self, finder: Nodes, name: str, settings: Settings) -> None:
        self.usable = True
        """False after close, after a failure of the thread, and in a forked child: make a new client."""
        self._finder = finder
        self._settings = settings
        self._link = Link(finder, "client", name, settings)
        self.lock = threading.Lock()
        self._sender = BodySender(settings.piece_bytes, body_id)
        self._outbox = Outbox(settings.max_frame_bytes // 2, settings.link_window_bytes, settings.piece_bytes, self._sender)
        self._large = LargeResults()
        self._pending = PendingTable()
        self._questions = Questions()
        self.consumers = Consumers(self)
        self._generation = 0
        self._greeters: list[threading.Lock] = []
        self._search_error: MeshError | None = None
        self._warned_queues: set[str] = set()
        self._ended = ""
        self._closing = False
        self._doubtful = False
        """A caller was interrupted while it worked the connection, perhaps between taking something in and noting it."""
        self._polling = False
        self._bell = Bell()
        self.duty = Duty(self._bell.ring)
        self._poller = Poller()
        self._poller.register(self._bell.fileno())
        self._link.register(self._poller)
        self._thread = threading.Thread(target=self._run, name="mesh-client", daemon=True)
        self._thread.start()

    # -- for any thread --------------------

    @property
    def attached(self) -> Attached | None:
        """What the present node said when we attached, None while there is none."""
        return self._link.attached

    def submit(self, messages: list[Message], deadline_s: float) -> Confirm:
        """Hand over messages; returns when all are confirmed, with the smallest number of copies.

        Raises NotAccepted, among them MeshBusy, QueueFull and DiskLow after the deadline (nothing will run), PublishUnknown (may run or
        not; the same ids again are safe), NotEnoughCopies (all will run), MeshNotFound or NotAllowed (no node: nothing was sent).
        """
        return self.finish(self.submit_soon(messages, deadline_s))

    def submit_soon(self, messages: list[Message], deadline_s: float) -> Publication:
        """Hand over messages without waiting; they leave with the next call. :meth:`finish` says what became of them."""
        publication = Publication(messages, deadline_s)
        with self.lock:
            self.check_usable()
            self._outbox.add(publication)
        return publication

    def send_now(self) -> None:
        """What was handed over leaves as soon as the client's thread gets to it; for who does not wait at once."""
        with self.lock:
            self.duty.call()

    def finish(self, publication: Publication) -> Confirm:
        """Wait until messages are confirmed, at most until their deadline. Returns and raises as :meth:`submit`."""
        if publication.latch.locked() and not self.await_latch(publication.latch, publication.deadline_s):
            with self.lock:
                absent = None if self._link.attached is not None else self._finder.not_found()
                self._outbox.give_up(publication, "no answer before the deadline", absent)
        if publication.error is not None:
            raise publication.error
        if publication.warnings:
            self._warn(publication.warnings)
        return Confirm(number=0, copies=publication.copies, warnings=publication.warnings, unroutable=publication.unroutable)

    def greeting(self, deadline_s: float) -> Attached:
        """What the node said of itself and the mesh. Raises MeshNotFound, NotAllowed."""
        latch = held_latch()
        with self.lock:
            self.check_usable()
            attached = self._link.attached
            if attached is None:
                self._greeters.append(latch)
                self._search_error = None
        if attached is None:
            self.await_latch(latch, deadline_s)
            attached = self._link.attached
        if attached is None:
            self.raise_why()
            raise self._finder.not_found()
        return attached

    def expect(self, ids: Iterable[str]) -> list[Pending]:
        """The awaited results of tasks that are about to be submitted: the node sends them by itself."""
        with self.lock:
            return [self._pending.get(id) or self._pending.new(id, Status.PENDING) for id in ids]

    def watch(self, id: str) -> Pending:
        """The awaited result of a task that another process, or an earlier client, submitted."""
        with self.lock:
            self.check_usable()
            pending = self._pending.get(id)
            if pending is None:
                pending = self._pending.new(id)
                self._questions.to_watch.append(id)
                self.duty.call()
        return pending

    def ask(self, pending: Pending, deadline_s: float) -> None:
        """Have the node say how the task stands; returns when it has, or at the deadline. Raises MeshNotFound, NotAllowed."""
        latch = held_latch()
        with self.lock:
            self.check_usable()
            if pending.result is not None:
                return
            pending.askers = [*(pending.askers or ()), latch.release]
            self._questions.to_watch.append(pending.id)
            self._search_error = None
        answered = self.await_latch(latch, deadline_s)
        with self.lock:
            pending.askers = [one for one in pending.askers or () if one != latch.release] or None
        if answered and pending.result is None and pending.status is None:
            self.raise_why()

    def follow(self, pending: Pending, wanted: bool) -> None:
        """Have the node tell of the task's states from now on, or no longer. With the lock held."""
        self._questions.follow(pending.id, wanted)
        self.duty.call()

    def look(self) -> None:
        """Have what has come taken in soon; for who looks at awaited results without waiting."""
        with self.lock:
            self.duty.resume()

    def wait(self, pending: Pending, deadline_s: float | None) -> bool:
        """Block until the result is there; False at the deadline. Raises MeshNotFound, NotAllowed when there never was a node."""
        latch = held_latch()
        while self._add_waiter(pending, latch.release):
            woken = self.await_latch(latch, deadline_s)
            if pending.result is not None:
                break
            if not woken:
                self._remove_waiter(pending, latch.release)
                return False
            self.raise_why()
        return True

    def when_done(self, pending: Pending, callback: Callable[[], None]) -> bool:
        """Call back, once and perhaps from another thread, when the result is there or can't come. False when it is there already;
        else :meth:`forget_waiter` has to follow.
        """
        if not self._add_waiter(pending, callback):
            return False
        with self.lock:
            self.duty.begin_elsewhere()
        return True

    def forget_waiter(self, pending: Pending, callback: Callable[[], None]) -> None:
        """The counterpart of :meth:`when_done`."""
        self._remove_waiter(pending, callback)
        with self.lock:
            self.duty.end()

    def query(self, what: str, argument: str, deadline_s: float) -> bytes:
        """Ask the mesh a question of docs/protocol.md; the answer is JSON.

        Raises MeshNotFound, NotAllowed without a node, NoCoordinator, InvalidSetting, NotFound or MeshError when the answer is such an
        error, MeshError when it does not come in time.
        """
        with self.lock:
            self.check_usable()
            question = self._questions.ask(what, argument)
            self._search_error = None
        self.await_latch(question.latch, deadline_s)
        with self.lock:
            self._questions.forget(question)
        if question.answer is None:
            self.raise_why()
            raise MeshError(f"no answer to {what!r} before the deadline")
        if question.answer.error:
            raise answer_error(question.answer.error, question.answer.body)
        return question.answer.body

    def close(self) -> None:
        """Leave politely. Calls that still wait raise."""
        with self.lock:
            self._closing = True
            self.usable = False
            self.duty.close()
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_TIMEOUT_S)

    def abandon(self) -> None:
        """In a forked child: the thread and the sockets belong to the parent, so that nothing of them may be touched."""
        self.usable = False
        self._ended = "this client belongs to the parent process"
        self.lock = threading.Lock()

    # -- helpers, lock held --------------------

    def check_usable(self) -> None:
        """Raise Closed after a close, MeshError after a failure of the thread or in a forked child."""
        if not self.usable:
            raise self._why_over()

    def _why_over(self) -> MeshError:
        return Closed(CLOSED) if self._ended in ("", CLOSED) else MeshError(self._ended)

    def forget_search_error(self) -> None:
        """Somebody begins to wait, with the lock held: that there was no node before is not his concern."""
        self._search_error = None

    def raise_why(self) -> None:
        """Raise the reason why a callback came without a result: Closed, MeshNotFound, NotAllowed, MeshError; nothing if there is none."""
        if self._ended:
            raise self._why_over()
        error = self._search_error
        if error is not None:
            raise type(error)(str(error))

    def _warn(self, queues: list[str]) -> None:
        for queue in queues:
            if queue not in self._warned_queues:
                self._warned_queues.add(queue)
                log.warning("no live worker consumes the queue %r: its tasks wait; start one with: mesh worker -A APP -Q %s", queue, queue)

    def _add_waiter(self, pending: Pending, callback: Callable[[], None]) -> bool:
        with self.lock:
            if pending.result is not None:
                return False
            self.check_usable()
            pending.waiters = [*(pending.waiters or ()), callback]
            self._search_error = None
        return True

    def _remove_waiter(self, pending: Pending, callback: Callable[[], None]) -> None:
        with self.lock:
            pending.waiters = [one for one in pending.waiters or () if one != callback] or None

    # -- the connection --------------------

    def await_latch(self, latch: threading.Lock, deadline_s: float | None) -> bool:
        """Wait for a latch, and work the connection meanwhile unless another thread does; False at the deadline."""
        try:
            with self.lock:
                mode = self.duty.begin()
            if mode is not Mode.WAITS:
                self._work(mode, latch, deadline_s)
            return latch.acquire(timeout=_remaining_s(deadline_s))
        finally:
            with self.lock:
                self.duty.end()

    def _work(self, mode: Mode, latch: threading.Lock, deadline_s: float | None) -> None:
        if mode is Mode.ASKS:
            self.duty.await_hand_over()
        try:
            while latch.locked() and not self._closing and (left_s := _remaining_s(deadline_s)) > 0:
                self._speak()
                if latch.locked():
                    self._listen(left_s)
        except BaseException:  # a signal's handler may raise anything, anywhere
            self._doubtful = not self._polling
            raise
        finally:
            self._polling = False
        if self._closing:
            with self.lock:
                self.duty.stand_down()

    def _run(self) -> None:
        reason = CLOSED
        try:
            while True:
                with self.lock:
                    mine = self.duty.take()
                if not mine:
                    self.duty.rest()
                elif self._closing:
                    self._speak()  # acknowledgements that have not left
                    break
                else:
                    self._turn()
            self._link.close()
        except Exception as error:
            log.exception("the client's connection failed")
            reason = f"the client's connection failed: {error}"
        finally:
            self._end(reason)

    def _turn(self) -> None:
        self._speak()
        with self.lock:
            handed_over = self.duty.hand_over()
        if not handed_over:
            self._listen(FOREVER_S)

    def _speak(self) -> None:
        now_s = time.monotonic()
        if self._doubtful:
            self._doubtful = False
            self._link.break_off()
        if self._link.attached is not None or self._link.searching or self._wanted():
            self._keep_attached(now_s)
        if self._link.attached is not None:
            with self.lock:
                self._outbox.send(self._link.send, now_s)
                if self._sender:
                    self._sender.send(self._link.send, now_s)
                    self._outbox.send(self._link.send, now_s)  # a message follows its body at once
                self._large.send(self._link.send, now_s, self._pending)
                if self.consumers:
                    self.consumers.send(self._link.send, self._link.generation, now_s)
                self._questions.send(self._link.send)  # after the consumers, which a question may be about

    def _listen(self, most_s: float) -> None:
        self._polling = True
        events = self._poller.poll(min(most_s, self._pause_s()))
        self._polling = False
        if (self._bell.fileno(), READ) in events:
            self._bell.hear()
        replies = self._link.receive()
        if replies:
            self._handle(replies)

    def _pause_s(self) -> float:
        if self._link.attached is None and not self._link.searching and not self._wanted():
            return 3600.0
        return min(self._link.pause_s(), 0.02) if self._outbox.waiting else self._link.pause_s()

    def _wanted(self) -> bool:
        return bool(self._outbox or self._questions or self._greeters or self.consumers or len(self._pending))

    def _keep_attached(self, now_s: float) -> None:
        link, before = self._link, self._link.error
        try:
            link.tick(now_s)
        except MeshError:
            pass  # kept in link.error
        if link.error is not None and link.error is not before:
            self._search_failed(link.error)
        if link.generation != self._generation:
            self._generation = link.generation
            self._attached_anew()

    def _search_failed(self, error: MeshError) -> None:
        with self.lock:
            self._search_error = error
            self._outbox.fail_unsent(error)
            self._welcome()
            self._questions.give_up()
            if self._link.generation == 0:  # later on, results are still to be expected from whoever comes back
                self._wake_waiters()
                _call(self.consumers.wake())

    def _attached_anew(self) -> None:
        with self.lock:
            self._search_error = None
            self._welcome()
            self._outbox.submit_again()
            self._large.again()
            self._watch_all()
            self.consumers.again()

    def _welcome(self) -> None:
        for latch in self._greeters:
            latch.release()
        self._greeters.clear()

    def _watch_all(self) -> None:
        unknown_to_node = self._outbox.unconfirmed_ids()
        self._questions.again(id for id in self._pending.ids() if id not in unknown_to_node)

    def _handle(self, replies: list[SessionReply]) -> None:
        now_s = time.monotonic()
        wake: list[Callable[[], None]] = []
        unconsumed: list[str] = []
        with self.lock:
            for reply in replies:
                if isinstance(reply, Deliver | OutcomesKept | Taken | Recall):
                    wake += self.consumers.on(reply)
                elif isinstance(reply, Results):
                    wake += self._pending.settle(self._large.keep(reply, self._pending))
                elif isinstance(reply, Confirm) and not reply.number:
                    unconsumed += reply.warnings
                elif isinstance(reply, Confirm):
                    again = self._outbox.confirm(reply, now_s)
                    self._questions.to_watch += [id for id in again if self._pending.get(id) is not None]
                elif isinstance(reply, Held):
                    self._outbox.hold(reply)
                elif isinstance(reply, Go):
                    self._outbox.go(reply)
                elif isinstance(reply, Answer):
                    self._questions.on_answer(reply)
                elif isinstance(reply, NewCoordinator):
                    self._watch_all()
                    self._large.again()
                    self.consumers.again()
                elif isinstance(reply, States):
                    wake += self._pending.on_states(reply)
                elif isinstance(reply, Fetched):
                    wake += self._pending.settle(self._large.on_fetched(reply))
                    wake += self.consumers.on_fetched(reply)
                elif isinstance(reply, Grant):
                    refused = self._sender.on_grant(reply, now_s)
                    if refused is not None:
                        self._outbox.refuse_upload(*refused)
                elif isinstance(reply, Notice):
                    log.warning("%s", reply.text)
        self._warn(unconsumed)
        _call(wake)

    def _wake_waiters(self) -> None:
        for pending in self._pending.waited_for():
            wake = [*(pending.waiters or ()), *(pending.askers or ())]
            pending.waiters = pending.askers = None
            _call(wake)

    def _end(self, reason: str) -> None:
        with self.lock:
            self._closing = True
            self.usable = False
            self.duty.close()
            self.duty.hand_over()
            self._ended = reason
            self._outbox.fail_all(MeshError(reason))
            self._welcome()
            self._questions.give_up()
            self._wake_waiters()
            _call(self.consumers.wake())
            self._bell.close()


def _remaining_s(deadline_s: float | None) -> float:
    return FOREVER_S if deadline_s is None else min(max(0.0, deadline_s - time.monotonic()), FOREVER_S)


def _call(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        try:
            callback()
        except RuntimeError:
            pass  # the event loop that waited is closed, or a latch was released by another event
