"""What travels only between a node and the programs attached to it (tags 40-59); messages.py has all of the protocol.

Fields and tags are append-only.
"""

from __future__ import annotations

import msgspec

from mesh.wire.entries import Member, Message

PROTOCOL_VERSION = 1


class Attach(msgspec.Struct, array_like=True, tag=40):
    """First message of a client (``kind`` "client") or worker ("worker")."""

    kind: str
    name: str
    pid: int
    protocol: int = PROTOCOL_VERSION


class Attached(msgspec.Struct, array_like=True, tag=41):
    mesh: str
    mesh_id: str
    node: str
    node_id: str
    coordinator: str
    """Name of the coordinator, empty while there is none."""
    members: list[Member] = []
    """For finding another node when this one is gone."""
    max_body_bytes: int = 1 << 20


class Refused(msgspec.Struct, array_like=True, tag=42):
    code: str
    text: str


class Submit(msgspec.Struct, array_like=True, tag=43):
    number: int
    messages: list[Message]
    deadline_ms: int = 0
    """How long the sender waits for the confirm; with durability="safe" (R6), and over a limit. 0: it does not wait for room."""
    granted: int = 0
    """The number of the Submit that a Go has let in: this one has its messages, or the first of them."""
    several: bool = False
    """The messages of several callers: it is refused with ``apart`` rather than have all of them wait, or one not know that its message was
    in no queue's way."""


class Confirm(msgspec.Struct, array_like=True, tag=44):
    number: int
    """The Submit's; 0 for warnings about earlier ones, confirmed before the node knew what is consumed."""
    copies: int
    """Fsynced copies that exist; 0 when the messages were not accepted."""
    error: str = ""
    warnings: list[str] = []
    """Queues among the messages' that no live worker consumes."""
    unroutable: int = 0
    """So many of the messages were in no queue's way and are not kept; they were not mandatory."""


class Held(msgspec.Struct, array_like=True, tag=50):
    """A Submit has to wait for room, and nothing of it was kept: Go says when to send it again, a Confirm that it was in vain."""

    number: int
    why: str
    """``code: text``, as the error of the Confirm would be."""


class Go(msgspec.Struct, array_like=True, tag=51):
    """There is room for a Submit: send it again now, with a new number and this one as ``granted``."""

    number: int
    count: int
    """So many of its messages, from the first on; the others are a Submit of their own."""


class Ping(msgspec.Struct, array_like=True, tag=45):
    pass


class Pong(msgspec.Struct, array_like=True, tag=46):
    pass


class Detach(msgspec.Struct, array_like=True, tag=47):
    """A client or worker leaves politely; a worker has given back or finished all that it held."""


class Leaving(msgspec.Struct, array_like=True, tag=48):
    """The node stops: attach to another."""


class Upload(msgspec.Struct, array_like=True, tag=54, gc=False):
    """A client or worker has a large body for the node: it waits for a Grant, then sends chunks in order."""

    body: bytes
    """The id of Chunks."""
    size: int
    chunk_bytes: int
    """Size of each chunk but the last."""


class Grant(msgspec.Struct, array_like=True, tag=55, gc=False):
    """The node takes the chunks of a body below ``upto``. All bodies share one window (credit as in RFC 9113, 5.2)."""

    body: bytes
    upto: int
    error: str = ""
    """Why nothing of the body is taken, else empty: as in Confirm."""


class UploadChunk(msgspec.Struct, array_like=True, tag=56, gc=False):
    """One chunk of a body that the node has granted."""

    body: bytes
    index: int
    data: bytes


class CancelUpload(msgspec.Struct, array_like=True, tag=57, gc=False):
    """The sender gave up: the node drops the chunks that it has of the body."""

    body: bytes
