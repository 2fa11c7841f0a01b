"""Programs that publish what is in memory only while faults happen, and what must hold of it (I19)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.core.cluster.scopes import is_transient
from mesh.core.machine import Machine
from mesh.wire.entries import DeadLetter, Entry, Message
from mesh.wire.messages import Answer, Confirm
from mesh.wire.topology import Exchange, Properties, QueueDeclaration
from tests.simulation.programs import QUEUE, TASK
from tests.simulation.topology import Change, Declarer

if TYPE_CHECKING:
    from mesh.core.effects import Batch
    from tests.simulation.host import Host
    from tests.simulation.world import World

DURABLE, TEMPORARY, EXCHANGE = "f0", "f1", "fx"
SETUP: list[Change] = [
    {"do": "declare-queue", "name": DURABLE},
    {"do": "declare-exchange", "name": EXCHANGE, "type": "fanout", "durable": False},
    {"do": "declare-queue", "name": TEMPORARY, "durable": False},
    {"do": "bind", "source": EXCHANGE, "destination": TEMPORARY},
]
BEFORE_ALL = float("-inf")


class FleetingHistory:
    """What was published to be in memory only, and when the last who held it was gone."""

    def __init__(self) -> None:
        self.sent_s: dict[str, float] = {}
        """Id of a message, or name of what was declared, to when a program first asked for it."""
        self.confirmed_s: dict[str, float] = {}
        self.tasks: set[str] = set()
        """Ids of those that workers run."""
        self.lost_s: dict[str, float] = {}
        """When a process ended that alone had it."""
        self.all_ended_s = BEFORE_ALL
        """When no process ran any more."""

    def ends(self, machine: Machine, others: list[Machine], now: float) -> None:
        """A node process is about to end."""
        lost = held(machine).difference(*map(held, others))
        self.lost_s.update(dict.fromkeys(lost, now))
        if not others:
            self.all_ended_s = now


class Passer(Declarer):
    """Publishes transient tasks, transient messages to a durable queue, and persistent ones to a temporary queue."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self._declared = False

    def _act(self) -> None:
        if not self._declared:
            self._ask(SETUP)
            return
        for _ in range(self.rng.randint(1, 3)):
            self.made += 1
            message = self.rng.choice((self._task, self._to_durable, self._to_temporary))(f"{self.name}-{self.made:04d}")
            self.world.fleeting.sent_s[message.id] = self.world.now
            self._submit(message)

    def _task(self, id: str) -> Message:
        self.world.history.published.add(id)
        self.world.fleeting.tasks.add(id)
        return Message(id, QUEUE, TASK, b"x", properties=Properties(transient=True))

    def _to_durable(self, id: str) -> Message:
        return Message(id, DURABLE, "", b"x", properties=Properties(transient=True))

    def _to_temporary(self, id: str) -> Message:
        return Message(id, "", "", b"x", properties=Properties(exchange=EXCHANGE))

    def _on_answer(self, answer: Answer) -> None:
        asked = self.questions.get(answer.number)
        super()._on_answer(answer)
        if asked is None or answer.error:
            return
        self._declared = True
        for change, made in zip(asked.changes, asked.made, strict=True):
            if made and change.get("durable") is False:
                name = _name(change["do"].removeprefix("declare-"), change["name"])
                self.world.fleeting.sent_s[name] = asked.sent_s
                self.world.fleeting.confirmed_s[name] = self.world.now

    def _on_confirm(self, confirm: Confirm) -> None:
        message, _ = self.unconfirmed.pop(confirm.number, (None, 0.0))
        if message is None:
            return
        if confirm.unroutable or confirm.error.startswith("unroutable"):
            self._declared = False  # all who had the exchange or the queue have ended
        elif confirm.error:
            self.unconfirmed[confirm.number] = (message, self.world.now)  # to be sent again
        else:
            self.world.fleeting.confirmed_s[message.id] = self.world.now
            if confirm.copies:
                self.world.violate(f"I19: {message.id} is transient and was confirmed with {confirm.copies} copies")


def held(machine: Machine) -> set[str]:
    """Ids of the messages, and names of the exchanges and queues, that a node has in memory only."""
    journals = [journal for journal in machine.replica.journals.values() if journal.fleeting]
    return {name for journal in journals for entry in journal.live.values() if (name := _name_of(entry))}


def _name_of(entry: Entry) -> str:
    if isinstance(entry, Message | DeadLetter):
        return entry.id if isinstance(entry, Message) else entry.message.id
    if isinstance(entry, Exchange | QueueDeclaration):
        return _name("exchange" if isinstance(entry, Exchange) else "queue", entry.name)
    return ""


def _name(kind: str, name: str) -> str:
    return f"{kind} {name}"


# -- on the way --------------------


def i19_it_is_on_no_disk(world: World, host: Host, batch: Batch, entry: Entry) -> None:
    """I19: what is transient or temporary is on no disk, nor how far its journals have been seen."""
    temporary = isinstance(entry, Exchange | QueueDeclaration) and not entry.durable
    if temporary or (isinstance(entry, Message) and is_transient(entry)) or any(head.scope > 1 for head in batch.heads.values()):
        world.violate(f"I19: {host.name} writes {_name_of(entry)} to its disk, or a line of its context")


# -- in the calm --------------------


def i19_it_lives_as_long_as_a_holder(world: World) -> None:
    """I19: ... is kept while some process that has it lives, and gone when all processes have ended."""
    (leader,) = world.coordinators()
    assert leader.machine is not None
    here, history = held(leader.machine), world.fleeting
    for name, confirmed_s in sorted(history.confirmed_s.items()):
        lost = history.lost_s.get(name, BEFORE_ALL) >= history.sent_s[name]
        over = name in history.tasks and (name in world.history.finished or name in here)
        if name not in here and not lost and not over:
            world.violate(f"I19: {name} was confirmed at {confirmed_s:.3f} s, somebody who had it lived all the time, and it is gone")
        if name in here and confirmed_s < history.all_ended_s and name not in (_name("queue", TEMPORARY), _name("exchange", EXCHANGE)):
            world.violate(f"I19: {name} was confirmed before all processes ended at {history.all_ended_s:.3f} s, and is back")
