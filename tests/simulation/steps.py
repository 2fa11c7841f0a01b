"""What the workflows of a run should come to, and what must hold of them (I9)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mesh.wire.bodies import NONE, decode, encode
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Failure, Message, Result, Status
from mesh.wire.messages import Delivery, Outcome

if TYPE_CHECKING:
    from tests.simulation.world import World

EXPIRES_SOON_S = 3600.0
RAISED = "builtins.ValueError"
OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass
class Step:
    """A task or a gather as its workflow describes it."""

    message: Message
    fails: bool = False
    members: list[str] = field(default_factory=list)
    """Of a gather, by place."""
    workflow: int = 0

    @property
    def flow(self) -> Flow:
        """Its place, also where its message says nothing."""
        return self.message.flow or Flow()


class Workflows:
    """All steps of all workflows that were submitted, and what should become of each."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self._ends: dict[str, str] = {}

    def end(self, id: str) -> str:
        """How a step has to end: ``ok``, ``failed`` or ``skipped``."""
        if id not in self._ends:
            self._ends[id] = self._end(self.steps[id])
        return self._ends[id]

    def _end(self, step: Step) -> str:
        flow = step.flow
        if flow.after:
            before = self.end(flow.after)
            if (before == OK) != (flow.when == When.SUCCESS) or (flow.when == When.FAILURE and before == SKIPPED):
                return SKIPPED
        if any(self.end(member) != OK for member in step.members):
            return FAILED
        return FAILED if step.fails else OK

    def value(self, id: str) -> object:
        """The value of a step that ends well."""
        step = self.steps[id]
        return [self.value(member) for member in step.members] if step.flow.gathers >= 0 else id

    def outcome(self, delivery: Delivery) -> Outcome:
        """What a worker makes of a step."""
        if self.steps[delivery.id].fails:
            return Outcome(delivery.id, status=Status.FAILURE, failure=Failure(RAISED, delivery.id))
        return Outcome(delivery.id, body=encode(delivery.id))


def i9_a_step_begins_with_what_it_waited_for(world: World, delivery: Delivery) -> None:
    """I9: a step, and the body of a chord above all, begins when all that it waits for has ended, and gets every value in its place."""
    flows, flow = world.workflows, delivery.flow
    if delivery.id not in flows.steps or flow is None or not flow.after:
        return
    given, before = delivery.input, flows.steps[flow.after]
    value = given.body or NONE if given is not None else NONE
    if flows.end(delivery.id) == SKIPPED:
        world.violate(f"I9: {delivery.id} runs, and {flow.after} has {flows.end(flow.after)}")
    elif given is None or given.id != flow.after:
        world.violate(f"I9: {delivery.id} runs without a word of {flow.after}")
    elif flow.when == When.SUCCESS and flow.takes_value and decode(value) != flows.value(flow.after):
        world.violate(f"I9: {delivery.id} gets {decode(value)} of {flow.after}")
    missing = [id for id in _tasks(world, before) if id not in world.history.finished]
    if missing and flow.when == When.SUCCESS:
        world.violate(f"I9: {delivery.id} runs before {missing}")


def _tasks(world: World, step: Step) -> list[str]:
    """The tasks whose value a step has."""
    if step.flow.gathers < 0:
        return [step.message.id]
    return [id for member in step.members for id in _tasks(world, world.workflows.steps[member])]


def excused(world: World) -> set[str]:
    """Workflows of which something was on a disk that was lost: what waits for that waits until results would have expired."""
    steps, history = world.workflows.steps, world.history
    lost = {_workflow(id, step) for id, step in steps.items() if id in history.wiped or id in history.results_wiped}
    return {id for id, step in steps.items() if _workflow(id, step) in lost} if lost else set()


def _workflow(id: str, step: Step) -> tuple[str, int]:
    return id.partition("-")[0], step.workflow


def i9_each_step_is_settled_once(world: World) -> None:
    """I9: after healing each step has one result, which follows from the workflow alone; nothing waits any more (I3)."""
    (leader,) = world.coordinators()
    if any(host.ahead_s > world.settings.result_expires_s for host in world.hosts.values()):
        return  # by such a clock all results have expired
    results: dict[str, list[Result]] = {}
    for result in leader.disk.live(Result):
        results.setdefault(result.id, []).append(result)
    excuses = excused(world)
    for id in world.workflows.steps:
        if id in world.history.confirmed and id not in excuses:
            problem = _problem(world, id, results.get(id, []))
            if problem:
                world.violate(f"I9: {id} has {problem}; it should have {world.workflows.end(id)}")


def _problem(world: World, id: str, results: list[Result]) -> str:
    if not results and world.settings.result_expires_s < EXPIRES_SOON_S:
        return ""
    if len(results) != 1:
        return f"{len(results)} results"
    (result,) = results
    failure = result.failure.type_name if result.failure is not None else ""
    end = SKIPPED if result.skipped else OK if result.status == Status.SUCCESS else FAILED
    if end != world.workflows.end(id):
        return f"{end} {failure}"
    if end == OK and result.chunks is None and decode(result.body) != world.workflows.value(id):
        return f"the value {decode(result.body)}"
    return ""
