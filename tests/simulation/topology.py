"""Programs that change the topology and publish through it while faults happen, and what must hold of it (I16, I17)."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mesh.core.cluster.topology import Name, Topology, name_of
from mesh.core.machine import Machine
from mesh.wire.entries import DeadLetter, Dot, Message
from mesh.wire.messages import Answer, Confirm, Query, Submit
from mesh.wire.topology import Binding, Exchange, Properties, QueueDeclaration
from tests.simulation.programs import SUBMIT_AGAIN_S, Program

if TYPE_CHECKING:
    from tests.simulation.world import World

EXCHANGES = {"x0": "direct", "x1": "topic", "x2": "fanout"}
QUEUES = ("t0", "t1", "t2", "t3")
KEYS = ("a", "a.b", "b")
PATTERNS = ("a", "#", "a.*")
ACT_S = (0.2, 1.2)
"""Pause between two things that a program does."""
FOREVER = float("inf")
EFFECTIVE = ("", "no-coordinator", "failed", "busy")
"""Codes of answers after which a change may have been made, or may still be."""
Change = dict[str, Any]


@dataclass
class Asked:
    """One question, as its asker sees it."""

    changes: list[Change]
    sent_s: float
    answered_s: float = FOREVER
    made: list[bool] = field(default_factory=list)
    """For each change whether it changed something; empty without a good answer."""
    in_vain: bool = False
    """The answer says that nothing was changed."""


@dataclass(frozen=True)
class Expiring:
    """A message with a time of its own."""

    made_at_s: float
    due_s: float
    """True time after which it must not be handed out."""


@dataclass
class Published:
    """One message, as its publisher sees it."""

    sent_s: float
    confirmed: bool = False
    copies: list[str] = field(default_factory=list)
    """The ids of what it had become when it was confirmed."""


class TopologyHistory:
    """What was asked and published, and which entries were written."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.published: dict[str, Published] = {}
        self.queues: dict[str, set[str]] = {}
        """Id of a plain message to the queues that it was routed to."""
        self.written_s: dict[str, float] = {}
        """Id of a plain message to when a node wrote it last."""
        self.entries: dict[Dot, Name] = {}
        """Every dot of an exchange, queue or binding that was ever written."""
        self.expiring: dict[str, Expiring] = {}
        """Id of a task to when it expires."""
        self.gone: set[Dot] = set()
        """Of these the ones that were settled where a program had the answer that they were deleted."""

    def wrote(self, entry: Message, now: float) -> None:
        """A node wrote a plain message."""
        self.queues.setdefault(entry.id, set()).add(entry.queue)
        self.written_s[entry.id] = now

    def touched(self, since_s: float, *wanted: tuple[str, str]) -> bool:
        """Whether one of these changes, (what it does, to which name), may have been made since then."""
        return any(
            not asked.in_vain and asked.answered_s >= since_s and (change["do"], change.get("name")) in wanted
            for asked in self.asked
            for change in asked.changes
        )


