"""A consumer of plain messages: an iterator, an asynchronous iterator, or callbacks in the thread that runs it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mesh.client.consumers import Subscription
from mesh.client.questions import held_latch
from mesh.client.waking import waker
from mesh.errors import Closed, UsageError
from mesh.messaging.message import Message
from mesh.wire.messages import Delivery, OutcomeKind

if TYPE_CHECKING:
    import asyncio

    from mesh.client.client import Client

Callback = Callable[[Message], object]


class Consumer:
    """Messages of one or more queues, one after the other. ``Connection.consume()`` makes it; any thread may use it, also several at once.

    ``for message in consumer`` blocks while there is none, ``async for message in consumer`` waits in the event loop; both end with
    :meth:`cancel`. ``with`` closes it at the end. User code runs in the thread that asks, never in one of the library's.
    """

    def __init__(self, client: Client, subscription: Subscription, callback: Callback | None, auto_ack: bool) -> None:
        self._client = client
        self._subscription = subscription
        self.callback = callback
        self._auto_ack = auto_ack

    def __del__(self) -> None:
        # Whoever dropped it in the middle of a loop would keep its prefetched messages from everybody else for as long as the program runs.
        self._subscription.abandoned = True

    @property
    def queues(self) -> Sequence[str]:
        """Names of the queues that it consumes."""
        return tuple(self._subscription.queues)

    @property
    def prefetch(self) -> int:
        """Most messages that it holds without their having ended."""
        return self._subscription.prefetch

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` or :meth:`close` was called."""
        return self._subscription.cancelled

    # -- one by one --------------------

    def next(self, timeout: float | None = None) -> Message | None:
        """The next message; None when none has come within ``timeout`` seconds (None waits for ever, 0 looks at what is here).

        Raises Closed after a cancel, InUse when a queue is exclusive to another program, MeshError when the connection is closed,
        MeshNotFound or NotAllowed when there never was a node.
        """
        subscription = self._subscription
        delivery = subscription.next_now()
        if delivery is None:
            delivery = subscription.next(None if timeout is None else time.monotonic() + timeout)
        return None if delivery is None else self._message(delivery)

    def _message(self, delivery: Delivery) -> Message:
        if self._auto_ack:
            self._subscription.end(delivery.id, OutcomeKind.ACKED)
        return Message(delivery, self._subscription.end)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        try:
            message = self.next()
        except Closed:
            raise StopIteration from None
        assert message is not None
        return message

    def next_now(self) -> Message | None:
        """The next message if one is here. Raises nothing."""
        delivery = self._subscription.next_now()
        return None if delivery is None else self._message(delivery)

    # -- in an event loop --------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        try:
            return await self.next_async()
        except Closed:
            raise StopAsyncIteration from None

    async def next_async(self) -> Message:
        """The next message, without blocking the event loop. Raises as :meth:`next`."""
        from asyncio import get_running_loop  # slow to import, and whoever awaits has it

        loop, subscription = get_running_loop(), self._subscription
        while (delivery := subscription.next_now()) is None:
            woken: asyncio.Future[None] = loop.create_future()
            wake = waker(loop, woken)
            if not subscription.wait_elsewhere(wake):
                continue
            try:
                await woken
            finally:
                subscription.end_wait(wake)
            if not subscription.holdings.ready and not subscription.cancelled:
                self._client.raise_why()
        return self._message(delivery)

    # -- callbacks --------------------

    def run(self, timeout: float | None = None) -> None:
        """Call the callback for each message, in this thread, until the consumer is cancelled or for ``timeout`` seconds.

        What the callback raises comes out here; its message has not ended then. Raises UsageError without a callback.
        """
        run([self], timeout)

    def wait_for_any(self, consumers: Sequence[Consumer], deadline_s: float | None) -> None:
        """Wait until one of several consumers of the same connection has a message, or is cancelled; at most until the deadline."""
        latch = held_latch()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # another one was first
                latch.release()

        waiting: list[Subscription] = []
        try:
            for consumer in consumers:
                if not consumer.cancelled and not consumer._subscription.when_ready(wake):
                    return
                waiting.append(consumer._subscription)
            woken = self._client.await_latch(latch, deadline_s)
        finally:
            for subscription in waiting:
                subscription.forget_waiter(wake)
        if woken and not any(subscription.holdings.ready or subscription.cancelled for subscription in waiting):
            self._client.raise_why()

    # -- the end --------------------

    def cancel(self) -> None:
        """Take no more messages. What was prefetched and not handed out goes back; what was handed out may still be acknowledged."""
        self._subscription.cancel()

    def close(self) -> None:
        """Cancel, and give back what was handed out and has not ended; that counts as an attempt."""
        self._subscription.cancel()
        self._subscription.requeue_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Consumer of {', '.join(self._subscription.queues)}>"


def run(consumers: Sequence[Consumer], timeout: float | None) -> None:
    """Call the callbacks of several consumers of one connection in this thread, in turn, until all are cancelled or for so many seconds."""
    if any(consumer.callback is None for consumer in consumers):
        raise UsageError("there is no callback to run: give one to consume(), or iterate over the consumer")
    deadline_s = None if timeout is None else time.monotonic() + timeout
    while live := [consumer for consumer in consumers if not consumer.cancelled]:
        idle = True
        for consumer in live:
            message = consumer.next_now()
            if message is not None and consumer.callback is not None:
                idle = False
                consumer.callback(message)
        if deadline_s is not None and time.monotonic() >= deadline_s:
            return
        if idle:
            live[0].wait_for_any(live, deadline_s)
