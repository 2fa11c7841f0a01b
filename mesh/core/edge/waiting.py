"""Which attached programs wait for which results: by task id, in a few bytes each when they are many."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from mesh.core.id_table import FIRST, IdTable, key_of

IDS_A_TICK = 8_000
"""Of the table, looked at or told to a new coordinator in one tick, so that the loop does not stand still."""


class Waiting:
    """Task id to the session(s) that wait for its result: ``few_max`` of them in a dict, which is faster, the others in a table."""

    def __init__(self, live: Mapping[bytes, object], few_max: int) -> None:
        self._few_max = few_max
        self._live = live
        """The sessions that there are."""
        self._few: dict[str, bytes | set[bytes]] = {}
        self._many = IdTable()
        self._numbers: dict[bytes, int] = {}
        self._sessions: dict[int, bytes] = {}
        self._next_number = 1
        self._closed = False
        """A session was closed since the last tick: some waits may be for nobody."""
        self._rounds = 0
        """Rounds through the table that are left until all waits for nobody are forgotten."""
        self._told_to: bytes | None = None
        """Up to where in the table a new coordinator has been told; None: all of it."""

    def add(self, id: str, session: bytes) -> None:
        """A session waits for this task."""
        few = self._few
        waiting = few.get(id)
        if waiting is None:
            if len(few) >= self._few_max and self._many.add(id, self._number(session)) is not None:
                return
            waiting = self._session(self._many.pop(key_of(id))) if self._many else None
            waiting = few[id] = waiting or session
        if isinstance(waiting, set):
            waiting.add(session)
        elif waiting not in self._live:
            few[id] = session
        elif waiting != session:
            few[id] = {waiting, session}

    def add_many(self, ids: Sequence[str], session: bytes) -> None:
        """A session waits for these tasks."""
        few = self._few
        many = len(few) >= self._few_max and few.keys().isdisjoint(ids)
        if not many or self._many.add_many(ids, [self._number(session)] * len(ids)) is None:
            for id in ids:
                self.add(id, session)

    def _number(self, session: bytes) -> int:
        number = self._numbers.get(session)
        if number is None:
            number = self._numbers[session] = self._next_number
            self._sessions[number] = session
            self._next_number += 1
        return number

    def pop(self, id: str) -> Collection[bytes]:
        """Who waited for this task, and no longer does."""
        waiting = self._few.pop(id, None)
        if waiting is None and self._many:
            waiting = self._session(self._many.pop(key_of(id)))
        return _in_order(waiting)

    def get(self, id: str) -> Collection[bytes]:
        """Who waits for this task."""
        waiting = self._few.get(id)
        if waiting is None and self._many:
            waiting = self._session(self._many.get(key_of(id)))
        return _in_order(waiting)

    def _session(self, number: int | None) -> bytes | None:
        return self._sessions.get(number) if number is not None else None

    def ids(self) -> Iterator[str]:
        """All tasks that a session waits for."""
        yield from self._few
        for id, number in self._many.walk(FIRST, len(self._many))[0]:
            if number in self._sessions:
                yield id

    # -- little by little --------------------

    def closed(self, session: bytes) -> None:
        """A session is gone."""
        self._closed = True
        number = self._numbers.pop(session, None)
        if number is not None:
            del self._sessions[number]
            self._rounds = 2  # of the present one a part is over

    def tell_again(self) -> list[str]:
        """A new coordinator is to be told what is waited for: the first of it, and the rest by ``tick``."""
        self._told_to = FIRST if self._many else None
        return list(self._few)

    @property
    def telling(self) -> bool:
        """Whether a new coordinator is still being told."""
        return self._told_to is not None

    def tick(self) -> list[str]:
        """Forget waits of sessions that are gone; returns more ids that a new coordinator is to be told."""
        if self._closed:
            self._closed = False
            for id in [id for id, waiting in self._few.items() if not any(session in self._live for session in _in_order(waiting))]:
                del self._few[id]
        if self._rounds and self._many.sweep(lambda number: number in self._sessions, IDS_A_TICK):
            self._rounds -= 1
        if self._told_to is None:
            return []
        found, self._told_to = self._many.walk(self._told_to, IDS_A_TICK)
        return [id for id, number in found if number in self._sessions]


def _in_order(waiting: bytes | set[bytes] | None) -> Collection[bytes]:
    if waiting is None:
        return ()
    return sorted(waiting) if isinstance(waiting, set) else (waiting,)