class Declarer(Program):
    """Declares, binds, deletes and publishes; all dice are its own, so that other programs do as they would without it."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self.rng = random.Random(f"{world.seed}/{name}")
        self.number = 0
        self.made = 0
        self.act_at = 1.0
        self.questions: dict[int, Asked] = {}
        self.unconfirmed: dict[int, tuple[Message, float]] = {}

    @property
    def history(self) -> TopologyHistory:
        """What all of them have seen."""
        return self.world.topology

    def tick(self) -> None:
        super().tick()
        now = self.world.now
        if self.attached and not self.world.healed and now >= self.act_at:
            self.act_at = now + self.rng.uniform(*ACT_S)
            self._act()
        self._submit_again(now - SUBMIT_AGAIN_S)

    def _act(self) -> None:
        if self.rng.random() < 0.5:
            for _ in range(self.rng.randint(1, 3)):
                self._publish()
        else:
            self._ask(self._changes())

    def _changes(self) -> list[Change]:
        rng = self.rng
        exchange, queue = rng.choice(list(EXCHANGES)), rng.choice(QUEUES)
        bind = {"source": exchange, "destination": queue, "routing_key": rng.choice(PATTERNS)}
        declared: list[Change] = [
            {"do": "declare-exchange", "name": exchange, "type": EXCHANGES[exchange]},
            {"do": "declare-queue", "name": queue, "max_priority": rng.choice((1, 1, 2))},
            {"do": "bind", **bind},
        ]
        others: list[Change] = [
            {"do": "delete-queue", "name": queue},
            {"do": "delete-exchange", "name": exchange},
            {"do": "purge", "name": queue},
            {"do": "unbind", **bind},
        ]
        return declared if rng.random() < 0.6 else [rng.choices(others, (4, 1, 1, 2))[0]]

    def _ask(self, changes: list[Change]) -> None:
        self.number += 1
        asked = self.questions[self.number] = Asked(changes, self.world.now)
        self.history.asked.append(asked)
        self.send(Query(self.number, "topology-change", json.dumps({"changes": changes})))

    def _publish(self) -> None:
        self.made += 1
        properties = Properties(exchange=self.rng.choice(list(EXCHANGES)), routing_key=self.rng.choice(KEYS))
        message = Message(f"{self.name}-{self.made:04d}", "", "", b"x", properties=properties)
        self.history.published[message.id] = Published(self.world.now)
        self._submit(message)

    def _submit(self, message: Message) -> None:
        self.number += 1
        self.unconfirmed[self.number] = (message, self.world.now)
        if self.attached:
            self.send(Submit(self.number, [message]))

    def _submit_again(self, before: float) -> None:
        for number, (message, since) in list(self.unconfirmed.items()):
            if since <= before:
                del self.unconfirmed[number]
                self._submit(message)

    def on_attached(self) -> None:
        self.questions.clear()  # whether they were carried out is unknown from now on
        self._submit_again(self.world.now)

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, Answer):
            self._on_answer(reply)
        elif isinstance(reply, Confirm):
            self._on_confirm(reply)

    def _on_answer(self, answer: Answer) -> None:
        asked = self.questions.pop(answer.number, None)
        if asked is None:
            return
        code = answer.error.partition(":")[0]
        asked.in_vain = code not in EFFECTIVE
        if answer.error:
            return
        asked.answered_s = self.world.now
        asked.made = [row["changed"] for row in json.loads(answer.body)["changes"]]
        machine = self.world.hosts[self.node].machine if self.node in self.world.hosts else None
        deleted = {("queue", change["name"]) for change in asked.changes if change["do"] == "delete-queue"}
        if machine is not None and deleted:
            dots = {dot for dot, name in self.history.entries.items() if name in deleted}
            self.history.gone |= {dot for dot in dots if _is_settled(machine, dot)}

    def _on_confirm(self, confirm: Confirm) -> None:
        message, _ = self.unconfirmed.pop(confirm.number, (None, 0.0))
        if message is None or confirm.unroutable or confirm.error.startswith("unroutable"):
            return
        if confirm.error:
            self.unconfirmed[confirm.number] = (message, self.world.now)  # to be sent again
            return
        history, published = self.history, self.history.published[message.id]
        published.confirmed = True
        at_s = history.written_s[message.id]
        ids = [id for id in history.queues if id == message.id or id.startswith(f"{message.id}/")]
        published.copies = [id for id in ids if history.written_s[id] == at_s]


def _is_settled(machine: Machine, dot: Dot) -> bool:
    journal = machine.replica.journals.get(dot[0])
    return journal is not None and journal.upto >= dot[1] and dot[1] not in journal.live


# -- in the calm --------------------


def i16_all_nodes_have_the_same_topology(world: World) -> None:
    """I16: when all is healed all nodes have the same topology, and route alike."""
    tables = {name: _table(machine) for name, machine in world.machines().items()}
    (first, expected), *others = tables.items()
    for name, table in others:
        if table != expected:
            world.violate(f"I16: {first} and {name} have different topologies: {sorted(set(table) ^ set(expected))[:4]}")
    for name, machine in world.machines().items():
        fresh = _entries(machine)
        if len(fresh) != len({name_of(entry) for _, entry in fresh}):
            world.violate(f"I16: {name} keeps two values for one name")


def _table(machine: Machine) -> dict[str, object]:
    topology: Topology = machine.topology
    routing = topology.routing
    table: dict[str, object] = {f"exchange {name}": exchange for name, exchange in routing.exchanges.items()}
    table |= {f"queue {name}": queue for name, queue in topology.queues.items()}
    table |= {f"binding {name}": True for name in routing.bindings}  # that is all of it, but the revision
    return table | {f"route {name} {key}": routing.route(name, key, {}) for name in EXCHANGES for key in KEYS}


def _entries(machine: Machine) -> list[tuple[Dot, Exchange | QueueDeclaration | Binding]]:
    return [
        ((journal.name, sequence), entry)
        for journal in machine.replica.journals.values()
        if journal.shared
        for sequence, entry in journal.live.items()
        if isinstance(entry, Exchange | QueueDeclaration | Binding)
    ]


def i16_what_was_answered_is_so(world: World) -> None:
    """I16: what was declared is there unless it was deleted, and what was deleted does not come back unless it was declared again.

    Not when a disk was lost: an answer has as many copies as a confirm, and a restored backup knows nothing of what was deleted since.
    """
    history = world.topology
    if disk_was_lost(world):
        return
    (leader,) = world.coordinators()
    assert leader.machine is not None
    risen = [name for dot, name in ((dot, history.entries[dot]) for dot, _ in _entries(leader.machine)) if dot in history.gone]
    if risen:
        world.violate(f"I16: {risen[:3]} came back although the deletion was answered")
    routing = leader.machine.topology.routing
    for asked in history.asked:
        for change, made in zip(asked.changes, asked.made, strict=False):
            missing = made and _is_missing(world, routing.exchanges, routing.queues, asked, change)
            if missing:
                world.violate(f"I16: {change['name']} was declared at {asked.answered_s:.3f} s, deleted by nobody, and is gone")


def _is_missing(world: World, exchanges: Any, queues: Any, asked: Asked, change: Change) -> bool:
    name = change.get("name", "")
    if change.get("durable") is False:
        return False  # I19 is about it
    if change["do"] == "declare-queue":
        return name not in queues and not world.topology.touched(asked.sent_s, ("delete-queue", name))
    if change["do"] == "declare-exchange":
        return name not in exchanges and not world.topology.touched(asked.sent_s, ("delete-exchange", name))
    return False


def i17_what_was_routed_is_kept(world: World) -> None:
    """I17: a confirmed message that was routed to a queue is in it, or in lost+found, unless the queue was deleted or purged since."""
    history = world.topology
    if disk_was_lost(world):
        return
    alive = set().union(*(host.disk.live_ids(Message) for host in world.hosts.values()))
    alive |= {letter.message.id for host in world.hosts.values() for letter in host.disk.live(DeadLetter)}
    for id, published in sorted(history.published.items()):
        if published.confirmed and not published.copies:
            world.violate(f"I17: {id} was confirmed, and written nowhere")
        for copy in published.copies:
            queues = history.queues[copy]
            ends = [(do, queue) for queue in queues for do in ("delete-queue", "purge")]
            if copy not in alive and not history.touched(published.sent_s, *ends):
                world.violate(f"I17: {copy} was confirmed, routed to {sorted(queues)}, and is lost")


def i17_nothing_waits_for_a_queue_that_is_gone(world: World) -> Iterator[str]:
    """I17: ... and not in the queue of that name once it was deleted."""
    (leader,) = world.coordinators()
    assert leader.machine is not None
    for id, record in leader.machine.broker.records.items():
        message = record.message
        declared = message.properties is not None and message.properties.declared
        if declared and leader.machine.topology.queue(message.queue) is None:
            yield f"{id} waits in {message.queue}, which was deleted"


def disk_was_lost(world: World) -> bool:
    """Whether a disk was wiped or set back in this run."""
    return any(host.disk.damaged_at > 0 for host in world.hosts.values())


def unfinished(world: World) -> str:
    """What programs that change the topology still wait for, or nothing."""
    for declarer in world.declarers:
        if declarer.unconfirmed:
            return f"{declarer.name} has no confirm of {len(declarer.unconfirmed)} submits"
    return next(i17_nothing_waits_for_a_queue_that_is_gone(world), "") if world.declarers else ""
