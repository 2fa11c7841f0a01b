"""The consumers of plain messages in a client: each is to the mesh what a worker is, with a session in common.

Messages come in whoever works the connection; user code runs only in the thread or event loop that asks for the next one.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from mesh.client.bodies import BodyReceiver, Buffer, Send
from mesh.client.failures import answer_error
from mesh.client.questions import held_latch
from mesh.errors import Closed, MeshError
from mesh.ids import worker_id
from mesh.wire.messages import (
    Deliver,
    Delivery,
    Fetched,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    Recall,
    Take,
    Taken,
    WorkerGone,
)
from mesh.worker.holdings import FRAME_OUTCOMES_MAX, OUTBOX_MAX, Holdings

if TYPE_CHECKING:
    from mesh.client.client import Client

PLAIN = [""]
"""The tasks that a consumer of plain messages offers."""
FIRST_FETCH = 1 << 32
"""Numbers of Fetches from here on are those of consumers; the others are for results."""

Wake = Callable[[], None]


class Got(NamedTuple):
    """What was taken at once."""

    deliveries: list[Delivery]
    ready: int
    """Messages that wait in the queue still."""


class _Request:
    """A Take until all that it got has come."""

    __slots__ = ("got", "latch", "sent", "take", "taken")

    def __init__(self, take: Take) -> None:
        self.take = take
        self.sent = False
        self.taken: Taken | None = None
        self.got: Got | None = None
        self.latch = held_latch()


class Subscription:
    """One consumer. Made by :meth:`Consumers.add`; any thread may call.

    ``queues`` is what it consumes, ``prefetch`` how many messages it holds at most that have not ended; it takes nothing by itself with
    no queues. After :meth:`cancel`, and when the client is closed, every call raises MeshError, after a cancel Closed.
    """

    def __init__(self, client: Client, id: str, name: str, queues: list[str], prefetch: int) -> None:
        self.id = id
        self.name = name
        self.queues = queues
        self.prefetch = prefetch
        self.cancelled = False
        self.abandoned = False
        """Its owner has dropped it without a word: set by a garbage collector, which may hold any lock."""
        self.holdings = Holdings()
        self._client = client
        self._waiters: list[Wake] = []
        self._requests: dict[int, _Request] = {}
        self._number = 0
        self._unwanted: set[str] = set()
        """Taken for somebody who waits no longer."""
        self._refusal = ""
        """Why the mesh gives it nothing, as it says."""
        self._greeted = False
        self._offered = -1
        self.over = False
        """The mesh has been told that it is gone."""

    # -- for any thread --------------------

    def next(self, deadline_s: float | None) -> Delivery | None:
        """The next message; None at the deadline (monotonic seconds; None waits for ever).

        Raises Closed after a cancel, InUse when a queue is another program's, MeshError when the client is closed, MeshNotFound or
        NotAllowed when there never was a node.
        """
        ready = self.holdings.ready
        while True:
            try:
                return ready.popleft()
            except IndexError:
                pass
            latch = held_latch()
            if not self.when_ready(latch.release):
                continue
            try:
                woken = self._client.await_latch(latch, deadline_s)
            finally:
                self.forget_waiter(latch.release)
            if not woken and not ready:
                return None
            if not ready:
                self._client.raise_why()

    def next_now(self) -> Delivery | None:
        """The next message if one is here."""
        try:
            return self.holdings.ready.popleft()
        except IndexError:
            return None

    def when_ready(self, callback: Wake) -> bool:
        """Call back, once and perhaps from another thread, when there is a message or none will come. False when there is one already."""
        client = self._client
        with client.lock:
            if self.holdings.ready:
                return False
            self._check()
            client.forget_search_error()
            self._waiters.append(callback)
        return True

    def forget_waiter(self, callback: Wake) -> None:
        """Whoever gave it to :meth:`when_ready` waits no longer."""
        with self._client.lock:
            if callback in self._waiters:
                self._waiters.remove(callback)

    def wait_elsewhere(self, callback: Wake) -> bool:
        """As :meth:`when_ready`, for an event loop; unless False came back :meth:`end_wait` has to follow."""
        if not self.when_ready(callback):
            return False
        with self._client.lock:
            self._client.duty.begin_elsewhere()
        return True

    def end_wait(self, callback: Wake) -> None:
        """The counterpart of :meth:`wait_elsewhere`."""
        self.forget_waiter(callback)
        with self._client.lock:
            self._client.duty.end()

    def end(self, id: str, kind: OutcomeKind) -> None:
        """A message has ended; the mesh hears of it with the next word to it. Raises MeshError when it is not held (any more)."""
        client = self._client
        with client.lock:
            if self.holdings.settle(Outcome(id, kind)) is None:
                self._check()
                raise MeshError(f"message {id} was acknowledged, rejected or requeued before")
            client.duty.nudge()

    def take(self, queue: str, count: int, deadline_s: float) -> Got | None:
        """What is ready in a queue now, whatever the prefetch; None when the mesh did not say before the deadline.

        Raises as :meth:`next`.
        """
        client = self._client
        with client.lock:
            self._check()
            client.forget_search_error()
            self._number += 1
            request = self._requests[self._number] = _Request(Take(self._number, self.id, queue, count))
        try:
            client.await_latch(request.latch, deadline_s)
        finally:
            with client.lock:
                del self._requests[request.take.number]
                if request.got is None and request.taken is not None:
                    self._unwanted.update(request.taken.ids)
                    self._return_unwanted()
        if request.got is None:
            client.raise_why()
        elif request.taken is not None and request.taken.error:
            raise answer_error(request.taken.error)
        return request.got

    def cancel(self) -> None:
        """Take no more. What nobody has seen goes back; what is held may still be acknowledged."""
        with self._client.lock:
            if not self.cancelled:
                self.cancelled = True
                self._give_back_ready()
                wake, self._waiters = self._waiters, []
                for waiter in wake:
                    waiter()
                if self._client.usable:
                    self._client.duty.call()

    def requeue_all(self) -> None:
        """All that is held goes back to the mesh, and counts as tried where somebody has seen it."""
        with self._client.lock:
            self._give_back_ready()
            for id in list(self.holdings.held):
                self.holdings.settle(Outcome(id, OutcomeKind.REQUEUED))
            if self._client.usable:
                self._client.duty.call()

    # -- with the client's lock held --------------------

    def _check(self) -> None:
        self._client.check_usable()
        if self.cancelled:
            raise Closed("this consumer was cancelled")
        if self._refusal:
            raise answer_error(self._refusal)

    def _give_back_ready(self) -> None:
        """A message that another thread takes meanwhile is not given back."""
        while (delivery := self.next_now()) is not None:
            self.holdings.settle(Outcome(delivery.id, OutcomeKind.RETURNED))

    def wake(self) -> list[Wake]:
        """Whom to wake now that there is a message, or none will come."""
        waiters, self._waiters = self._waiters, []
        return waiters

    def again(self) -> None:
        """The listener is another one: what it has to know is told anew."""
        self._greeted, self._refusal = False, ""
        self._unwanted.clear()
        if not self.queues:  # the answer that says for whom they were taken may be lost
            while (delivery := self.next_now()) is not None:
                del self.holdings.held[delivery.id]
        for request in self._requests.values():
            request.sent, request.taken = False, None

    def accept(self, deliveries: list[Delivery]) -> list[Delivery]:
        """Messages have come; returns those whose body has to be fetched."""
        large = self.holdings.accept(deliveries)
        self._came()
        return large

    def fetched(self, delivery: Delivery, error: str) -> None:
        """The body of a message is here, or lost: then it goes back, as only the coordinator knows whether it is lost for good."""
        if delivery.id not in self.holdings.held:
            return
        if error:
            self.holdings.settle(Outcome(delivery.id, OutcomeKind.RETURNED))
        else:
            self.holdings.ready.append(delivery)
            self._came()

    def _came(self) -> None:
        if self.cancelled:
            self._give_back_ready()
        elif self._unwanted:
            self._return_unwanted()
        if self._requests:
            self._complete()

    def _return_unwanted(self) -> None:
        for delivery in list(self.holdings.ready):
            if delivery.id in self._unwanted:
                self._unwanted.discard(delivery.id)
                self.holdings.ready.remove(delivery)
                self.holdings.settle(Outcome(delivery.id, OutcomeKind.RETURNED))

    def recall(self, recall: Recall) -> None:
        """Another consumer has nothing to do: the youngest that nobody has seen here go back, as many as it can take."""
        ready, wanted, kept, count = self.holdings.ready, set(recall.ids), [], recall.count
        with contextlib.suppress(IndexError):  # another thread takes them meanwhile
            while count:
                delivery = ready.pop()
                if delivery.id in wanted:
                    self.holdings.settle(Outcome(delivery.id, OutcomeKind.RETURNED))
                    count -= 1
                else:
                    kept.append(delivery)
        ready.extend(reversed(kept))

    def on_taken(self, taken: Taken) -> None:
        """The answer to a Take, or to what it consumes."""
        if not taken.number:
            self._refusal = taken.error
            return
        request = self._requests.get(taken.number)
        if request is None:
            self._unwanted.update(taken.ids)
            self._return_unwanted()
        else:
            request.taken = taken
            self._complete()

    def _complete(self) -> None:
        """Hand over what a Take has got when all of it is here."""
        here = {delivery.id: delivery for delivery in self.holdings.ready}
        for request in self._requests.values():
            taken = request.taken
            if taken is not None and request.got is None and here.keys() >= set(taken.ids):
                request.got = Got([here[id] for id in taken.ids], taken.ready)
                for delivery in request.got.deliveries:
                    self.holdings.ready.remove(delivery)
                request.latch.release()

    # -- to the node, with the client's lock held --------------------

    def send(self, send: Send, generation: int) -> None:
        """Tell what is new: a full report first, when the listener is."""
        if self.abandoned and not self.cancelled:
            self.cancelled = True
            self._give_back_ready()
        if not self._greeted and not self._greet(send, generation):
            return
        leaving, room = self.holdings.leaving, self._room()
        while leaving:
            part = leaving[:FRAME_OUTCOMES_MAX]
            if not send(Outcomes(self.id, room, part)):
                return  # the node takes no more now
            self._offered = room
            del leaving[: len(part)]
        if room != self._offered and send(self._offer(room, None, generation)):
            self._offered = room
        for request in self._requests.values():
            if not request.sent:
                request.sent = send(request.take)
        holdings = self.holdings
        if self.cancelled and not (holdings.held or holdings.outbox or holdings.leaving):
            self.over = send(WorkerGone(self.id))

    def _greet(self, send: Send, generation: int) -> bool:
        room = self._room()
        if not send(self._offer(room, self.holdings.active(), generation)):
            return False
        self._greeted, self._offered = True, room
        self.holdings.say_all_again()
        return True

    def _offer(self, room: int, active: list[str] | None, generation: int) -> Offer:
        return Offer(self.id, self.name, self.queues, PLAIN, 1, room, active, os.getpid(), generation)

    def _room(self) -> int:
        return 0 if self.cancelled or len(self.holdings.outbox) > OUTBOX_MAX else self.prefetch


class Consumers:
    """All consumers of a client. All methods but :meth:`add` are called with the client's lock held."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.program = worker_id()
        """What the mesh knows this program by: exclusive queues are its, and its consumers are ``PROGRAM/NUMBER``."""
        self._made = 0
        self._by_id: dict[str, Subscription] = {}
        self._receiver = BodyReceiver(first_number=FIRST_FETCH)
        self._fetching: dict[str, tuple[Subscription, Delivery, Buffer]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, name: str, queues: list[str], prefetch: int) -> Subscription:
        """A new consumer. Raises MeshError when the client is closed."""
        with self._client.lock:
            self._client.check_usable()
            self._made += 1
            subscription = Subscription(self._client, f"{self.program}/{self._made}", name, queues, prefetch)
            self._by_id[subscription.id] = subscription
            self._client.duty.nudge()
        return subscription

    def wake(self) -> list[Wake]:
        """Everybody who waits for a message, as there may never be one."""
        return [waiter for subscription in self._by_id.values() for waiter in subscription.wake()]

    def again(self) -> None:
        """The node, or the coordinator, is another one."""
        self._receiver.again()
        for subscription in self._by_id.values():
            subscription.again()

    def send(self, send: Send, generation: int, now_s: float) -> None:
        """Tell the node what is new."""
        if self._fetching:
            self._receiver.send(send, now_s)
        for subscription in list(self._by_id.values()):
            subscription.send(send, generation)
            if subscription.over:
                del self._by_id[subscription.id]

    def on(self, reply: Deliver | OutcomesKept | Taken | Recall) -> list[Wake]:
        """Something came for a consumer; returns whom to wake."""
        subscription = self._by_id.get(reply.worker)
        if subscription is None:
            return []
        if isinstance(reply, OutcomesKept):
            subscription.holdings.kept(reply.ids, reply.kinds)
            return []
        if isinstance(reply, Taken):
            subscription.on_taken(reply)
            return [] if reply.number else subscription.wake()
        if isinstance(reply, Recall):
            subscription.recall(reply)
            return []
        for delivery in subscription.accept(reply.deliveries):
            self._fetch(subscription, delivery)
        return subscription.wake() if subscription.holdings.ready else []

    def _fetch(self, subscription: Subscription, delivery: Delivery) -> None:
        assert delivery.chunks is not None
        key = f"{subscription.id}/{delivery.id}"
        if key not in self._fetching:
            buffer = Buffer()
            self._fetching[key] = subscription, delivery, buffer
            self._receiver.add(key, delivery.chunks, buffer)

    def on_fetched(self, fetched: Fetched) -> list[Wake]:
        """A chunk of a large body has come; returns whom to wake."""
        if fetched.number < FIRST_FETCH:
            return []
        self._receiver.on_fetched(fetched)
        wake: list[Wake] = []
        for key, error in self._receiver.take_finished():
            subscription, delivery, buffer = self._fetching.pop(key)
            subscription.fetched(replace(delivery, body=bytes(buffer.body), chunks=None), error)
            wake += subscription.wake()
        return wake
