"""Programs that publish and consume plain messages, and die with them, while faults happen; what must hold of it (I20)."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

from mesh.wire.entries import DeadLetter, Message
from mesh.wire.messages import (
    Confirm,
    Deliver,
    NewCoordinator,
    Offer,
    Outcome,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    Recall,
    Submit,
)
from mesh.worker.holdings import Holdings
from tests.simulation.programs import RUN_S, SUBMIT_AGAIN_S, Program
from tests.simulation.topology import disk_was_lost

if TYPE_CHECKING:
    from tests.simulation.host import Host
    from tests.simulation.world import World

QUEUE = "p"
PREFETCH = 4
HOP_S = 0.001
ACT_S = (0.2, 1.5)
"""Pause between two things that a program does of itself."""
ENDS = {OutcomeKind.ACKED: 0.8, OutcomeKind.REQUEUED: 0.15, OutcomeKind.REJECTED: 0.05}


class TalkHistory:
    """What the programs have published, seen and said."""

    def __init__(self) -> None:
        self.published: set[str] = set()
        self.confirmed: set[str] = set()
        self.seen: Counter[str] = Counter()
        """How often a program was handed a message."""
        self.reasons: Counter[str] = Counter()
        """How often it had to be handed out again: somebody gave it back, or died with it."""
        self.over: set[str] = set()
        """What somebody has acknowledged or rejected."""


class Talker(Program):
    """One program with one consumer, that publishes, too. All dice are its own."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self.rng = random.Random(f"{world.seed}/{name}")
        self.lives = 0
        self.number = 0
        self.made = 0
        self.act_at = 1.0
        self.unconfirmed: dict[int, tuple[Message, float]] = {}
        self._begin()

    def _begin(self) -> None:
        self.consumer = f"{self.name}.{self.lives}/1"
        self.holdings = Holdings()
        self.working: set[str] = set()
        """What the program has been handed and not ended."""
        self._greeted = False

    @property
    def history(self) -> TalkHistory:
        """What all of them have seen."""
        return self.world.talk

    # -- of itself --------------------

    def tick(self) -> None:
        super().tick()
        now = self.world.now
        if self.paused_until > now:
            return
        if self.attached and not self.world.healed and now >= self.act_at:
            self.act_at = now + self.rng.uniform(*ACT_S)
            self._act()
        for number, (message, since) in list(self.unconfirmed.items()):
            if since <= now - SUBMIT_AGAIN_S:
                del self.unconfirmed[number]
                self._submit(message)
        self._take()

    def _act(self) -> None:
        draw = self.rng.random()
        if draw < 0.1:
            self._die()
        elif draw < 0.2:
            self.holdings.give_back_ready()
            self._tell()
        else:
            for _ in range(self.rng.randint(1, 4)):
                self.made += 1
                message = Message(f"{self.name}-{self.made:04d}", QUEUE, "", b"x")
                self.history.published.add(message.id)
                self._submit(message)

    def _die(self) -> None:
        """kill -9, and another process of the same program at once; what was published stays to be confirmed."""
        for id in [*self.working, *self.holdings.outbox]:
            self.history.reasons[id] += 1
        host = self.world.hosts.get(self.node)
        if host is not None and self.attached:
            self.world.after(HOP_S, self._close, host, host.life, self.session)
        self.lives += 1
        self._begin()
        self.node, self.attached = "", False
        self._backlog = []

    def _close(self, host: Host, life: int, session: bytes) -> None:
        """What the kernel tells the node, unless the network is cut."""
        if host.life == life and host.machine is not None and not self.world.network.is_cut(self.home, host.name):
            host.step(host.machine.on_session_closed, session)

    def _submit(self, message: Message) -> None:
        self.number += 1
        self.unconfirmed[self.number] = (message, self.world.now)
        if self.attached:
            self.send(Submit(self.number, [message]))

    # -- the consumer --------------------

    def on_attached(self) -> None:
        self._greeted = False
        unconfirmed, self.unconfirmed = self.unconfirmed, {}
        for message, _ in unconfirmed.values():
            self._submit(message)
        self._tell()

    def _tell(self) -> None:
        if not self.attached:
            return
        if not self._greeted:
            self._greeted = True
            self.send(Offer(self.consumer, self.name, [QUEUE], [""], 1, PREFETCH, self.holdings.active(), 1, self.sessions))
            self.holdings.say_all_again()
        leaving, self.holdings.leaving = self.holdings.leaving, []
        if leaving:
            self.send(Outcomes(self.consumer, PREFETCH, leaving))

    def on_reply(self, reply: object) -> None:
        if isinstance(reply, Confirm):
            message, _ = self.unconfirmed.pop(reply.number, (None, 0.0))
            if message is not None and reply.error:
                self.unconfirmed[reply.number] = (message, self.world.now)  # to be sent again
            elif message is not None:
                self.history.confirmed.add(message.id)
        elif isinstance(reply, NewCoordinator):
            self._greeted = False
        elif isinstance(reply, Deliver) and reply.worker == self.consumer:
            self.holdings.accept(reply.deliveries)
            self._take()
        elif isinstance(reply, OutcomesKept) and reply.worker == self.consumer:
            self.holdings.kept(reply.ids, reply.kinds)
        elif isinstance(reply, Recall):
            self.holdings.recall(reply.ids, reply.count)
        self._tell()

    def _take(self) -> None:
        """The program asks for the next message, one after the other."""
        while self.holdings.ready and len(self.working) < 2:
            delivery = self.holdings.ready.popleft()
            self.working.add(delivery.id)
            self.history.seen[delivery.id] += 1
            self.world.after(self.rng.choice(RUN_S), self._end, delivery.id, self.lives)

    def _end(self, id: str, life: int) -> None:
        if life != self.lives:
            return
        if self.paused_until > self.world.now:
            self.world.after(self.paused_until - self.world.now, self._end, id, life)
            return
        self.working.discard(id)
        (kind,) = self.rng.choices(list(ENDS), list(ENDS.values())) if not self.world.healed else (OutcomeKind.ACKED,)
        if kind == OutcomeKind.REQUEUED:
            self.history.reasons[id] += 1
        else:
            self.history.over.add(id)
        self.holdings.settle(Outcome(id, kind))
        self._tell()
        self._take()


