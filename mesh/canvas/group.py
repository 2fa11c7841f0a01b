"""Steps that run side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mesh import ids
from mesh.canvas.composite import Composite, parts_of, shown
from mesh.errors import InvalidCanvas
from mesh.group_result import GroupResult
from mesh.step import LINKS, Publisher, Step


class Group(Composite):
    """Steps that run side by side; its value is the list of theirs, in their order.

    ``group(a, b)``, ``group([a, b])`` and ``group(a for ...)``. Groups in it are taken apart: their steps are its own. ``options`` are for
    all its steps. Raises InvalidCanvas for what is no signature, TypeError for an unknown option.
    """

    __slots__ = ("tasks",)

    subtask_type = "group"

    def __init__(self, *tasks: Any, app: Publisher | None = None, **options: Any) -> None:
        super().__init__(app, options)
        self.tasks = parts_of(tasks, "group")

    @property
    def parts(self) -> Sequence[Step]:
        """Its steps."""
        return self.tasks

    def copy(self) -> Group:
        """The same with a list of its own."""
        new = Group(self.tasks)
        new._called_like(self)
        return new

    def form(self) -> dict[str, Any]:
        """Its JSON form."""
        return self._form({**self.kwargs, "tasks": self.tasks})

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> GroupResult:
        """Submit its steps as one batch; all get the arguments and the options. ``task_id`` is the id of the group.

        Raises InvalidCanvas for ``link`` and ``link_error``, else as Composite.apply_async.
        """
        for name in LINKS:
            if options.get(name) is not None:
                raise InvalidCanvas(f"a call of a group takes no {name}: write (group | task), or task.{name}(...)")
        if not self.tasks and self._publisher is None and not self.options:
            return GroupResult(ids.task_id(), [])
        result: GroupResult = super().apply_async(args, kwargs, **options)
        return result

    def link(self, callback: Step) -> Any:
        """Run ``callback`` when all steps have succeeded. As with Celery it is taken as immutable: write ``group | callback`` to have it
        get their values.
        """
        callback = callback.clone()
        callback.set_immutable(True)
        return self._append("link", callback)

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> Group:
        """Give each step a later countdown, in seconds: ``start``, ``start + step`` ... and anew from ``start`` at ``stop``."""
        at_s = start
        for task in self.tasks:
            task.set(countdown=at_s)
            at_s += step
            if stop is not None and at_s >= stop:
                at_s = start
        return self

    def __len__(self) -> int:
        return len(self.tasks)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.tasks)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return shown(self)
