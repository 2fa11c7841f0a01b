"""What a body is when it does not travel in one piece, and what stands in its place when there is none."""

from __future__ import annotations

import msgspec


class Failure(msgspec.Struct, array_like=True, gc=False):
    """An exception as data: it is rebuilt only from an allow-list, never by importing what the name says."""

    type_name: str
    """Module and qualified name, ``builtins.ValueError``."""
    message: str
    arguments: bytes = b""
    """The exception's ``args`` as a body (mesh/wire/bodies.py), empty when they can't be encoded."""
    traceback: str = ""


class Chunks(msgspec.Struct, array_like=True, gc=False):
    """The body of a message or result that is too large to travel in one piece: its chunks are entries of their own."""

    body: bytes
    """The body's id: 16 random bytes, drawn by the program that cut it, anew at each try."""
    count: int
    size: int
    """Bytes of the whole body."""
    digest: int
    """CRC-32 of the whole body."""
    journal: bytes = b""
    """Where the node that took the chunks wrote them; empty until it says so."""
    last: int = 0
    """Sequence of the last of them: who has seen the journal so far and lacks a chunk knows that it is lost."""