# -- in the calm --------------------


def unfinished(world: World) -> str:
    """What has to come to its end still, or nothing."""
    for talker in world.talkers:
        if talker.unconfirmed:
            return f"{talker.name} has no confirm of {len(talker.unconfirmed)} messages"
        if talker.holdings.held or talker.holdings.outbox:
            return f"{talker.name} holds {[*talker.holdings.held, *talker.holdings.outbox][:5]}"
    (leader,) = world.coordinators()
    assert leader.machine is not None
    waiting = sorted(world.talk.published & leader.machine.broker.records.keys())
    return f"plain messages wait: {waiting[:5]}" if waiting else ""


def i20_confirmed_is_seen_or_live(world: World) -> None:
    """I20: a confirmed plain message was dealt with by somebody who had seen it, or is live; but for lost disks."""
    if disk_was_lost(world):
        return
    alive = set().union(*(host.disk.live_ids(Message) for host in world.hosts.values()))
    alive |= {letter.message.id for host in world.hosts.values() for letter in host.disk.live(DeadLetter)}
    lost = sorted(world.talk.confirmed - world.talk.over - alive)
    if lost:
        world.violate(f"I20: {lost[:3]} were confirmed, and nobody has dealt with them")


def i20_without_faults_nothing_comes_twice(world: World) -> None:
    """I20: without faults a message is handed out again only when its consumer gave it back or died."""
    talk = world.talk
    twice = sorted(id for id, count in talk.seen.items() if count > 1 + talk.reasons[id])
    if twice:
        world.violate(f"I20: {twice[:3]} were handed out again, and nobody had given them back")
