"""Keys of tasks: of the live tasks with one key there is one (decision 124).

Nothing here is kept: who has a key is derived from live messages and from results, by whoever becomes coordinator. The word that a key is
free holds for a moment, in which the message comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.core.cluster.replica import Journal, Replica
from mesh.ids import time_of
from mesh.wire.calls import Call
from mesh.wire.entries import Failure, Message, Result, Status

if TYPE_CHECKING:
    from mesh.core.broker.broker import Broker

RESERVED_S = 10.0
"""How long a key is kept for a task whose message has not come."""
HOLDERS_MIN = 1024
"""So many keys are not looked through for those that are free."""
NOT_UNIQUE = "mesh.errors.NotUnique"


class Holder:
    """Who has a key, and how long it has it beyond its life."""

    __slots__ = ("id", "reserved_until_s", "until_ms")

    def __init__(self, id: str, reserved_until_s: float, until_ms: int) -> None:
        self.id = id
        self.reserved_until_s = reserved_until_s
        self.until_ms = until_ms
        """Wall clock; 0: as long as the task is live."""


class Unique:
    """Who has which key. Whether somebody still has it is looked up when it is asked for."""

    def __init__(self, broker: Broker, replica: Replica) -> None:
        self._broker = broker
        self._replica = replica
        self._holders: dict[str, Holder] = {}
        self._looked_at = HOLDERS_MIN

    def reset(self) -> None:
        """The reign is over."""
        self._holders.clear()
        self._looked_at = HOLDERS_MIN

    def __len__(self) -> int:
        return len(self._holders)

    def reserve(self, key: str, id: str) -> str:
        """The id of the task that has the key. When nobody has, it is kept for this one, until its message comes."""
        holder = self._holder(key)
        if holder is None:
            self._put(key, Holder(id, self._broker.now + RESERVED_S, 0))
            return id
        return holder.id

    def refuses(self, journal: Journal, sequence: int, message: Message) -> bool:
        """Whether another live task has the key of a message that comes: then it is settled, with a result that says so. Else it has it."""
        call = message.call
        if call is None or not call.unique:
            return False
        holder = self._holder(call.unique)
        if holder is None or holder.id == message.id:
            self._put(call.unique, Holder(message.id, 0.0, self._until_ms(call, message.id)))
            return False
        broker = self._broker
        text = f"task {holder.id} has the key {call.unique!r}, so this one does not run"
        result = Result(message.id, int(Status.REVOKED), failure=Failure(NOT_UNIQUE, text), at_ms=broker.wall_ms)
        result = broker.flows.place(result, message)
        self._replica.settle(journal, sequence)
        broker.pushes.push(journal.owner, result)
        self._replica.write(result)
        return True

    def ended(self, result: Result) -> None:
        """A task has ended whose key is kept for a time: a new coordinator knows of it by that."""
        call = result.call
        if call is not None and call.unique and call.unique_ms and self._holder(call.unique) is None:
            self._put(call.unique, Holder(result.id, 0.0, self._until_ms(call, result.id)))

    def _until_ms(self, call: Call, id: str) -> int:
        if not call.unique_ms:
            return 0
        submitted_ms = time_of(id)
        return (self._broker.wall_ms if submitted_ms is None else submitted_ms) + call.unique_ms

    def _holder(self, key: str) -> Holder | None:
        holder = self._holders.get(key)
        if holder is None or self._has(holder):
            return holder
        del self._holders[key]
        return None

    def _has(self, holder: Holder) -> bool:
        if holder.until_ms:
            return self._broker.wall_ms < holder.until_ms
        return self._broker.is_live(holder.id) or self._broker.now < holder.reserved_until_s

    def _put(self, key: str, holder: Holder) -> None:
        if len(self._holders) >= self._looked_at:
            self._holders = {key: holder for key, holder in self._holders.items() if self._has(holder)}
            self._looked_at = max(HOLDERS_MIN, 2 * len(self._holders))
        self._holders[key] = holder
