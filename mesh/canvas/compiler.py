"""From a canvas to its messages (decision 120): what each step waits for, and where its value goes. Pure.

A step is visited after the one before it. Ids are given from above, so that a step can be told the id of the one before it although that
is made of many: a chain goes by the id of its last step, a chord by its body's, a group by its gather's. So depth costs no stack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mesh.call_options import NO_OPTIONS
from mesh.canvas.chain import Chain
from mesh.canvas.chord import Chord
from mesh.canvas.composite import STEPS_MAX, Composite
from mesh.canvas.group import Group
from mesh.errors import CanvasTooLarge, InvalidCanvas
from mesh.signature import Signature
from mesh.step import LINKS, Step
from mesh.wire.calls import Flow, When

DEPTH_MAX = 500
"""Levels of groups, chains, chords and links in each other."""
_OWN = frozenset(["task_id", *LINKS])
"""Options of a composite that are not its steps'."""
_OF_THE_HEADER = ("countdown", "eta")


class TaskNode:
    """A task of a plan: who submitted the plan may want its result."""

    __slots__ = ("following", "id", "parent")

    def __init__(self, id: str, parent: Node | None) -> None:
        self.id = id
        self.parent = parent
        self.following: list[str] = []
        """Ids of the tasks that wait for it, in order."""


class GroupNode:
    """A group of a plan."""

    __slots__ = ("id", "members", "parent")

    def __init__(self, id: str, parent: Node | None, size: int) -> None:
        self.id = id
        self.parent = parent
        self.members: list[Any] = [None] * size


Node = TaskNode | GroupNode


class Planned:
    """A message of a plan; without a ``step`` it is a gather."""

    __slots__ = ("flow", "group", "id", "index", "root", "step")

    def __init__(self, id: str, step: Signature[Any] | None, flow: Flow | None, visit: _Visit) -> None:
        self.id = id
        self.step = step
        self.flow = flow
        self.root = visit.root
        self.group, self.index = visit.group


class Plan:
    """The messages of a canvas, and its results: ``top`` for each of the steps, ``nodes`` all of them, a parent before its children."""

    def __init__(self, size: int) -> None:
        self.messages: list[Planned] = []
        self.nodes: list[Node] = []
        self.top: list[Any] = [None] * size


class _Visit:
    """A step to be compiled, and what it gets from above."""

    __slots__ = (
        "after",
        "args",
        "before",
        "depth",
        "errors",
        "gathered",
        "group",
        "holder",
        "id",
        "index",
        "into",
        "kwargs",
        "links",
        "options",
        "place",
        "root",
        "step",
        "takes",
        "up",
        "when",
    )

    def __init__(self, step: Step, id: str, holder: list[Any], index: int, up: _Visit | None) -> None:
        self.step = step
        self.id = id
        self.holder = holder
        """With ``index``: where its node goes."""
        self.index = index
        self.up: _Visit | None = up
        self.depth: int = 0 if up is None else up.depth + 1
        self.after = ""
        self.when = When.SUCCESS
        self.takes = True
        self.args: Sequence[Any] = ()
        self.kwargs: Mapping[str, Any] = NO_OPTIONS
        self.options: Mapping[str, Any] = NO_OPTIONS
        self.links: Sequence[Step] = ()
        self.errors: Sequence[Step] = ()
        self.into = ""
        self.place = 0
        self.gathered = False
        """Something needs its value: a group has to be gathered."""
        self.before: tuple[list[Any], int] | None = None
        """Where the node of the step before it is."""
        self.root: str = ""
        self.group: tuple[str, int] = ("", -1)

    def call_as(self, other: _Visit) -> None:
        """Take what the step around this one was called with, and its own arguments and options."""
        whole = other.step
        self.takes = other.takes and not whole.immutable
        self.args, self.kwargs = whole.args, whole.kwargs
        if not whole.immutable and (other.args or other.kwargs):
            self.args, self.kwargs = (*other.args, *whole.args), {**whole.kwargs, **other.kwargs}
        self.options = _passed(whole.options, other.options)

    def wait_as(self, other: _Visit) -> None:
        """Wait for what the step around this one waits for."""
        self.after, self.when, self.before = other.after, other.when, other.before

    def end_as(self, other: _Visit) -> None:
        """Be the end of the step around this one."""
        self.into, self.place, self.gathered, self.group = other.into, other.place, other.gathered, other.group


def compile_canvas(steps: Sequence[Step], new_id: Callable[[], str], tasks: Mapping[str, Any] = NO_OPTIONS) -> Plan:
    """The plan of some canvases that are submitted together.

    ``tasks`` are those whose arguments can be checked. Raises InvalidCanvas, CanvasTooLarge, and TypeError for arguments that a task of
    ``tasks`` does not take; beyond that, options and arguments are not looked at.
    """
    compiler = _Compiler(len(steps), new_id, tasks)
    for index, step in reversed(list(enumerate(steps))):
        compiler.waiting.append(_Visit(step, compiler.id_of(step, NO_OPTIONS), compiler.plan.top, index, None))
    compiler.run()
    return compiler.plan


