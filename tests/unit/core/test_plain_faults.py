"""Plain messages while nodes crash, are cut off and come back: what was confirmed is consumed, and what was acknowledged stays so."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from mesh.wire.messages import OutcomeKind, OutcomesKept
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Consumer

STEPS = 60


class Story:
    """Three nodes, two publishers and two consumers; what happens follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.cluster = Cluster("abc", max_deliveries=1000)
        self.cluster.until(self.cluster.agreed)
        self.clients: list[Client] = [self.cluster.client(node) for node in "ab"]
        self.consumers: list[Consumer] = [self.cluster.consumer(node, prefetch=4) for node in "bc"]
        self.submitted: list[tuple[Client, int, str]] = []
        self.away: set[str] = set()

    def step(self) -> None:
        """Something happens."""
        actions: dict[str, Callable[[], object]] = {
            "publish": self.publish,
            "ack": self.end_some,
            "requeue": lambda: self.end_some(OutcomeKind.REQUEUED),
            "return": lambda: self.end_some(OutcomeKind.RETURNED),
            "take": self.take,
            "crash": self.crash,
            "restart": self.restart,
            "cut": self.cut,
            "heal": self.cluster.heal,
            "pass": lambda: self.cluster.run(self.dice.choice([0.1, 1.0, 4.0])),
        }
        actions[self.dice.choice([*actions, "restart", *["publish", "ack"] * 4])]()

    def up(self) -> list[str]:
        return [node.name for node in self.cluster.running()]

    def publish(self) -> None:
        client = self.dice.choice(self.clients)
        if client.node in self.up():
            id = f"m{len(self.submitted):03}"
            self.submitted.append((client, client.submit(id, task=""), id))

    def end_some(self, kind: OutcomeKind = OutcomeKind.ACKED) -> None:
        consumer = self.dice.choice(self.consumers)
        ids = [id for id in consumer.held if self.dice.random() < 0.5]
        if ids and consumer.node in self.up():
            {OutcomeKind.ACKED: consumer.ack, OutcomeKind.REQUEUED: consumer.requeue, OutcomeKind.RETURNED: consumer.give_back}[kind](*ids)

    def take(self) -> None:
        consumer = self.dice.choice(self.consumers)
        if consumer.node in self.up():
            consumer.take()

    def crash(self) -> None:
        if len(self.up()) > 1:
            name = self.dice.choice(self.up())
            self.cluster.crash(name, vanish=self.dice.random() < 0.3, commit_lands=self.dice.random() < 0.5)
            self.away.add(name)
            self.move_programs()

    def restart(self) -> None:
        if self.away:
            name = self.dice.choice(sorted(self.away))
            self.away.discard(name)
            self.cluster.start(name)
            self.cluster.run(0.2)

    def cut(self) -> None:
        one, other = self.dice.sample("abc", 2)
        self.cluster.cut(one, other)

    def move_programs(self) -> None:
        """As the library does it: to another node, with all that they hold."""
        for program in [*self.clients, *self.consumers]:
            if program.node not in self.up():
                program.attach(self.dice.choice(self.up()))
        self.cluster.calm()

    def confirmed(self) -> set[str]:
        return {id for client, number, id in self.submitted if client.copies(number)}

    def kept(self) -> set[str]:
        """Messages whose acknowledgement is kept, as their consumer was told."""
        return {
            id
            for consumer in self.consumers
            for reply in consumer.got(OutcomesKept)
            for id, kind in zip(reply.ids, reply.kinds, strict=True)
            if kind == OutcomeKind.ACKED
        }

    def calm_down(self) -> None:
        """All nodes are there, the consumers acknowledge all that comes."""
        self.cluster.heal()
        for name in sorted(self.away):
            self.cluster.start(name)
        self.cluster.until(self.cluster.agreed, within_s=60)
        for _ in range(60):
            self.cluster.run(0.5)
            for consumer in self.consumers:
                if consumer.held:
                    consumer.ack()
            if not any(consumer.held or consumer.outbox for consumer in self.consumers) and not self.waiting():
                return

    def waiting(self) -> set[str]:
        return {
            entry.removeprefix("message:") for node in self.cluster.running() for entry in node.on_disk() if entry.startswith("message:")
        }


@pytest.mark.parametrize("seed", range(40))
def test_what_was_confirmed_is_consumed_and_then_gone(seed: int) -> None:
    story = Story(seed)
    for _ in range(STEPS):
        story.step()
    story.calm_down()
    consumed = {delivery.id for consumer in story.consumers for delivery in consumer.deliveries}
    assert story.confirmed() <= consumed, "nothing that was confirmed is lost"
    assert story.waiting() == set(), "nothing is left behind"
    assert story.confirmed() <= story.kept(), "and every acknowledgement is on the disks"
    assert not any(len(node.machine.broker.dead_letters.queues()) for node in story.cluster.running())
    before = [len(consumer.deliveries) for consumer in story.consumers]
    for name in "abc":
        story.cluster.crash(name)
    story.cluster.start(*"abc")
    story.move_programs()
    for program in story.consumers:
        program.attach(program.node)
    story.cluster.run(30)
    assert [len(consumer.deliveries) for consumer in story.consumers] == before, "not even after a restart of all does one come again"
