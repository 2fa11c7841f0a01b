"""Messages that were delivered too often without ending: kept, with the history of their attempts, until somebody decides (R24)."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from mesh.core.cluster.replica import Journal
from mesh.core.stamps import in_queue
from mesh.wire.entries import Attempt, DeadLetter, Message
from mesh.wire.topology import QueueDeclaration


class DeadLetters:
    """The dead letters of all queues, by task id."""

    def __init__(self) -> None:
        self._by_id: dict[str, tuple[Journal, int, DeadLetter]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, letter: DeadLetter, journal: Journal, sequence: int) -> None:
        """Keep a dead letter; a later one for the same id replaces it."""
        self._by_id[letter.message.id] = (journal, sequence, letter)

    def lost(self, journal: Journal, sequence: int, letter: DeadLetter) -> None:
        """The entry was settled."""
        known = self._by_id.get(letter.message.id)
        if known is not None and known[0] is journal and known[1] == sequence:
            del self._by_id[letter.message.id]

    def get(self, id: str) -> tuple[Journal, int, DeadLetter] | None:
        """A dead letter with its dot, or None."""
        return self._by_id.get(id)

    def held(self, id: str) -> tuple[Journal, int] | None:
        """The dot of a message that is in quarantine, None when this one is not."""
        known = self._by_id.get(id)
        return known[:2] if known is not None and known[2].held_in else None

    def of_queue(self, queue: str) -> list[DeadLetter]:
        """The dead letters of one queue, or those in quarantine, oldest first."""
        letters = [letter for _, _, letter in self._by_id.values() if list_of(letter) == queue]
        return sorted(letters, key=lambda letter: (letter.at_ms, letter.message.id))

    def count(self, queue: str) -> int:
        """How many dead letters a queue has."""
        return sum(list_of(letter) == queue for _, _, letter in self._by_id.values())

    def queues(self) -> set[str]:
        """Names of queues that have dead letters."""
        return {list_of(letter) for _, _, letter in self._by_id.values()}


def list_of(letter: DeadLetter) -> str:
    """The list that a dead letter is in: its queue's, or the quarantine."""
    return letter.held_in or letter.message.queue


def renewed(message: Message, history: tuple[Attempt, ...], skew_ms: int = 0) -> Message:
    """The message as a new entry, with the attempts that were lost so far. ``skew_ms``: how far ahead the clock is that it went by."""
    eta_ms = message.eta_ms - skew_ms if message.eta_ms else 0
    properties = message.properties
    if properties is not None and properties.expires_ms:
        properties = replace(properties, expires_ms=properties.expires_ms - skew_ms)
    return replace(message, attempts=len(history), eta_ms=eta_ms, history=history, properties=properties)


def revived(message: Message, declared: QueueDeclaration, wall_ms: int) -> Message:
    """A message as if it was published anew to its queue, which may be gone: by a person's decision it goes there all the same."""
    properties = message.properties
    if properties is not None:
        properties = in_queue(replace(properties, expires_ms=0), declared, wall_ms)
    return replace(message, attempts=0, eta_ms=0, history=(), properties=properties)


def as_row(letter: DeadLetter) -> dict[str, Any]:
    """A dead letter as ``mesh queue dead-letters --json`` shows it."""
    message = letter.message
    deaths = message.properties.deaths if message.properties is not None else ()
    return {
        "id": message.id,
        "task": message.task,
        "queue": message.queue,
        "reason": letter.reason,
        "at_ms": letter.at_ms,
        "attempts": [
            {"node": a.node, "worker": a.worker, "started_ms": a.started_ms, "ended_ms": a.ended_ms, "how": a.how} for a in message.history
        ],
        "deaths": [msgspec.structs.asdict(death) for death in deaths],
    }
