"""The parts around the simulated cores: disks, the network, clients and workers, all on virtual time from one seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mesh.core.effects import Batch, Restored
from mesh.wire.entries import Message
from mesh.wire.messages import (
    Attach,
    Attached,
    Confirm,
    Deliver,
    HeadState,
    Leaving,
    NewCoordinator,
    Offer,
    Outcome,
    Outcomes,
    OutcomesKept,
    Ping,
    Refused,
    Results,
    Submit,
)

if TYPE_CHECKING:
    from tests.simulation.world import World


class Disk:
    """What a crash leaves: only whole, fsynced transactions."""

    def __init__(self) -> None:
        self.term = 0
        self.voted_for = ""
        self.heads: dict[bytes, HeadState] = {}
        self.entries: dict[tuple[bytes, int], bytes] = {}

    def apply(self, batch: Batch) -> None:
        """Commit a transaction."""
        for name in batch.dropped:
            self.heads.pop(name, None)
            self.entries = {key: blob for key, blob in self.entries.items() if key[0] != name}
        for journal, sequence, blob in batch.entries:
            self.entries[journal, sequence] = blob
        for key in batch.settled:
            self.entries.pop(key, None)
        self.heads.update(batch.heads)
        if batch.vote is not None:
            self.term, self.voted_for = batch.vote

    def restored(self) -> Restored:
        """What a new process finds."""
        entries = [(journal, sequence, blob) for (journal, sequence), blob in sorted(self.entries.items())]
        return Restored(self.term, self.voted_for, list(self.heads.values()), entries)

    def covers(self, journal: bytes, sequence: int) -> bool:
        """Whether the entry is, or was, safely here."""
        head = self.heads.get(journal)
        return head is not None and head.upto >= sequence


@dataclass
class Network:
    """Who can reach whom, how slowly, and how badly."""

    rng: random.Random
    delay_s: tuple[float, float] = (0.0002, 0.003)
    loss: float = 0.0
    duplication: float = 0.0
    cut: set[tuple[str, str]] = field(default_factory=set)
    _last_arrival: dict[tuple[str, str], float] = field(default_factory=dict)

    def arrivals(self, now: float, sender: str, receiver: str) -> list[float]:
        """When a message sent now arrives: never, once or twice; in order per direction, as a connection does."""
        if (sender, receiver) in self.cut or self.rng.random() < self.loss:
            return []
        times = [now + self.rng.uniform(*self.delay_s)]
        if self.rng.random() < self.duplication:
            times.append(times[0] + self.rng.uniform(*self.delay_s))
        ordered = []
        for time in times:
            time = max(time, self._last_arrival.get((sender, receiver), 0.0) + 1e-9)
            self._last_arrival[sender, receiver] = time
            ordered.append(time)
        return ordered

    def heal(self) -> None:
        """Everything reaches everybody again."""
        self.cut.clear()
        self.loss = self.duplication = 0.0


class Program:
    """A client or worker: attached to one node by a session, and to another when that one is gone."""

    kind = "client"

    def __init__(self, world: World, name: str, home: str) -> None:
        self.world = world
        self.name = name
        self.home = home
        self.node = ""
        self.session = b""
        self.sessions = 0
        self.attached = False
        self.alive = True
        self.heard_at = 0.0

    def attach(self) -> None:
        """Attach to the node on the own host when it runs, else to any that does."""
        running = self.world.running_for(self.home)
        if not running:
            return
        self.node = self.home if self.home in running else self.world.rng.choice(running)
        self.sessions += 1
        self.session = f"{self.name}/{self.sessions}".encode()
        self.attached = False
        self.heard_at = self.world.now
        self.world.programs[self.session] = self
        self.send(Attach(self.kind, self.name, 1))

    def send(self, request: object) -> None:
        """Send to the node that this program is attached to."""
        self.world.send_request(self.home, self.node, self.session, request)

    def tick(self) -> None:
        """Called every 0.25 s of virtual time."""
        if not self.alive:
            return
        if not self.node or not self.world.is_up(self.node) or self.world.now - self.heard_at > 2.0:
            self.attach()
        elif self.attached:
            self.send(Ping())

    def receive(self, reply: object) -> None:
        """A message from the node."""
        self.heard_at = self.world.now
        if isinstance(reply, Attached):
            self.attached = True
            self.on_attached()
        elif isinstance(reply, Refused | Leaving):
            self.node = ""
        else:
            self.on_reply(reply)

    def on_attached(self) -> None:
        """A session stands."""

    def on_reply(self, reply: object) -> None:
        """Any other message."""


class Client(Program):
    """Publishes, retries the same ids until confirmed, and waits for results."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self.unconfirmed: dict[int, tuple[list[str], float]] = {}
        self.number = 0
        self.made = 0

    def publish(self, count: int) -> None:
        """Submit new messages."""
        ids = []
        for _ in range(count):
            self.made += 1
            ids.append(f"{self.name}-{self.made:05d}")
        self.world.history.published.update(ids)
        self._submit(ids)

    def _submit(self, ids: list[str]) -> None:
        self.number += 1
        self.unconfirmed[self.number] = (ids, self.world.now)
        if self.attached:
            queue = "q"
            self.send(Submit(self.number, [Message(id, queue, "task", id.encode()) for id in ids]))

    def tick(self) -> None:
        super().tick()
        for number, (ids, since) in list(self.unconfirmed.items()):
            if self.world.now - since > 3.0:
                del self.unconfirmed[number]
                self._submit(ids)

    def on_attached(self) -> None:
        for number, (ids, _since) in list(self.unconfirmed.items()):
            del self.unconfirmed[number]
            self._submit(ids)

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, Confirm):
            ids, _ = self.unconfirmed.pop(reply.number, ([], 0.0))
            for id in ids:
                self.world.history.confirmed[id] = max(self.world.history.confirmed.get(id, 0), reply.copies)
        elif isinstance(reply, Results):
            for result in reply.results:
                self.world.history.results.add(result.id)


