"""Steps that run one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.canvas.composite import Composite, parts_of, shown
from mesh.canvas.group import Group
from mesh.step import Publisher, Step


class Chain(Composite):
    """Steps that run one after the other, each with the value of the one before it as first argument; its value is the last one's.

    ``chain(a, b)``, ``chain([a, b])`` and ``a | b``. A group that is followed by a step becomes a chord with it. Arguments of a call go to
    the first step, ``task_id`` and ``link`` to the last, ``link_error`` to every step, other options to the first. Raises
    InvalidCanvas for what is no signature, TypeError for an unknown option.
    """

    __slots__ = ("tasks",)

    subtask_type = "chain"

    def __init__(self, *tasks: Any, app: Publisher | None = None, **options: Any) -> None:
        super().__init__(app, options)
        self.tasks: list[Step] = []
        for task in parts_of(tasks, "chain"):
            for step in unchained(task):
                add(self.tasks, step)

    @property
    def parts(self) -> Sequence[Step]:
        """Its steps."""
        return self.tasks

    def copy(self) -> Chain:
        """The same with a list of its own."""
        new = Chain()
        new.tasks = list(self.tasks)
        new._called_like(self)
        return new

    def form(self) -> dict[str, Any]:
        """Its JSON form."""
        return self._form({**self.kwargs, "tasks": self.tasks})

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return shown(self)


def unchained(step: Step) -> Sequence[Step]:
    """The steps of a chain of which nothing else is said, so that they can be another chain's; else the step itself."""
    if isinstance(step, Chain) and not (step.args or step.kwargs or step.options or step.immutable):
        return step.tasks
    return [step]


def add(steps: list[Step], step: Step) -> None:
    """Put a step after others; a group before it becomes a chord's header."""
    if steps and isinstance(steps[-1], Group):
        from mesh.canvas.chord import Chord

        steps[-1] = Chord(steps[-1], step)
    else:
        steps.append(step)
