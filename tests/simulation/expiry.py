"""Programs whose messages expire and die while faults happen, and what must hold of them (I18)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mesh.wire.entries import DeadLetter, Message
from mesh.wire.messages import Answer, Confirm
from mesh.wire.topology import Properties
from tests.simulation.programs import QUEUE, TASK
from tests.simulation.topology import Change, Declarer, Expiring, Published, disk_was_lost

if TYPE_CHECKING:
    from tests.simulation.world import World

MORTAL, GRAVE, COPY = "e0", "e1", "e2"
"""What expires in the first goes through an exchange to the others."""
TTL_S = 1.0
SETUP: list[Change] = [
    {"do": "declare-exchange", "name": "dead", "type": "fanout"},
    {"do": "declare-queue", "name": MORTAL, "message_ttl_ms": int(TTL_S * 1000), "dead_letter_exchange": "dead"},
    {"do": "declare-queue", "name": GRAVE},
    {"do": "declare-queue", "name": COPY},
    {"do": "bind", "source": "dead", "destination": GRAVE},
    {"do": "bind", "source": "dead", "destination": COPY},
]


class Undertaker(Declarer):
    """Publishes tasks that expire, and messages to a queue in which nobody waits for them."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self._declared = False

    def _act(self) -> None:
        if not self._declared:
            self._ask(SETUP)
            return
        for _ in range(self.rng.randint(1, 3)):
            if self.rng.random() < 0.5:
                self._publish_to_die()
            else:
                self._publish_task()

    def _publish_to_die(self) -> None:
        message = Message(self._next_id(), MORTAL, "", b"x", properties=self._expires() if self.rng.random() < 0.3 else None)
        self.history.published[message.id] = Published(self.world.now)
        self._submit(message)

    def _publish_task(self) -> None:
        message = Message(self._next_id(), QUEUE, TASK, b"x", properties=self._expires())
        self.world.history.published.add(message.id)
        self._submit(message)

    def _next_id(self) -> str:
        self.made += 1
        return f"{self.name}-{self.made:04d}"

    def _expires(self) -> Properties:
        after_s = self.rng.uniform(0.05, 3.0)
        self.history.expiring[f"{self.name}-{self.made:04d}"] = Expiring(self.world.now, self.world.now + after_s)
        return Properties(expires_ms=int((self.world.hosts[self.home].wall_s() + after_s) * 1000))

    def _on_answer(self, answer: Answer) -> None:
        super()._on_answer(answer)
        self._declared = self._declared or not answer.error

    def _on_confirm(self, confirm: Confirm) -> None:
        message, _ = self.unconfirmed.get(confirm.number, (None, 0.0))
        if message is None or not message.task:
            super()._on_confirm(confirm)
        elif not confirm.error:
            del self.unconfirmed[confirm.number]
            self.world.history.confirmed[message.id] = confirm.copies


def still_to_die(world: World) -> str:
    """What waits in the queue in which everything expires, or nothing; a lost disk may have had the declaration."""
    if disk_was_lost(world) or world.clock_changed_at is not None:
        return ""
    (leader,) = world.coordinators()
    assert leader.machine is not None
    queue = leader.machine.broker.queues.get(MORTAL)
    return f"{queue.length} messages in {MORTAL} have not expired" if queue is not None else ""


def i18_the_dead_are_where_they_belong(world: World) -> None:
    """I18: a confirmed message that expired is once in each queue that its queue sends it on to; but for lost disks."""
    if disk_was_lost(world) or world.clock_changed_at is not None:
        return
    (leader,) = world.coordinators()
    assert leader.machine is not None
    found: dict[str, list[str]] = {}
    for message in leader.disk.live(Message):
        if message.queue in (MORTAL, GRAVE, COPY):
            found.setdefault(message.id.partition("/")[0], []).append(message.queue)
    aside = {letter.message.id for letter in leader.disk.live(DeadLetter)}
    for id, published in sorted(world.topology.published.items()):
        if MORTAL not in world.topology.queues.get(id, ()) or not published.confirmed or id in aside:
            continue
        if sorted(found.get(id, [])) != [GRAVE, COPY]:
            world.violate(f"I18: {id} expired in {MORTAL}, and is in {found.get(id, 'no queue')}")
