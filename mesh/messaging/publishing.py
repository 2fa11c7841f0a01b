"""What a publish may say of a message, and messages on their way."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

from msgspec.structs import replace

from mesh import ids
from mesh.client.client import Client
from mesh.client.outbox import Publication
from mesh.client.waking import waker
from mesh.core.routing.declared import check_headers
from mesh.errors import InvalidTopology, PublishError
from mesh.messaging.exchange import Exchange, exchange_name
from mesh.messaging.message import encode_body
from mesh.wire.entries import HELD_LISTS
from mesh.wire.entries import Message as Entry
from mesh.wire.topology import HeaderValue, Properties
from mesh.wire.topology_changes import NAME_CHARS_MAX

if TYPE_CHECKING:
    import asyncio

PRIORITY_MAX = 255
EXPIRATION_S_MAX = 1e10


class PublishOptions(TypedDict, total=False):
    """The options of a publish. Without an ``exchange`` the ``routing_key`` is the name of a queue."""

    exchange: Exchange | str
    routing_key: str
    headers: Mapping[str, HeaderValue] | None
    priority: int
    expiration: float | None
    mandatory: bool
    persistent: bool
    content_type: str
    correlation_id: str
    reply_to: str
    message_id: str | None


OPTIONS = tuple(PublishOptions.__annotations__)


class Published(NamedTuple):
    """What became of messages that were published."""

    ids: Sequence[str]
    """One for each message, in order."""
    copies: int
    """On so many disks each of them is at least that is not transient; 0 when all of them are, or none was kept."""
    unroutable: int
    """So many were in no queue's way, and were dropped; they were not mandatory."""

    @property
    def id(self) -> str:
        """The id of the first message."""
        return self.ids[0]

    @classmethod
    def sum(cls, parts: Sequence[Published]) -> Published:
        """What became of all of them."""
        copies = min((part.copies for part in parts), default=0)
        return cls([id for part in parts for id in part.ids], copies, sum(part.unroutable for part in parts))


class Publishing:
    """Messages on their way. :meth:`wait`, or ``await`` in an event loop, says what became of them."""

    __slots__ = ("_client", "_publication")

    def __init__(self, client: Client, publication: Publication) -> None:
        self._client = client
        self._publication = publication

    @property
    def done(self) -> bool:
        """Whether it is known what became of them."""
        return self._publication.done

    @property
    def ids(self) -> list[str]:
        """The ids of the messages."""
        return [message.id for message in self._publication.messages]

    def wait(self) -> Published:
        """Block until they are confirmed, at most until their timeout. Raises as ``Connection.publish``."""
        try:
            confirm = self._client.finish(self._publication)
        except PublishError as error:
            error.task_ids = self.ids
            raise
        return Published(self.ids, confirm.copies, confirm.unroutable)

    def __await__(self) -> Generator[Any, None, Published]:
        if not self._publication.done:
            yield from self._wait_async().__await__()
        return self.wait()

    async def _wait_async(self) -> None:
        from asyncio import get_running_loop, wait  # slow to import, and whoever awaits has it

        client, publication, loop = self._client, self._publication, get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        with client.lock:
            if publication.done:
                return
            publication.on_done = waker(loop, woken)
            client.duty.begin_elsewhere()
        try:
            await wait([woken], timeout=max(0.0, publication.deadline_s - time.monotonic()))
        finally:
            with client.lock:
                client.duty.end()


def whole_of(error: PublishError, done: Iterable[Published], under_way: Iterable[Publishing]) -> PublishError:
    """The error of a call whose batches before that were confirmed and those after it are under way: it waits for them, and has all ids."""
    ids = [*(id for part in done for id in part.ids), *error.task_ids]
    accepted = [*(id for part in done for id in part.ids), *error.accepted_ids]
    for publishing in under_way:
        try:
            accepted += publishing.wait().ids
        except PublishError as other:
            accepted += other.accepted_ids
            error = other if other.outcome == "unknown" else error
        ids += publishing.ids
    error.task_ids, error.accepted_ids = ids, accepted
    return error


def properties_of(options: PublishOptions) -> Properties | None:
    """What is said of a message beyond its queue, None when that is nothing. Raises InvalidTopology, TypeError for an unknown option."""
    for name in options:
        if name not in OPTIONS:
            raise TypeError(f"a publish has no option {name!r}; there are {', '.join(OPTIONS)}")
    exchange, routing_key = exchange_name(options.get("exchange", "")), options.get("routing_key", "")
    if not exchange:
        check_queue_name(routing_key, "the name of a queue (the routing_key, when there is no exchange)")
        if options.keys() <= {"exchange", "routing_key", "message_id"}:
            return None
    return Properties(
        exchange=exchange and short_name(exchange, "the name of an exchange"),
        routing_key=_text(routing_key, "a routing_key") if exchange else "",
        headers=_headers(options.get("headers") or {}),
        priority=_priority(options.get("priority", 0)),
        expires_ms=_expires_ms(options.get("expiration")),
        transient=not options.get("persistent", True),
        mandatory=bool(options.get("mandatory", False)),
        content_type=_text(options.get("content_type", ""), "a content_type"),
        correlation_id=_text(options.get("correlation_id", ""), "a correlation_id"),
        reply_to=_text(options.get("reply_to", ""), "a reply_to"),
    )


def entry_of(body: object, queue: str, properties: Properties | None, message_id: str | None) -> Entry:
    """A message as it travels. Raises NotEncodable, InvalidTopology, UsageError."""
    said = properties.content_type if properties is not None else ""
    raw, content_type = encode_body(body, said)
    if content_type != said:
        properties = Properties(content_type=content_type) if properties is None else replace(properties, content_type=content_type)
    id = ids.task_id() if message_id is None else short_name(message_id, "a message_id")
    return Entry(id, queue, "", raw, properties=properties)


def short_name(value: object, what: str) -> str:
    """A name of a queue, an exchange or a message. Raises InvalidTopology."""
    if not isinstance(value, str) or not value or len(value) > NAME_CHARS_MAX:
        raise InvalidTopology(f"{what} is a text of 1 to {NAME_CHARS_MAX} characters, not {value!r:.80}")
    return value


def check_queue_name(value: object, what: str = "the name of a queue") -> str:
    """The name of a queue that may begin to exist with its first message. Raises InvalidTopology."""
    name = short_name(value, what)
    if not name.isprintable():
        raise InvalidTopology(f"{what} has printable characters only, not {name!r:.80}")
    if name in HELD_LISTS:
        raise InvalidTopology(f"{name!r} is the name of a list of dead letters, not of a queue; see mesh queue dead-letters {name}")
    return name


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or len(value) > NAME_CHARS_MAX:
        raise InvalidTopology(f"{what} is a text of at most {NAME_CHARS_MAX} characters, not {value!r:.80}")
    return value


def _priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX:
        raise InvalidTopology(f"a priority is a whole number from 0 to {PRIORITY_MAX}, not {value!r}")
    return value


def _headers(headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    check_headers("a message", headers)
    return dict(headers)


def _expires_ms(expiration: float | None) -> int:
    if expiration is None:
        return 0
    if isinstance(expiration, bool) or not isinstance(expiration, (int, float)) or not 0 < expiration <= EXPIRATION_S_MAX:
        raise InvalidTopology(f"an expiration is a number of seconds above 0, not {expiration!r}")
    return int((time.time() + expiration) * 1000)