class Worker(Program):
    """Runs tasks of random length in two slots, keeps outcomes until they are safe."""

    kind = "worker"

    def __init__(self, world: World, name: str, home: str, slots: int = 2) -> None:
        super().__init__(world, name, home)
        self.slots = slots
        self.id = f"w-{name}"
        self.lives = 0
        self.held: set[str] = set()
        self.outbox: dict[str, Outcome] = {}

    def crash(self) -> None:
        """The process is killed, its tasks with it."""
        self.alive = False
        self.lives += 1
        self.held, self.outbox = set(), {}
        self.node = ""
        self.attached = False

    def restart(self) -> None:
        """A new worker process."""
        self.alive = True
        self.id = f"w-{self.name}.{self.lives}"

    def on_attached(self) -> None:
        self._report()

    def _report(self) -> None:
        active = sorted(self.held | set(self.outbox))
        self.send(Offer(self.id, self.name, ["q"], ["task"], self.slots, self.slots + 2, active, 1, self.sessions))
        if self.outbox:
            self.send(Outcomes(self.id, self.slots + 2, list(self.outbox.values())))

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, NewCoordinator):
            self._report()
        elif isinstance(reply, Deliver):
            for delivery in reply.deliveries:
                if delivery.id in self.outbox:
                    self.send(Outcomes(self.id, self.slots + 2, [self.outbox[delivery.id]]))
                elif delivery.id not in self.held:
                    self.held.add(delivery.id)
                    self.world.history.start(delivery.id, self.world.now, self.id)
                    run_s = self.world.rng.choice((0.001, 0.01, 0.05, 0.3, 1.5))
                    self.world.after(run_s, self._finish, delivery.id, self.lives)
        elif isinstance(reply, OutcomesKept):
            for id in reply.ids:
                self.outbox.pop(id, None)

    def _finish(self, id: str, life: int) -> None:
        if life != self.lives or id not in self.held:
            return
        self.held.discard(id)
        self.world.history.finished[id] = self.world.history.finished.get(id, 0) + 1
        self.outbox[id] = Outcome(id, body=b"r")
        if self.attached:
            self.send(Outcomes(self.id, self.slots + 2, [self.outbox[id]]))


@dataclass
class History:
    """What happened, recorded from outside the mesh."""

    published: set[str] = field(default_factory=set)
    confirmed: dict[str, int] = field(default_factory=dict)
    starts: dict[str, list[tuple[float, str]]] = field(default_factory=dict)
    finished: dict[str, int] = field(default_factory=dict)
    results: set[str] = field(default_factory=set)
    contents: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def start(self, id: str, now: float, worker: str) -> None:
        """A worker began a task."""
        self.starts.setdefault(id, []).append((now, worker))

    def duplicates(self) -> int:
        """Tasks that were started more than once."""
        return sum(len(starts) > 1 for starts in self.starts.values())
