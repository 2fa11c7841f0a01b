"""Random canvases, what they are worth in plain Python, and a small interpreter of their plans."""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from mesh import Signature, chain, chord, group, xmap, xstarmap
from mesh.canvas.compiler import Plan, Planned
from mesh.step import Step
from mesh.wire.calls import When


def mix(*args: Any, salt: int = 0) -> int:
    """A number that says which arguments came, in which order, in which lists."""
    return zlib.crc32(repr((args, salt)).encode())


def count(*args: Any) -> int:
    return len(args)


def double(value: Any = None, *rest: Any) -> list[Any]:
    return [value, len(rest)]


FUNCTIONS = {"mix": mix, "count": count, "double": double}


def random_canvas(source: random.Random, app: Any, depth: int = 3) -> Step:
    """A canvas of at most so many levels, with partial, immutable and empty parts."""
    kind = source.choice(["task", "task", "chain", "group", "chord", "or", "map"]) if depth else "task"
    if kind == "task":
        return random_task(source, app)
    if kind == "map":
        mapped = Signature(app, "mix", (source.randrange(9),) * source.randrange(2))
        if source.random() < 0.5:
            return xmap(mapped, range(source.randrange(4)))
        return xstarmap(mapped, [(n,) * source.randrange(3) for n in range(source.randrange(4))])
    parts = [random_canvas(source, app, depth - 1) for _ in range(source.randrange(1, 4))]
    made: Step
    if kind == "chain":
        made = chain(*parts)
    elif kind == "group":
        made = group(parts if source.random() < 0.9 else [])
    elif kind == "chord":
        made = chord(parts[:-1], parts[-1])
    else:
        made = parts[0]
        for part in parts[1:]:
            made = made | part
    if source.random() < 0.2:
        made = made.clone((source.randrange(9),))
    if source.random() < 0.1:
        made = made.clone().set(immutable=True)
    return made


def random_task(source: random.Random, app: Any) -> Step:
    name = source.choice(sorted(FUNCTIONS))
    args = tuple(source.randrange(9) for _ in range(source.randrange(3)))
    kwargs = {"salt": source.randrange(9)} if name == "mix" and source.random() < 0.3 else {}
    return Signature(app, name, args, kwargs, immutable=source.random() < 0.15)


def worth(step: Any, given: Sequence[Any] = ()) -> Any:
    """The value of a canvas that is called with ``given``: by the documented rules, in plain Python."""
    if isinstance(step, xstarmap):
        return [FUNCTIONS[step.mapped.task](*item, *step.mapped.args, **step.mapped.kwargs) for item in step.items]
    if isinstance(step, xmap):
        return [FUNCTIONS[step.mapped.task](item, *step.mapped.args, **step.mapped.kwargs) for item in step.items]
    given = () if step.immutable else (*given, *step.args) if not isinstance(step, Signature) else given
    if not isinstance(step, Signature) and step.immutable:
        given = tuple(step.args)
    if isinstance(step, chain):
        for part in step.tasks:
            given = (worth(part, given),)
        return given[0]
    if isinstance(step, group):
        return [value for part in step.tasks for value in (worth(part, given) if isinstance(part, group) else [worth(part, given)])]
    if isinstance(step, chord):
        return worth(step.body, (worth(step.header, given),))
    return FUNCTIONS[step.task](*([] if step.immutable else given), *step.args, **step.kwargs)


def interpreted(plan: Plan, functions: Mapping[str, Any] = FUNCTIONS) -> dict[str, Any]:
    """What the tasks and gathers of a plan end with, by id; a failure is its exception, what does not run is absent."""
    ended: dict[str, Any] = {}
    gathered: dict[str, dict[int, Any]] = {planned.id: {} for planned in plan.messages if planned.step is None}
    waiting = list(plan.messages)
    while waiting:
        left = [planned for planned in waiting if not _turn(planned, ended, gathered, functions)]
        assert len(left) < len(waiting), f"nothing goes on: {[(planned.id, planned.flow) for planned in left]}"
        waiting = left
    return ended


class Skipped(Exception):
    """It did not run."""


def _turn(planned: Planned, ended: dict[str, Any], gathered: dict[str, dict[int, Any]], functions: Mapping[str, Any]) -> bool:
    """One look at a message; whether it is over."""
    flow, value = planned.flow, None
    given: list[Any] = []
    if flow is not None and flow.after:
        if flow.after not in ended:
            return False
        before = ended[flow.after]
        failed = isinstance(before, Exception)
        if flow.when == When.FAILURE:
            if not failed or isinstance(before, Skipped):
                return True
            given = [flow.after] if flow.takes_value else []
        elif failed:
            return _end(planned, Skipped(), ended, gathered)
        elif flow.takes_value:
            given = [before]
    if planned.step is None:
        assert flow is not None
        values = gathered[planned.id]
        wrong = next((value for value in values.values() if isinstance(value, Exception)), None)
        if wrong is not None:
            return _end(planned, ValueError("a member failed"), ended, gathered)
        if len(values) < flow.gathers:
            return False
        return _end(planned, [values[place] for place in range(flow.gathers)], ended, gathered)
    step = planned.step
    try:
        value = worth(step, given) if isinstance(step, xmap) else functions[step.task](*given, *step.args, **step.kwargs)
    except Exception as error:
        value = error
    return _end(planned, value, ended, gathered)


def _end(planned: Planned, value: Any, ended: dict[str, Any], gathered: dict[str, dict[int, Any]]) -> bool:
    ended[planned.id] = value
    if planned.flow is not None and planned.flow.into:
        assert planned.flow.place not in gathered[planned.flow.into], "two values for one place"
        gathered[planned.flow.into][planned.flow.place] = value
    return True
