"""``|``: one step after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mesh.canvas.chain import Chain, add, unchained
from mesh.canvas.chord import Chord
from mesh.canvas.composite import step_of
from mesh.canvas.group import Group
from mesh.step import Step


def followed(first: Step, other: object) -> Any:
    """``first | other`` as Celery has it: a group becomes a chord's header, what follows a chord goes after its body, the rest is a chain.

    The two are not changed; what is no step gives NotImplemented. A group of one step stays one, with a list of one value (decision 136).
    """
    if not isinstance(other, (Step, Mapping)):
        return NotImplemented
    other = step_of(other, "chain")
    if isinstance(first, Group) and not isinstance(other, Chain):
        return Chord(first, other)
    if isinstance(first, Chord) and not isinstance(other, (Chain, Chord)) and first.body is not None:
        longer = first.copy()
        longer.body = followed(first.body, other)
        return longer
    whole = Chain()
    whole.tasks = list(unchained(first))
    for step in unchained(other):
        add(whole.tasks, step)
    return whole
