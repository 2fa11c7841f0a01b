"""A group with a step that gets the values of all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mesh.canvas.composite import Composite, shown, step_of
from mesh.canvas.group import Group
from mesh.errors import InvalidCanvas
from mesh.step import Publisher, Step


class Chord(Composite):
    """A header, which is a group, and a body that is called with the list of its values; its value is the body's.

    ``chord(header, body)``, ``chord(header)(body)`` and ``group | body``; ``header`` is a group or what makes one. Arguments of a call
    go to the header's steps, ``task_id``, ``link`` and ``link_error`` to the body, ``countdown`` to the header, other options to both.
    An error callback is called once, whether a step of the header failed or the body. Raises InvalidCanvas for what is no signature.
    """

    __slots__ = ("body", "header")

    subtask_type = "chord"

    def __init__(self, header: Any, body: Any = None, *, app: Publisher | None = None, **options: Any) -> None:
        super().__init__(app, options)
        self.header = header if isinstance(header, Group) else Group(header)
        self.body = None if body is None else step_of(body, "chord's body")

    @property
    def tasks(self) -> list[Step]:
        """The header's steps."""
        return self.header.tasks

    @property
    def parts(self) -> Sequence[Step]:
        """Header and body."""
        return (self.header,) if self.body is None else (self.header, self.body)

    def copy(self) -> Chord:
        """The same again."""
        new = Chord(self.header, self.body)
        new._called_like(self)
        return new

    def form(self) -> dict[str, Any]:
        """Its JSON form."""
        return self._form({"header": self.header, "body": self.body, "kwargs": dict(self.kwargs)})

    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Submit it, with this body when one is given."""
        return self.apply_async((), {"body": body} if body is not None else None, **options)

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Chord:
        """As Step.clone; the keyword ``body`` replaces the body."""
        rest = dict(kwargs or {})
        body = rest.pop("body", None)
        new = super().clone(args, rest, **options)
        if body is not None:
            new.body = step_of(body, "chord's body")
        return new

    def required_body(self) -> Step:
        """The body. Raises InvalidCanvas when there is none."""
        if self.body is None:
            raise InvalidCanvas("a chord needs a body: chord(header)(body), chord(header, body) or group | body")
        return self.body

    def __repr__(self) -> str:
        return shown(self)
