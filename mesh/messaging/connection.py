"""A connection for plain messages: publish, get and consume, in one program and from any thread."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Protocol, Self, Unpack
from weakref import WeakSet

from mesh.client.client import Client
from mesh.client.consumers import Subscription
from mesh.client.purging import follow
from mesh.errors import BodyTooLarge, Closed, InvalidTopology, NoCoordinator, PublishError, UsageError
from mesh.messaging.consumer import Callback, Consumer, run
from mesh.messaging.exchange import Binding, Change, Exchange
from mesh.messaging.message import Message
from mesh.messaging.publishing import Published, Publishing, PublishOptions, check_queue_name, entry_of, properties_of, whole_of
from mesh.messaging.queue import Queue
from mesh.wire.entries import Message as Entry
from mesh.wire.messages import OutcomeKind
from mesh.wire.topology import Headers, Properties

PREFETCH = 100
"""Messages that a consumer holds at most unless it says otherwise."""
PREFETCH_MAX = 65_535
BATCH_MESSAGES = 256
BATCH_BYTES = 256 << 10
"""Messages of publish_many that travel together, and bytes of their bodies."""
BATCHES_UNDER_WAY = 8
"""So many batches are sent before the first has to be confirmed: enough for a disk, and few enough that consumers which keep up have their
messages before they are written, so that they need not be."""


class Place(Protocol):
    """What a connection needs of an application."""

    name: str
    publish_timeout: float

    @property
    def client(self) -> Client:
        """The process's connection now."""

    def close(self) -> None:
        """Close it, unless another application uses it."""


