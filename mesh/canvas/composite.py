"""What groups, chains and chords have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from mesh.call_options import CALL_KEYWORDS, given, refuse_unknown
from mesh.errors import CanvasTooLarge, InvalidCanvas
from mesh.step import Publisher, Step

STEPS_MAX = 1_000_000
"""Tasks, and the groups, chains and chords around them, of one workflow: their messages are submitted as one batch."""
SHOWN_PARTS = 10
SHOWN_DEPTH = 5


class Composite(Step):
    """Several steps that are called together."""

    __slots__ = ()

    known_options = CALL_KEYWORDS

    def __init__(self, publisher: Publisher | None, options: Mapping[str, Any]) -> None:
        refuse_unknown(f"{self.subtask_type}()", options, CALL_KEYWORDS)
        super().__init__(publisher, options=given(options))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it, with more arguments."""
        return self.apply_async(args, kwargs)

    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Submit it as one batch, with more arguments for its first steps and other options.

        Raises InvalidCanvas, CanvasTooLarge, and for each step what Task.apply_async raises; nothing is sent then.
        """
        from mesh.canvas.submission import submit

        call = self.clone(args, kwargs, **options)
        return submit(call.publisher, [call])[0]

    def _form(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {
            "task": f"mesh.{self.subtask_type}",
            "args": list(self.args),
            "kwargs": kwargs,
            "options": dict(self.options),
            "subtask_type": self.subtask_type,
            "immutable": self.immutable,
        }

    def _called_like(self, other: Composite) -> None:
        self.args, self.kwargs, self.options, self.immutable = other.args, other.kwargs, other.options, other.immutable
        self._publisher = other._publisher


def parts_of(given: tuple[Any, ...], what: str) -> list[Step]:
    """The parts that a constructor was given: one by one, or as one iterable of them. Raises InvalidCanvas, CanvasTooLarge."""
    if len(given) == 1 and not isinstance(given[0], (Step, Mapping)):
        if not isinstance(given[0], Iterable) or isinstance(given[0], str):
            raise InvalidCanvas(f"a {what} takes signatures, such as task.s(), or one iterable of them, not {given[0]!r:.100}")
        given = tuple(islice(given[0], STEPS_MAX + 1))
    if len(given) > STEPS_MAX:
        raise CanvasTooLarge(f"a {what} takes at most {STEPS_MAX:,} steps: submit it in parts")
    return [part if isinstance(part, Step) else step_of(part, what) for part in given]


def step_of(value: Any, what: str) -> Step:
    """The step that a value is, or that it is the JSON form of. Raises InvalidCanvas."""
    if isinstance(value, Step):
        return value
    if isinstance(value, Mapping):
        from mesh.canvas.forms import from_form

        return from_form(value)
    raise InvalidCanvas(f"a {what} takes signatures, such as task.s(), not {value!r:.100}")


def shown(step: Step, depth: int = SHOWN_DEPTH) -> str:
    """A step for people; what is large or deep is left out."""
    if not isinstance(step, Composite):
        return repr(step)
    if not depth:
        return f"{step.subtask_type}(...)"
    parts = [shown(part, depth - 1) for part in step.parts[:SHOWN_PARTS]]
    more = len(step.parts) - len(parts)
    return f"{step.subtask_type}({', '.join(parts)}{f', and {more} more' if more > 0 else ''})"
