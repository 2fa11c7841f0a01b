"""Many calls of one task in one message, or in a few."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mesh.canvas.builtin import MAP, STARMAP
from mesh.canvas.composite import step_of
from mesh.canvas.group import Group
from mesh.errors import InvalidCanvas
from mesh.signature import Signature


class XMap(Signature[list[Any]]):
    """One task that calls another for each item, in order: ``xmap(task.s(), [1, 2])`` has the value ``[task(1), task(2)]``.

    It is routed as the other task is. The signature may be partial: the item goes before its arguments. Raises InvalidCanvas for what is
    no task's signature.
    """

    __slots__ = ()

    subtask_type = "map"

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        mapped = step_of(task, self._kind)
        if type(mapped) is not Signature:
            raise InvalidCanvas(f"a {self._kind} takes the signature of one task, not {mapped!r:.100}")
        super().__init__(mapped._publisher, STARMAP if self._starred else MAP, (), {"task": mapped, "it": list(it)}, immutable=True)
        self.set(**options)

    _starred = False
    _kind = "map"

    @property
    def mapped(self) -> Signature[Any]:
        """The signature of the other task."""
        signature: Signature[Any] = self.kwargs["task"]
        return signature

    @property
    def items(self) -> list[Any]:
        """What it is called with, one after the other."""
        items: list[Any] = self.kwargs["it"]
        return items

    @property
    def routed_as(self) -> str:
        """The other task's name: this one has no way of its own."""
        return self.mapped.task

    @property
    def parts(self) -> Sequence[Any]:
        """The other task's signature."""
        return (self.mapped,)

    def copy(self) -> XMap:
        """The same again."""
        new = type(self)(self.mapped, self.items)
        new._publisher, new.options = self._publisher, self.options
        return new

    def form(self) -> dict[str, Any]:
        """Its JSON form."""
        return {**super().form(), "subtask_type": self.subtask_type}

    def check(self, tasks: Mapping[str, Any]) -> None:
        """Raises TypeError for an item that the other task, when it is one of ``tasks``, does not take."""
        task = tasks.get(self.mapped.task)
        if task is not None:
            for item in self.items:
                task.check_arguments((*self._arguments(item), *self.mapped.args), self.mapped.kwargs)

    def _arguments(self, item: Any) -> Sequence[Any]:
        return (item,)


class XStarmap(XMap):
    """The same, with the arguments of each call in a list: ``xstarmap(add.s(), [(1, 2), (3, 4)])`` has the value ``[3, 7]``."""

    __slots__ = ()

    subtask_type = "starmap"
    _starred = True
    _kind = "starmap"

    def _arguments(self, item: Any) -> Sequence[Any]:
        if not isinstance(item, (list, tuple)):
            raise TypeError(f"an item of a starmap is a list of arguments, not {item!r:.100}")
        return item


class Chunks(Group):
    """A group of starmaps of ``n`` calls each: ``chunks(add.s(), zip(a, b), 10)``; the value is a list of lists.

    Raises InvalidCanvas for what is no task's signature, and for ``n`` below 1.
    """

    __slots__ = ("n",)

    subtask_type = "chunks"

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise InvalidCanvas(f"chunks need a size of 1 or more calls, not {n!r}")
        self.n = n
        mapped, calls = step_of(task, "chunks"), list(it)
        super().__init__([XStarmap(mapped, calls[start : start + n]) for start in range(0, len(calls), n)], **options)

    def group(self) -> Group:
        """The group of starmaps that it is."""
        new = Group(self.tasks)
        new._called_like(self)
        return new

    def copy(self) -> Group:  # type: ignore[override]  # with other arguments it is a group like others
        """The group of starmaps that it is."""
        return self.group()