class Connection:
    """Publishes, gets and consumes plain messages. ``Mesh.connection()`` and ``mesh.connect()`` make it; safe to use from any thread.

    All connections of a process to the same mesh share one link to the node. ``with`` closes it at the end; afterwards every call raises
    Closed, also those on its consumers and messages. ``timeout`` is how long a call may take, in seconds, None for the application's
    ``publish_timeout``.
    """

    def __init__(self, place: Place, *, timeout: float | None = None, owns_place: bool = False) -> None:
        self.timeout = timeout
        self._place = place
        self._owns_place = owns_place
        self._lock = threading.Lock()
        self._closed = False
        self._consumers: WeakSet[Consumer] = WeakSet()
        self._called_back: list[Consumer] = []
        """Those with a callback, which their maker need not keep."""
        self._getter: tuple[Client, Subscription] | None = None
        self._body_limit = 0

    # -- publishing --------------------

    def publish(self, body: object, **options: Unpack[PublishOptions]) -> Published:
        """Publish a message, and wait until it is confirmed: it is on the disks that ``durability`` asks for, or transient.

        ``body`` is bytes, or any value that a task could be given. The options:

        - ``exchange`` and ``routing_key``. Without an exchange the routing key is the name of a queue, which begins to exist with its first
          message.
        - ``headers``: scalars by name. ``priority``: 0 to 255, higher ones are delivered first.
        - ``expiration``: it is not delivered after so many seconds; None (default) for never.
        - ``mandatory=True`` raises Unroutable when no queue takes it; otherwise it is dropped then, and counted in ``unroutable``.
        - ``persistent=False`` keeps it in memory only: confirmed at once, with ``copies`` 0, and gone when all nodes that have it stop.
          In a queue that is not durable everything is kept so.
        - ``content_type``: of a body of bytes or text. ``correlation_id`` and ``reply_to`` are for the programs.
        - ``message_id``: publishing again with the same one does not add a second message; the default is a new one.

        Raises NotEncodable, BodyTooLarge, InvalidTopology (a name, key or argument that is not possible), Unroutable; NotAccepted, among
        them MeshBusy, QueueFull and DiskLow after the timeout; PublishUnknown (it may be there or not, the same id again is safe),
        NotEnoughCopies (it is there); MeshNotFound, NotAllowed; Closed.
        """
        properties = properties_of(options)
        entry = self._entry(body, options.get("routing_key", ""), properties, options.get("message_id"))
        return self._submit([entry]).wait()

    def publish_soon(self, body: object, **options: Unpack[PublishOptions]) -> Publishing:
        """As :meth:`publish`, without waiting for the confirm: ``wait()`` or ``await`` the returned object.

        Many of them travel together. Raises at once what can be seen at once; the rest comes out of the wait.
        """
        properties = properties_of(options)
        publishing = self._submit([self._entry(body, options.get("routing_key", ""), properties, options.get("message_id"))])
        self._client.send_now()
        return publishing

    def publish_many(self, bodies: Iterable[object], **options: Unpack[PublishOptions]) -> Published:
        """Publish many messages with the same options, pipelined; returns when all are confirmed.

        Raises as :meth:`publish`: some of the messages may have been published then. A PublishError has the ids of all that were sent in
        ``task_ids``, and in ``accepted_ids`` those that are in for sure.
        """
        if options.get("message_id") is not None:
            raise UsageError("publish_many() takes no message_id: every message has one of its own")
        properties, routing_key = properties_of(options), options.get("routing_key", "")
        under_way: deque[Publishing] = deque()
        done: list[Published] = []
        try:
            self._send_many(bodies, routing_key, properties, under_way, done)
            while under_way:
                done.append(under_way.popleft().wait())
        except PublishError as error:
            raise whole_of(error, done, under_way) from None
        return Published.sum(done)

    def _send_many(
        self, bodies: Iterable[object], routing_key: str, properties: Properties | None, under_way: deque[Publishing], done: list[Published]
    ) -> None:
        batch: list[Entry] = []
        size = 0
        for body in bodies:
            batch.append(self._entry(body, routing_key, properties, None))
            size += len(batch[-1].body)
            if len(batch) == BATCH_MESSAGES or size >= BATCH_BYTES:
                under_way.append(self._submit(batch))
                self._client.send_now()
                batch, size = [], 0
                if len(under_way) == BATCHES_UNDER_WAY:
                    done.append(under_way.popleft().wait())
        if batch:
            under_way.append(self._submit(batch))

    def _submit(self, entries: list[Entry]) -> Publishing:
        client = self._client
        return Publishing(client, client.submit_soon(entries, time.monotonic() + self._timeout_s))

    def _entry(self, body: object, routing_key: str, properties: Properties | None, message_id: str | None) -> Entry:
        queue = routing_key if properties is None or not properties.exchange else ""
        entry = entry_of(body, queue, properties, message_id)
        if len(entry.body) > self._body_limit:
            self._check_size(len(entry.body))
        return entry

    def _check_size(self, size: int) -> None:
        """The limit is the node's; below what is known of it nobody needs to be asked."""
        self._body_limit = self._client.greeting(time.monotonic() + self._timeout_s).max_body_bytes
        if size > self._body_limit:
            raise BodyTooLarge(f"a body of {size} bytes; the limit is {self._body_limit} (setting max_body_bytes)")

    # -- getting --------------------

    def get(self, queue: str | Queue, *, auto_ack: bool = False, block: bool = False, timeout: float | None = None) -> Message | None:
        """One message of a queue; None when it has none ready.

        With ``block`` it waits for one, for ``timeout`` seconds (None: for ever). With ``auto_ack`` the message has ended when it is
        returned. For more than a few messages consume. Raises NoCoordinator when the mesh did not answer in time, InUse when the
        queue is exclusive to another program, MeshNotFound, NotAllowed, Closed.
        """
        queue = queue_name(queue)
        deadline_s = None if timeout is None else time.monotonic() + timeout
        subscription = self._take_from()
        got = subscription.take(queue, 1, time.monotonic() + self._timeout_s)
        if got is None:
            raise NoCoordinator(f"nobody said within {self._timeout_s:g} s what is in the queue {queue!r}: see mesh status")
        delivery = got.deliveries[0] if got.deliveries else None
        if delivery is None and block:
            subscription = self._client.consumers.add(self._place.name, [queue], 1)
            try:
                delivery = subscription.next(deadline_s)
            finally:
                subscription.cancel()
        if delivery is None:
            return None
        if auto_ack:
            subscription.end(delivery.id, OutcomeKind.ACKED)
        return Message(delivery, subscription.end)

    def _take_from(self) -> Subscription:
        """What has no queue of its own, and takes at once what is ready in any."""
        client = self._client
        with self._lock:
            if self._getter is None or self._getter[0] is not client:
                self._getter = client, client.consumers.add(self._place.name, [], 0)
            return self._getter[1]

    # -- consuming --------------------

    def consume(
        self,
        queues: str | Queue | Sequence[str | Queue],
        callback: Callback | None = None,
        *,
        prefetch: int = PREFETCH,
        auto_ack: bool = False,
    ) -> Consumer:
        """A consumer of one or more queues: iterate over it, with ``for`` or ``async for``, or :meth:`run` its ``callback``.

        It holds at most ``prefetch`` messages (1 to 65,535) that have not ended: several for throughput, 1 if each takes long. With
        ``auto_ack`` a message has ended when it is handed out. Messages come in any order over several queues, each queue gets its turn.
        Raises UsageError, Closed.
        """
        names = [queue_name(queue) for queue in ([queues] if isinstance(queues, str | Queue) else queues)]
        if not names:
            raise UsageError("consume() takes at least one queue")
        if isinstance(prefetch, bool) or not isinstance(prefetch, int) or not 1 <= prefetch <= PREFETCH_MAX:
            raise UsageError(f"prefetch must be a whole number from 1 to {PREFETCH_MAX}, not {prefetch!r}")
        client = self._client
        consumer = Consumer(client, client.consumers.add(self._place.name, names, prefetch), callback, auto_ack)
        with self._lock:
            self._consumers.add(consumer)
            if callback is not None:
                self._called_back = [*(one for one in self._called_back if not one.cancelled), consumer]
        return consumer

    def run(self, timeout: float | None = None) -> None:
        """Call the callbacks of all consumers that have one, in this thread, until they are cancelled or for ``timeout`` seconds.

        What a callback raises comes out here; its message has not ended then.
        """
        run(list(self._called_back), timeout)

    # -- exchanges, queues and bindings --------------------

    def declare(self, *things: Exchange | Queue) -> None:
        """Declare exchanges and queues with what they are bound to, all of them or none. What is there with the same arguments stays.

        When it returns, a publish on any node that is up is routed by it. Raises DeclaredOtherwise (it is there with other arguments),
        InUse (exclusive to another program), InvalidTopology, NotFound (a binding to what is not there), NoCoordinator, Closed.
        """
        for thing in things:
            if not isinstance(thing, Exchange | Queue):
                raise InvalidTopology(f"declare() takes exchanges and queues, not {thing!r:.80}: write Queue(...) or Exchange(...)")
        if any(isinstance(thing, Queue) and thing.exclusive for thing in things):
            self._take_from()  # its owner has to be known to the mesh
        self._change([change for thing in things for change in thing.changes()])

    def bind(
        self, destination: Exchange | Queue | str, exchange: Exchange | str, routing_key: str = "", arguments: Headers | None = None
    ) -> None:
        """Let a queue (an Exchange for another exchange) have what ``exchange`` has for it.

        Raises InvalidTopology, NotFound (one of the two is not there), else as :meth:`declare`.
        """
        self._change([_binding(destination, exchange, routing_key, arguments, undone=False)])

    def unbind(
        self, destination: Exchange | Queue | str, exchange: Exchange | str, routing_key: str = "", arguments: Headers | None = None
    ) -> None:
        """Take a binding back; no error if there is none. Arguments and errors as :meth:`bind`."""
        self._change([_binding(destination, exchange, routing_key, arguments, undone=True)])

    def delete(self, thing: Exchange | Queue | str, *, if_unused: bool = False, if_empty: bool = False) -> int:
        """Delete a queue with what waits in it, or an Exchange, with their bindings; a name is that of a queue. No error if there is none.

        ``if_unused`` and ``if_empty`` raise InUse for a queue that has consumers, or messages, or an exchange that is bound to something.
        Returns how many messages went. Raises as :meth:`declare`.
        """
        if isinstance(thing, Exchange):
            self._change([{"do": "delete-exchange", "name": thing.name, "if_unused": if_unused}])
            return 0
        row = {"do": "delete-queue", "name": queue_name(thing), "if_unused": if_unused, "if_empty": if_empty}
        return int(self._change([row])[0]["messages"])

    def purge(self, queue: str | Queue) -> int:
        """Drop what waits in a queue; returns how many messages that were when all are gone, however long that takes.

        Consumers keep what they hold. Raises as :meth:`declare`; NoCoordinator also when it was broken off, and a part is left.
        """
        return int(self._change([{"do": "purge", "name": queue_name(queue)}])[0]["messages"])

    def length(self, queue: str | Queue) -> int:
        """How many messages wait in a queue, without those that consumers hold. Raises NoCoordinator, MeshNotFound, NotAllowed, Closed."""
        name = queue_name(queue)
        status = json.loads(self._ask("status", ""))
        return next((row["ready"] + row["delayed"] for row in status["queues"] if row["name"] == name), 0)

    def _change(self, changes: list[Change]) -> list[dict[str, Any]]:
        asked = json.dumps({"changes": changes, "owner": self._client.consumers.program})
        answer: dict[str, Any] = json.loads(self._ask("topology-change", asked))
        follow(changes, answer, lambda: json.loads(self._ask("purges", "")), lambda queue, left: None)
        rows: list[dict[str, Any]] = answer["changes"]
        return rows

    def _ask(self, what: str, argument: str) -> bytes:
        return self._client.query(what, argument, time.monotonic() + self._timeout_s)

    # -- the end --------------------

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed

    def close(self) -> None:
        """Cancel the consumers, give back what they hold, and leave; what was acknowledged stays so. A second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            consumers = list(self._consumers)
            self._called_back = []
            getter, self._getter = self._getter, None
        for consumer in consumers:
            consumer.close()
        if getter is not None:
            getter[1].cancel()
            getter[1].requeue_all()
        if self._owns_place:
            self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Connection of {self._place.name!r}{', closed' if self._closed else ''}>"

    @property
    def _client(self) -> Client:
        if self._closed:
            raise Closed("the connection is closed: make another one")
        return self._place.client

    @property
    def _timeout_s(self) -> float:
        return self._place.publish_timeout if self.timeout is None else self.timeout


def connect(
    mesh: str | None = None,
    *,
    home: str | os.PathLike[str] | None = None,
    seeds: Sequence[str] | None = None,
    name: str = "messages",
    timeout: float | None = None,
) -> Connection:
    """A connection for plain messages without an application. ``mesh``, ``home`` and ``seeds`` are as in :class:`mesh.Mesh`; ``name`` is
    for display, ``timeout`` how long a call may take, in seconds (default 10).
    """
    from mesh.app import Mesh

    return Connection(Mesh(name, mesh=mesh, home=home, seeds=seeds), timeout=timeout, owns_place=True)


def queue_name(queue: object) -> str:
    """The name of a queue that is given by itself or by name. Raises InvalidTopology."""
    return queue.name if isinstance(queue, Queue) else check_queue_name(queue)


def _binding(
    destination: Exchange | Queue | str, exchange: Exchange | str, routing_key: str, arguments: Headers | None, *, undone: bool
) -> Change:
    binding = Binding(exchange=exchange, routing_key=routing_key, arguments=arguments or {})
    if isinstance(destination, Exchange):
        return binding.change(destination.name, "exchange", undone=undone)
    return binding.change(queue_name(destination), undone=undone)
