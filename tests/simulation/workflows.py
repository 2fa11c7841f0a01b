"""Programs that submit small workflows while faults happen."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from mesh.wire.bodies import decode
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message
from tests.simulation.programs import QUEUE, TASK, Client
from tests.simulation.steps import Step

if TYPE_CHECKING:
    from tests.simulation.world import World

FAILS = 0.08
CALLBACKS = 0.15
DEPTH_MAX = 3


class Composer(Client):
    """Publishes workflows, which wait for each other's values; submits them again until they are confirmed."""

    def __init__(self, world: World, name: str, home: str) -> None:
        super().__init__(world, name, home)
        self.rng = random.Random(f"{world.seed} {name}")
        self.workflows = 0
        self._messages: list[Message] = []

    def publish(self, count: int) -> None:
        """Submit a workflow; what waits goes first."""
        self.workflows += 1
        self._messages = []
        self._grow(DEPTH_MAX, "", "", 0)
        messages = sorted(self._messages, key=lambda message: message.flow is None or not (message.flow.after or message.flow.gathers >= 0))
        self.world.history.published.update(message.id for message in messages)
        self._submit(messages)

    def _grow(self, depth: int, after: str, into: str, place: int) -> str:
        """A piece of a workflow, with one end; returns the id of that."""
        draw = self.rng.random() if depth else 0.0
        if draw < 0.4:
            return self._step(after, into, place)
        if draw < 0.7:
            for _ in range(self.rng.randint(1, 3)):
                after = self._step(after, "", 0)
            for _ in range(self.rng.randint(0, 2)):
                self._step(after, "", 0)
            return self._step(after, into, place)
        return self._chord(depth - 1, after, into, place)

    def _chord(self, depth: int, after: str, into: str, place: int) -> str:
        count = self.rng.randint(0, 4)
        gather = self._add(Flow(after if not count else "", gathers=count))
        self.world.workflows.steps[gather].members = [self._grow(depth, after, gather, place) for place in range(count)]
        return self._step(gather, into, place)

    def _step(self, after: str, into: str, place: int) -> str:
        flow = Flow(after, into=into, place=place, takes_value=self.rng.random() < 0.9)
        id = self._add(flow if after or into else None, fails=self.rng.random() < FAILS)
        if self.rng.random() < CALLBACKS:
            self._add(Flow(id, When.FAILURE))
        return id

    def _add(self, flow: Flow | None, *, fails: bool = False) -> str:
        self.made += 1
        id = f"{self.name}-{self.made:05d}"
        task = TASK if flow is None or flow.gathers < 0 else ""
        message = Message(id, QUEUE, task, id.encode(), flow=flow)
        if not task:
            message.body = b""
        self._messages.append(message)
        self.world.workflows.steps[id] = Step(message, fails, workflow=self.workflows)
        return id

    def on_fetched(self, key: str, error: str) -> None:
        value = bytes(self.values.pop(key).body)
        if error:
            return
        if decode(value) != self.world.workflows.value(key):
            self.world.violate(f"I9: the value of {key} is {decode(value)}")
        self.world.history.results.add(key)
        self.waiting.pop(key, None)