def compile_replacement(step: Step, id: str, flow: Flow | None, new_id: Callable[[], str], tasks: Mapping[str, Any]) -> Plan:
    """The plan of what runs in place of the task ``id``, whose place in a workflow is ``flow``: its end goes by that id. Raises as
    :func:`compile_canvas`.
    """
    compiler = _Compiler(1, new_id, tasks)
    visit = _Visit(step, id, compiler.plan.top, 0, None)
    visit.gathered = True
    if flow is not None:
        visit.into, visit.place = flow.into, flow.place
    compiler.waiting.append(visit)
    compiler.run()
    return compiler.plan


class _Compiler:
    def __init__(self, size: int, new_id: Callable[[], str], tasks: Mapping[str, Any]) -> None:
        self.plan = Plan(size)
        self.waiting: list[_Visit] = []
        self._new_id = new_id
        self._tasks = tasks
        self._count = 0
        self._chosen: set[str] = set()

    def run(self) -> None:
        waiting = self.waiting
        while waiting:
            visit = waiting.pop()
            self._count += 1
            if self._count > STEPS_MAX:
                raise CanvasTooLarge(f"a workflow has at most {STEPS_MAX:,} steps, groups, chains and chords: submit it in parts")
            if visit.depth > DEPTH_MAX:
                refuse_depth(visit)
            step = visit.step
            if isinstance(step, Signature):
                self._task(visit, step)
            elif isinstance(step, Group):
                self._group(visit, step)
            elif isinstance(step, Chain):
                self._chain(visit, step)
            elif isinstance(step, Chord):
                self._chord(visit, step)
            else:
                raise InvalidCanvas(f"{step!r:.100} can't be submitted")

    def id_of(self, step: Step, options: Mapping[str, Any]) -> str:
        """The id that a step goes by when it has ended."""
        for _ in range(2 * DEPTH_MAX):
            chosen = options.get("task_id") or step.options.get("task_id")
            if chosen is not None:
                if chosen in self._chosen:
                    raise InvalidCanvas(f"two steps of a workflow want the task_id {chosen!r}")
                self._chosen.add(chosen)
                return str(chosen)
            if isinstance(step, Chain) and step.tasks:
                step = step.tasks[-1]
            elif isinstance(step, Chord):
                step = step.required_body()
            else:
                break
            options = NO_OPTIONS
        return self._new_id()

    # -- kinds of steps --------------------

    def _task(self, visit: _Visit, step: Signature[Any]) -> None:
        args, kwargs, options = step.args, step.kwargs, step.options
        if not step.immutable and (visit.args or visit.kwargs):
            args, kwargs = (*visit.args, *args), {**kwargs, **visit.kwargs}
        if options or visit.options:
            options = {name: value for name, value in {**options, **visit.options}.items() if name not in _OWN}
        if args is not step.args or kwargs is not step.kwargs or options is not step.options:
            step = step.with_call(args, kwargs, options)
        takes = visit.takes and not step.immutable
        self._check(step, visit, takes)
        flow = None
        if visit.after or visit.into:
            flow = Flow(visit.after, visit.when, takes, -1, visit.into, visit.place)
        self.plan.messages.append(Planned(visit.id, step, flow, visit))
        node = TaskNode(visit.id, self._parent(visit))
        self._ended(visit, node)
        if visit.errors or visit.links or visit.step.options:
            self._follow(visit, visit.id, [*visit.step.linked("link"), *visit.links], [*visit.step.linked("link_error"), *visit.errors])

    def _chain(self, visit: _Visit, step: Chain) -> None:
        count = len(step.tasks)
        if not count:
            raise InvalidCanvas("a chain needs a step")
        links, errors = [*step.linked("link"), *visit.links], [*step.linked("link_error"), *visit.errors]
        line: list[Any] = [None] * count
        ids = [self.id_of(part, NO_OPTIONS) for part in step.tasks[:-1]] + [visit.id]
        root = visit.root or ids[0]
        parts = []
        for index, part in enumerate(step.tasks):
            last = index == count - 1
            inner = _Visit(part, ids[index], visit.holder if last else line, visit.index if last else index, visit)
            inner.root, inner.errors, inner.gathered = root, errors, True
            if last:
                inner.end_as(visit)
                inner.links = links
            if index:
                inner.after, inner.before = ids[index - 1], (line, index - 1)
            else:
                inner.call_as(visit)
                inner.wait_as(visit)
            parts.append(inner)
        self.waiting += reversed(parts)

    def _group(self, visit: _Visit, step: Group) -> None:
        node = GroupNode(visit.id, self._parent(visit), len(step.tasks))
        links, errors = [*step.linked("link"), *visit.links], [*step.linked("link_error"), *visit.errors]
        gathered = visit.gathered or bool(visit.into or links)
        if any(isinstance(part, Group) for part in step.tasks):
            parts = self._flat(visit, step)
            node.members = [None] * len(parts)
        else:
            parts = [_Visit(part, self.id_of(part, NO_OPTIONS), node.members, index, visit) for index, part in enumerate(step.tasks)]
        for index, inner in enumerate(parts):
            inner.holder, inner.index = node.members, index
            if inner.up is visit:
                inner.call_as(visit)
            inner.wait_as(visit)
            inner.root, inner.group = visit.root, (visit.id, index)
            if gathered:
                inner.into, inner.place = visit.id, index
            else:
                inner.errors = [*inner.errors, *errors]
        self._ended(visit, node)
        if gathered:
            self._gather(visit, len(parts))
            self._follow(visit, visit.id, links, errors)
        self.waiting += reversed(parts)

    def _flat(self, visit: _Visit, step: Group) -> list[_Visit]:
        """The parts of a group, with those of groups in it in their place."""
        parts: list[_Visit] = []
        waiting = [(visit, part) for part in reversed(step.tasks)]
        while waiting:
            up, part = waiting.pop()
            self._count += 1
            if self._count > STEPS_MAX:
                raise CanvasTooLarge(f"a workflow has at most {STEPS_MAX:,} steps, groups, chains and chords: submit it in parts")
            inner = _Visit(part, "", visit.holder, 0, up)
            inner.call_as(up)
            if up is not visit:
                inner.errors = [*up.step.linked("link_error"), *up.errors]
            if inner.depth > DEPTH_MAX:
                refuse_depth(inner)
            if isinstance(part, Group) and not part.linked("link"):
                waiting += [(inner, deeper) for deeper in reversed(part.tasks)]
            else:
                inner.id = self.id_of(part, NO_OPTIONS)
                parts.append(inner)
        return parts

    def _chord(self, visit: _Visit, step: Chord) -> None:
        line: list[Any] = [None]
        errors = [*step.linked("link_error"), *visit.errors]
        header = _Visit(step.header, self.id_of(step.header, NO_OPTIONS), line, 0, visit)
        header.call_as(visit)
        header.wait_as(visit)
        header.gathered, header.errors = True, errors
        body = _Visit(step.required_body(), visit.id, visit.holder, visit.index, visit)
        body.end_as(visit)
        body.options = {name: value for name, value in header.options.items() if name not in _OF_THE_HEADER}
        body.after, body.before, body.errors = header.id, (line, 0), errors
        body.links = [*step.linked("link"), *visit.links]
        header.root = body.root = visit.root or header.id
        self.waiting += (body, header)

    def _gather(self, visit: _Visit, size: int) -> None:
        flow = Flow(visit.after, visit.when, False, size, visit.into, visit.place)
        self.plan.messages.append(Planned(visit.id, None, flow, visit))

    def _follow(self, visit: _Visit, id: str, links: Sequence[Step], errors: Sequence[Step]) -> None:
        """Have callbacks wait for the task or gather ``id``."""
        for when, steps in ((When.SUCCESS, links), (When.FAILURE, errors)):
            for step in steps:
                inner = _Visit(step, self.id_of(step, NO_OPTIONS), [None], 0, visit)
                inner.after, inner.when, inner.root = id, when, visit.root or id
                inner.before = (visit.holder, visit.index)
                self.waiting.append(inner)

    # -- nodes, checks --------------------

    def _parent(self, visit: _Visit) -> Node | None:
        if visit.before is None:
            return None
        holder, index = visit.before
        parent: Node | None = holder[index]
        return parent

    def _ended(self, visit: _Visit, node: Node) -> None:
        visit.holder[visit.index] = node
        self.plan.nodes.append(node)
        if isinstance(node.parent, TaskNode) and isinstance(node, TaskNode):
            node.parent.following.append(node.id)

    def _check(self, step: Signature[Any], visit: _Visit, takes: bool) -> None:
        """Whether the task takes the value that comes beside its arguments; a call that is complete is checked with its message."""
        check_items = getattr(step, "check", None)
        if check_items is not None:
            check_items(self._tasks)
            return
        task = self._tasks.get(step.task)
        if task is not None and takes and visit.after and visit.when == When.SUCCESS and isinstance(step.args, (list, tuple)):
            task.check_arguments((None, *step.args), step.kwargs)


def _passed(own: Mapping[str, Any], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a composite that its steps get; those of the call win."""
    if not own and not given:
        return NO_OPTIONS
    return {name: value for name, value in {**own, **given}.items() if name not in _OWN}


def refuse_depth(visit: _Visit) -> None:
    """Raise InvalidCanvas when a step contains itself, else CanvasTooLarge."""
    seen: set[int] = set()
    up: _Visit | None = visit
    while up is not None:
        if id(up.step) in seen and (isinstance(up.step, Composite) or any(up.step.linked(name) for name in LINKS)):
            raise InvalidCanvas(f"a {up.step.subtask_type or 'signature'} contains itself, or is linked to itself")
        seen.add(id(up.step))
        up = up.up
    raise CanvasTooLarge(f"a workflow is nested at most {DEPTH_MAX} levels deep")
