"""Steps as JSON-compatible data, in Celery's form, and back. Depth costs no stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.canvas.chain import Chain
from mesh.canvas.chord import Chord
from mesh.canvas.composite import Composite
from mesh.canvas.group import Group
from mesh.canvas.maps import Chunks, XMap, XStarmap
from mesh.errors import InvalidCanvas
from mesh.signature import Signature
from mesh.step import LINKS, Publisher, Step

LEVELS_MAX = 4_000
"""Levels of dicts and lists in a form; a step has up to four. What is deeper contains itself."""
Place = tuple[Any, Any]
"""A list or dict, and the index or key in it."""


def plain(value: Any) -> Any:
    """A value in which every step is its JSON form; lists, tuples and dicts are new, all else is the same object.

    Raises InvalidCanvas for what contains itself.
    """
    top: list[Any] = [value]
    tuples: list[Place] = []
    waiting: list[tuple[Any, Any, Any, int]] = [(value, top, 0, 0)]
    while waiting:
        item, holder, key, level = waiting.pop()
        if level > LEVELS_MAX:
            raise InvalidCanvas("a step contains itself, or is nested too deep to be written down")
        if isinstance(item, Step):
            item = item.form()
        if isinstance(item, dict):
            holder[key] = new = dict(item)
            waiting += [(part, new, name, level + 1) for name, part in item.items()]
        elif isinstance(item, (list, tuple)):
            holder[key] = parts = list(item)
            waiting += [(part, parts, index, level + 1) for index, part in enumerate(parts)]
            if isinstance(item, tuple):
                tuples.append((holder, key))
        else:
            holder[key] = item
    for holder, key in reversed(tuples):
        holder[key] = tuple(holder[key])
    return top[0]


def holds_step(value: Any) -> bool:
    """Whether a step is in a value of lists, tuples and dicts."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Step):
            return True
        if isinstance(item, (list, tuple, dict)) and id(item) not in seen:
            seen.add(id(item))
            waiting += item.values() if isinstance(item, dict) else item
    return False


def from_form(form: Mapping[str, Any], app: Publisher | None = None) -> Step:
    """The step of a JSON form, mesh's or Celery's; ``app`` is its application. Raises InvalidCanvas."""
    top: list[Any] = [form]
    places: list[Place] = []
    waiting: list[tuple[Any, Any, int]] = [(top, 0, 0)]
    while waiting:
        holder, key, level = waiting.pop()
        item = holder[key]
        if level > LEVELS_MAX:
            raise InvalidCanvas("the form of a step contains itself, or is nested too deep")
        if not isinstance(item, Mapping):
            continue
        holder[key] = own = _opened(item)
        places.append((holder, key))
        waiting += [(inner, name, level + 1) for inner, name in _part_places(own)]
    for holder, key in reversed(places):
        holder[key] = _made(holder[key], app)
    step: Step = top[0]
    return step


def signature(
    varies: str | Mapping[str, Any] | Step,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    app: Publisher | None = None,
    immutable: bool = False,
    **more: Any,
) -> Any:
    """A step from a task's name, with arguments and options; from a JSON form; or a copy of a step.

    Without ``app`` it belongs to the application of the canvas that it becomes a part of, or to the one that the process made last. Raises
    InvalidCanvas.
    """
    if isinstance(varies, Step):
        return varies.clone()
    if isinstance(varies, Mapping):
        return from_form(varies, app)
    if not isinstance(varies, str):
        raise InvalidCanvas(f"signature() takes a task's name, a signature's JSON form or a signature, not {varies!r:.100}")
    new: Signature[Any] = Signature(app, varies, args, kwargs, immutable=immutable)
    return new.set(**{**(options or {}), **more})


subtask = signature
"""Celery's old name."""


def maybe_signature(value: Any, app: Publisher | None = None, clone: bool = False) -> Any:
    """The step when it is one, or the form of one; another value as it is. ``clone``: a copy."""
    if isinstance(value, Step):
        return value.clone() if clone else value
    return from_form(value, app) if isinstance(value, Mapping) and "task" in value else value


def _opened(form: Mapping[str, Any]) -> dict[str, Any]:
    """A form with dicts and lists of its own on the way to the forms in it."""
    task, kind = form.get("task"), form.get("subtask_type")
    if not isinstance(task, str) or not (kind is None or kind in KINDS):
        raise InvalidCanvas(f"this is not the JSON form of a signature: {dict(form)!r:.200}")
    kwargs, options = dict(form.get("kwargs") or {}), dict(form.get("options") or {})
    for name in LINKS:
        if name in options:
            linked = options[name]
            options[name] = list(linked) if isinstance(linked, (list, tuple)) else [linked]
    for name in ("tasks", "header"):
        if kind is not None and isinstance(kwargs.get(name), (list, tuple)):
            kwargs[name] = list(kwargs[name])
    return {**form, "kwargs": kwargs, "options": options}


def _part_places(form: dict[str, Any]) -> list[Place]:
    """Where the forms are that a form is made of."""
    kwargs, options = form["kwargs"], form["options"]
    places: list[Place] = [(options[name], index) for name in LINKS if name in options for index in range(len(options[name]))]
    if form.get("subtask_type") is None:
        return places
    for name in ("tasks", "header"):
        if isinstance(kwargs.get(name), list):
            places += [(kwargs[name], index) for index in range(len(kwargs[name]))]
    return places + [(kwargs, name) for name in ("header", "body", "task") if isinstance(kwargs.get(name), Mapping)]


def _made(form: dict[str, Any], app: Publisher | None) -> Step:
    kind, kwargs = form.get("subtask_type"), form["kwargs"]
    if kind is None:
        made: Step = Signature(app, form["task"], tuple(form.get("args") or ()), kwargs)
    else:
        try:
            made = KINDS[kind](kwargs)
        except KeyError as error:
            raise InvalidCanvas(f"the JSON form of a {kind} has no {error}") from None
        made.args = tuple(form.get("args") or ())
        made._publisher = app
    made.immutable = bool(form.get("immutable"))
    return made.set(**form["options"])


def _group(kwargs: dict[str, Any]) -> Composite:
    made = Group(kwargs.pop("tasks"))
    made.kwargs = kwargs
    return made


def _chain(kwargs: dict[str, Any]) -> Composite:
    made = Chain()
    made.tasks = list(kwargs.pop("tasks"))
    made.kwargs = kwargs
    return made


def _chord(kwargs: dict[str, Any]) -> Composite:
    made = Chord(kwargs["header"], kwargs.get("body"))
    made.kwargs = dict(kwargs.get("kwargs") or {})
    return made


KINDS: Mapping[str, Any] = {
    "group": _group,
    "chain": _chain,
    "chord": _chord,
    "map": lambda kwargs: XMap(kwargs["task"], kwargs["it"]),
    "starmap": lambda kwargs: XStarmap(kwargs["task"], kwargs["it"]),
    "chunks": lambda kwargs: Chunks(kwargs["task"], kwargs["it"], kwargs["n"]),
}
