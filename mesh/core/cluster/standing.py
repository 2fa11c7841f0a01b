"""One value for a name among replicated entries: the one with the highest (term, revision, dot) stands, never by a wall clock (R22)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from mesh.core.cluster.replica import Journal, Replica
from mesh.wire.entries import Scope, Setting
from mesh.wire.topology import Binding, Exchange, QueueDeclaration

Name = TypeVar("Name", bound=Hashable)
Value = TypeVar("Value", bound=Setting | Exchange | QueueDeclaration | Binding)


class _Place(NamedTuple, Generic[Value]):
    rank: tuple[int, int, bytes, int]
    entry: Value
    journal: Journal
    sequence: int


class StandingValues(Generic[Name, Value]):
    """The value that stands for each name; the others are settled as they are met."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._places: dict[Name, _Place[Value]] = {}

    def get(self, name: Name) -> Value | None:
        """What stands for a name, None for nothing."""
        place = self._places.get(name)
        return place.entry if place is not None else None

    def put(self, name: Name, entry: Value, term: int, scope: Scope = Scope.SHARED) -> None:
        """Write a value that stands from now on, above the one that did."""
        known = self.get(name)
        revision = known.revision + 1 if known is not None else 1
        term = max(term, known.term) if known is not None else term
        self._replica.write(replace(entry, term=term, revision=revision), scope)

    def remove(self, name: Name) -> None:
        """Settle what stands for a name, if anything does."""
        place = self._places.get(name)
        if place is not None:
            self._replica.settle(place.journal, place.sequence)

    def came(self, name: Name, journal: Journal, sequence: int, entry: Value) -> bool:
        """An entry has come: whether it stands. The one that does not is settled."""
        rank = (entry.term, entry.revision, journal.name, sequence)
        known = self._places.get(name)
        if known is not None and known.rank > rank:
            self._replica.settle(journal, sequence)
            return False
        self._places[name] = _Place(rank, entry, journal, sequence)
        if known is not None and known.rank != rank:
            self._replica.settle(known.journal, known.sequence)
        return True

    def gone(self, name: Name, journal: Journal, sequence: int) -> bool:
        """An entry was settled: whether it was the one that stood."""
        known = self._places.get(name)
        if known is None or known.journal is not journal or known.sequence != sequence:
            return False
        del self._places[name]
        return True
