"""A message as a consumer gets it, and bodies on their way in and out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.errors import UsageError
from mesh.wire.bodies import decode, encode
from mesh.wire.messages import Delivery, OutcomeKind
from mesh.wire.topology import Death, HeaderValue, Properties

OBJECT = "application/x-mesh"
"""Content type of a body that is a Python value, in the encoding of task arguments."""
_NONE = Properties()
_UNSET: Any = object()


def encode_body(body: object, content_type: str) -> tuple[bytes, str]:
    """A body as bytes, and its content type: bytes travel as they are, a text too where a content type is given, all else as a value.

    Raises NotEncodable for what can't travel, UsageError for a value that is to have a content type of its own.
    """
    if isinstance(body, (bytes, bytearray, memoryview)):
        return bytes(body), content_type
    if content_type and content_type != OBJECT:
        if not isinstance(body, str):
            raise UsageError(
                f"a body with a content_type is bytes or a text, not {type(body).__name__}: encode it, or leave content_type out"
            )
        return body.encode(), content_type
    return encode(body), OBJECT


class Message:
    """A message that was delivered. It has to be acknowledged, rejected or requeued once, unless its consumer acknowledges by itself.

    As long as it is not, it counts towards its consumer's prefetch; when the connection ends it goes to another consumer. Safe to use from
    any thread. Equal by identity.
    """

    __slots__ = ("_body", "_delivery", "_end")

    def __init__(self, delivery: Delivery, end: Callable[[str, OutcomeKind], None]) -> None:
        self._delivery = delivery
        self._end = end
        self._body: Any = _UNSET

    # -- what it says --------------------

    @property
    def body(self) -> Any:
        """The value that was published, or the bytes when it was published as bytes or with a content type.

        Raises RemoteProtocolError when a value is malformed.
        """
        if self._body is _UNSET:
            self._body = decode(self._delivery.body) if self.content_type == OBJECT else self._delivery.body
        return self._body

    @property
    def raw(self) -> bytes:
        """The body as it travelled."""
        return self._delivery.body

    @property
    def id(self) -> str:
        """Unique; the publisher knows it too. A copy in a further queue has that queue's name behind it."""
        return self._delivery.id

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        return self._delivery.queue

    @property
    def attempt(self) -> int:
        """1 for the first delivery; one more for each that was lost or requeued before."""
        return self._delivery.attempt

    @property
    def redelivered(self) -> bool:
        """Whether a consumer had it before, and may have dealt with it."""
        return self._delivery.attempt > 1

    @property
    def properties(self) -> Properties:
        """Everything that its publisher said beside body and queue (docs/protocol.md, Properties)."""
        return self._delivery.properties or _NONE

    @property
    def exchange(self) -> str:
        """Where it was published; empty for the default exchange."""
        return self.properties.exchange

    @property
    def routing_key(self) -> str:
        """As its publisher gave it; the name of the queue when it went there directly."""
        return self.properties.routing_key or ("" if self.exchange else self._delivery.queue)

    @property
    def headers(self) -> Mapping[str, HeaderValue]:
        """As its publisher gave them."""
        return self.properties.headers

    @property
    def content_type(self) -> str:
        """Empty for bytes of which nothing was said."""
        return self.properties.content_type

    @property
    def priority(self) -> int:
        """0 to 255."""
        return self.properties.priority

    @property
    def correlation_id(self) -> str:
        """Which request this answers, or the id that an answer shall have."""
        return self.properties.correlation_id

    @property
    def reply_to(self) -> str:
        """Where an answer is wanted: by custom the name of a queue."""
        return self.properties.reply_to

    @property
    def deaths(self) -> Sequence[Death]:
        """The queues that have given it up before, the latest first, as RabbitMQ's ``x-death``: ``queue``, ``reason`` (``rejected``,
        ``expired``, ``maxlen``, ``delivery_limit``), ``count``, and of the first time ``at_ms``, ``exchange`` and ``routing_key``.
        """
        return self.properties.deaths

    # -- how it ends --------------------

    def ack(self) -> None:
        """It was dealt with: the mesh forgets it. Raises MeshError when it has ended before, Closed after a close.

        The word leaves with the next call, at the latest a quarter of a second later; a program that dies before that gets it once more.
        """
        self._end(self._delivery.id, OutcomeKind.ACKED)

    def requeue(self) -> None:
        """Deliver it again, to whoever has room. It counts as an attempt: after ``max_deliveries`` it is a dead letter. Raises as ack."""
        self._end(self._delivery.id, OutcomeKind.REQUEUED)

    def reject(self) -> None:
        """Do not deliver it again: it goes where its queue sends dead letters, or is dropped. Raises as ack."""
        self._end(self._delivery.id, OutcomeKind.REJECTED)

    def nack(self, requeue: bool = True) -> None:
        """:meth:`requeue`, or :meth:`reject`: the name that AMQP has for both."""
        if requeue:
            self.requeue()
        else:
            self.reject()

    def __repr__(self) -> str:
        return f"<Message {self._delivery.id} from {self._delivery.queue!r}, {len(self._delivery.body)} bytes>"
