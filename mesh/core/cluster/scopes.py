"""Which of a process's journals an entry belongs to: who holds it, and whether that is on disks or in memory only (decision 113)."""

from __future__ import annotations

import hashlib

from mesh.wire.entries import Absence, DeadLetter, Entry, Member, Message, Scope, Setting
from mesh.wire.topology import Binding, Exchange, QueueDeclaration


def is_shared(scope: int) -> bool:
    """Whether every node holds such a journal."""
    return scope in (Scope.SHARED, Scope.FLEETING_SHARED)


def is_fleeting(scope: int) -> bool:
    """Whether such a journal is in memory only, on every node."""
    return scope in (Scope.FLEETING, Scope.FLEETING_SHARED)


def fleeting_name(journal: bytes) -> bytes:
    """The name of the journal in memory beside one on the disk: as random, and as surely never used again."""
    return hashlib.blake2b(journal, digest_size=16, person=b"fleeting").digest()


def is_transient(message: Message) -> bool:
    """Whether a message is kept in memory only: it says so, or its queue has had it say so."""
    return message.properties is not None and message.properties.transient


def scope_of(entry: Entry) -> Scope:
    """Where an entry is written when nothing else is said. What is written anew of a transient message stays transient."""
    if isinstance(entry, Message):
        return Scope.FLEETING if is_transient(entry) else Scope.BULK
    if isinstance(entry, DeadLetter):
        return scope_of(entry.message)
    if isinstance(entry, Exchange | QueueDeclaration):
        return Scope.SHARED if entry.durable else Scope.FLEETING_SHARED
    return Scope.SHARED if isinstance(entry, Member | Setting | Absence | Binding) else Scope.BULK
