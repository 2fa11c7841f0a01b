"""Identifiers: task ids (UUIDv7, RFC 9562 section 5.7), node ids, journal names, session ids."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from uuid import UUID as UUID  # the type, for mesh/wire: a pure layer does not import a module that draws random numbers

JOURNAL_BYTES = 16
"""A journal is named by 128 random bits (rule R1)."""

_lock = threading.Lock()
_last_ms = 0
_counter = 0


def task_id() -> str:
    """A new UUIDv7 as text. Ids made by one process ascend, also within one millisecond (RFC 9562 section 6.2, method 1)."""
    global _last_ms, _counter
    random = os.urandom(10)
    now_ms = time.time_ns() // 1_000_000
    with _lock:
        if now_ms > _last_ms:
            _last_ms = now_ms
            _counter = random[0] << 3 | random[1] >> 5  # leaves half of the 12 bits free to count up
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms += 1
                _counter = 0
        ms, counter = _last_ms, _counter
    text = f"{ms:012x}7{counter:03x}{0x80 | random[2] & 0x3F:02x}{random[3:].hex()}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_of(id: str) -> int | None:
    """When a UUIDv7 was made, by the clock of its maker, in milliseconds since 1970; None for an id of another kind."""
    if len(id) != 36 or id[14] != "7" or id[8] != "-":
        return None
    try:
        return int(id[:8] + id[9:13], 16)
    except ValueError:
        return None


def journal_name() -> bytes:
    """128 random bits: the name of a journal that one process start writes."""
    return os.urandom(JOURNAL_BYTES)


def session_id() -> bytes:
    """16 random bytes: names one attachment of a client or worker to a node."""
    return os.urandom(16)


def body_id() -> bytes:
    """16 random bytes: names one try to send a large body."""
    return os.urandom(16)


def worker_id() -> str:
    """16 hexadecimal characters: names one worker process for its lifetime."""
    return os.urandom(8).hex()


def node_id(public_key: bytes) -> str:
    """The id of the node that owns a Curve25519 public key (32 bytes): 16 characters of base32 of its SHA-256."""
    return base64.b32encode(hashlib.sha256(public_key).digest()[:10]).decode().lower()
