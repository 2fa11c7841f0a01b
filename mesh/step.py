"""What can be called later, and composed: signatures of tasks, groups, chains, chords."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeVar

from mesh.call_options import NO_OPTIONS, given, refuse_unknown
from mesh.errors import InvalidCanvas, UsageError

if TYPE_CHECKING:
    from mesh.result import AsyncResult
    from mesh.signature import Signature
    from mesh.wire.calls import Flow
    from mesh.wire.entries import Message

S = TypeVar("S", bound="Step")
LINKS = ("link", "link_error")
"""Options that name further steps."""


class Publisher(Protocol):
    """What a signature needs of its application."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The application's tasks by name."""

    def submit_many(self, signatures: Sequence[Signature[Any]]) -> list[AsyncResult[Any]]:
        """Submit calls as one batch."""

    def run_here(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Run a task of this application in this process."""

    def message_of(self, signature: Signature[Any], *, id: str | None = None, flow: Flow | None = None) -> Message:
        """The message of a call, which is not sent."""

    def submit_messages(self, messages: Sequence[Message], watched: Sequence[str]) -> list[AsyncResult[Any]]:
        """Submit messages as one batch; returns the results of the watched ids."""

    def AsyncResult(self, id: str) -> AsyncResult[Any]:
        """The result of a task by its id."""


class Step(ABC):
    """One part of a workflow. ``|`` puts another one after it.

    ``args`` and ``kwargs`` are what it is called with, ``options`` how. An immutable step takes nothing of the step before it, nor of its
    caller. ``set``, ``link``, ``link_error`` and ``on_error`` change the step itself, as Celery's do; ``clone`` first to keep it.
    """

    __slots__ = ("_publisher", "args", "immutable", "kwargs", "options")

    subtask_type: ClassVar[str | None] = None
    """Its kind in its JSON form; None for a task."""
    known_options: ClassVar[Sequence[str]] = ()

    def __init__(
        self,
        publisher: Publisher | None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] = NO_OPTIONS,
        *,
        immutable: bool = False,
    ) -> None:
        self.args = args
        self.kwargs: Mapping[str, Any] = kwargs or {}
        self.options = given(options) if options else options
        self.immutable = immutable
        self._publisher = publisher

    # -- what kinds of steps differ in --------------------

    @property
    @abstractmethod
    def parts(self) -> Sequence[Step]:
        """The steps that it is made of."""

    @abstractmethod
    def copy(self) -> Self:
        """The same with its own lists of parts; the parts themselves are shared."""

    @abstractmethod
    def form(self) -> dict[str, Any]:
        """Its JSON form, see :meth:`to_dict`, with the parts as they are."""

    # -- calling --------------------

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit it, with more arguments."""
        return self.apply_async(args, kwargs)

    @abstractmethod
    def apply_async(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Any:
        """Submit it, with more arguments and other options."""

    def __invert__(self) -> Any:
        return self.apply_async().get()

    @property
    def publisher(self) -> Publisher:
        """The application that it, or its first bound part, belongs to, else the one that this process made last.

        Raises InvalidCanvas when there is none.
        """
        waiting: list[Step] = [self]
        for _ in range(SEARCHED_MAX):
            if not waiting:
                break
            step = waiting.pop()
            if step._publisher is not None:
                return step._publisher
            waiting += reversed(step.parts)
        from mesh.registry import current_app  # which knows tasks, which know signatures

        try:
            return current_app()
        except UsageError:
            pass
        raise InvalidCanvas(f"{self!r:.200} belongs to no application: make it with app.signature(...), or give signature(..., app=app)")

    @property
    def app(self) -> Publisher:
        """The application, as :attr:`publisher`."""
        return self.publisher

    # -- changing --------------------

    def clone(self, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """A copy with more arguments, which go before its own, and other keywords and options, which replace its own.

        Raises TypeError for an unknown option.
        """
        new = self.copy()
        new._refuse_unknown("clone()", options)
        if not self.immutable:
            new.args = (*args, *self.args)
            new.kwargs = {**self.kwargs, **(kwargs or {})}
        if options:
            new.options = {**self.options, **given(options)}
        return new

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Change options; returns the step. Raises TypeError for an unknown option."""
        self._refuse_unknown("set()", options)
        if immutable is not None:
            self.set_immutable(immutable)
        if options:
            self.options = {**self.options, **given(options)}
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Have it take nothing, or something, of the step before it and of its caller."""
        self.immutable = immutable

    def link(self, callback: S) -> S:
        """Run ``callback`` with its value when it has succeeded; returns the callback."""
        return self._append("link", callback)

    def link_error(self, errback: S) -> S:
        """Run ``errback`` when it has failed; returns the errback.

        A task of three or more positional arguments is called with (request, exception, traceback), another with the failed task's id.
        """
        return self._append("link_error", errback)

    def on_error(self, errback: Step) -> Self:
        """:meth:`link_error` that returns the step itself."""
        self.link_error(errback)
        return self

    def linked(self, name: str) -> list[Step]:
        """The steps that an option of :data:`LINKS` names."""
        value = self.options.get(name)
        return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]

    def _append(self, name: str, step: S) -> S:
        if not isinstance(step, Step):
            raise InvalidCanvas(f"{name} takes a signature, such as task.s(), not {step!r:.100}")
        known = self.linked(name)
        if step not in known:
            self.options = {**self.options, name: [*known, step]}
        return step

    def _refuse_unknown(self, where: str, options: Mapping[str, Any]) -> None:
        refuse_unknown(f"{self.subtask_type or 'a signature'}'s {where}", options, type(self).known_options)

    # -- composing --------------------

    def __or__(self, other: object) -> Step:
        from mesh.canvas.composing import followed

        whole: Step = followed(self, other)
        return whole

    def __ior__(self, other: object) -> Step:
        return self.__or__(other)

    # -- as data --------------------

    def to_dict(self) -> dict[str, Any]:
        """Its JSON form, as Celery's: ``task``, ``args``, ``kwargs``, ``options``, ``subtask_type``, ``immutable``."""
        from mesh.canvas.forms import plain

        form: dict[str, Any] = plain(self)
        return form

    __json__ = to_dict

    def keys(self) -> Iterator[str]:
        """With ``step[key]``: ``dict(step)`` is its JSON form."""
        return iter(self.to_dict())

    def __getitem__(self, key: str) -> Any:
        return self.to_dict()[key]

    def __eq__(self, other: object) -> bool:
        return self is other or self.to_dict() == other.to_dict() if isinstance(other, Step) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # arguments may be lists and dicts


SEARCHED_MAX = 10_000
"""Parts that are looked at for an application; in a larger canvas a bound one comes early, or there is a cycle."""
