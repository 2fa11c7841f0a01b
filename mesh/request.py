"""What a task may know about the call that it runs for: ``self.request``, and :func:`current` for whoever is called by it.

The names are Celery's. Most tasks ask for nothing, so each value is worked out when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from mesh.errors import ResultInTask
from mesh.wire.calls import Call
from mesh.wire.entries import Message
from mesh.wire.working import Delivery

if TYPE_CHECKING:
    from mesh.running import Again

NOTHING = Delivery("", "", b"", 0, "")
NO_CALL = Call()


class Context:
    """One delivery of a task, as the task sees it.

    ``args`` and ``kwargs`` are its arguments, ``hostname`` the name of the worker, ``is_eager`` whether it runs in the caller's process
    in place of a worker, ``called_directly`` whether it is an ordinary call of the function; the ids are None then.
    """

    __slots__ = ("again", "args", "called_directly", "children", "delivery", "hostname", "is_eager", "kwargs", "messages", "said", "say")

    def __init__(
        self,
        delivery: Delivery = NOTHING,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = MappingProxyType({}),
        hostname: str = "",
        *,
        is_eager: bool = False,
    ) -> None:
        self.delivery = delivery
        self.args = args
        self.kwargs = kwargs
        self.hostname = hostname
        self.is_eager = is_eager
        self.called_directly = delivery is NOTHING
        self.children: list[str] = []
        """Ids of the tasks that it has submitted, in order."""
        self.messages: list[Message] = []
        """What is to be written in the transaction that ends it: what it goes on as, or new members of its chord."""
        self.again: Again | None = None
        """How it has asked to be run again."""
        self.say: Callable[[Context, str, Any], None] | None = None
        """Tells its state, with what goes with it; None where nobody listens."""
        self.said = False
        """It has told some."""

    def submitted(self, ids: Iterable[str]) -> None:
        """The task has submitted these."""
        self.children.extend(ids)

    # -- which task --------------------

    @property
    def id(self) -> str | None:
        """The task's id; the same for each retry."""
        return self.delivery.id or None

    @property
    def correlation_id(self) -> str | None:
        """The same; Celery has it under this name too."""
        return self.id

    @property
    def task(self) -> str | None:
        """The task's name."""
        return self.delivery.task or None

    @property
    def shadow(self) -> str | None:
        """The name for display that its caller gave."""
        return self._call.shadow or None

    @property
    def root_id(self) -> str | None:
        """The first task of the tree that it belongs to: its own id when nobody's task submitted it."""
        return self._call.root or self.id

    @property
    def parent_id(self) -> str | None:
        """The task that submitted it, or that it follows in a workflow."""
        return self._call.parent or None

    @property
    def group(self) -> str | None:
        """The group that it is a member of."""
        return self._call.group or None

    @property
    def group_index(self) -> int | None:
        """Its place in that group, from 0."""
        return self._call.group_index if self._call.group else None

    @property
    def origin(self) -> str | None:
        """``pid@host`` of the program that submitted it."""
        return self._call.origin or None

    # -- how it runs --------------------

    @property
    def retries(self) -> int:
        """How often it has asked to be run again: 0 the first time. Lost workers don't count, see ``delivery_info``."""
        return self._call.retries

    @property
    def eta(self) -> datetime | None:
        """The instant that it was not to run before, in UTC."""
        return _instant(self.delivery.eta_ms)

    @property
    def expires(self) -> datetime | None:
        """The instant that it was to begin before, in UTC."""
        properties = self.delivery.properties
        return _instant(properties.expires_ms) if properties is not None else None

    @property
    def timelimit(self) -> tuple[float | None, float | None]:
        """(hard, soft) limit of its running time in seconds, None for none."""
        return self._call.hard_limit_ms / 1000 or None, self._call.soft_limit_ms / 1000 or None

    @property
    def ignore_result(self) -> bool:
        """Whether nobody wants its value."""
        return self._call.ignore_result

    @property
    def stamps(self) -> Mapping[str, str]:
        """Marks for revoking by header."""
        return self._call.stamps

    @property
    def headers(self) -> Mapping[str, Any]:
        """The headers that its caller gave."""
        properties = self.delivery.properties
        return properties.headers if properties is not None else {}

    @property
    def reply_to(self) -> str | None:
        """What its publisher wrote there."""
        properties = self.delivery.properties
        return properties.reply_to or None if properties is not None else None

    @property
    def delivery_info(self) -> dict[str, Any]:
        """``exchange``, ``routing_key``, ``priority``, ``queue``; ``attempt`` counts from 1, and ``redelivered`` says that it is not the
        first: a worker that had it was lost.
        """
        delivery, properties = self.delivery, self.delivery.properties
        exchange = properties.exchange if properties is not None else ""
        attempt = delivery.attempt - self._call.acks_early  # that it was handed out was written as the first
        return {
            "exchange": exchange,
            "routing_key": properties.routing_key if properties is not None and exchange else delivery.queue,
            "priority": properties.priority if properties is not None else 0,
            "queue": delivery.queue,
            "attempt": attempt,
            "redelivered": attempt > 1,
        }

    def get(self, name: str, default: Any = None) -> Any:
        """The value of that name, ``default`` when there is no such name."""
        return default if name.startswith("_") else getattr(self, name, default)

    def __repr__(self) -> str:
        return f"<Context of {self.task}[{self.id}]>"

    @property
    def _call(self) -> Call:
        return self.delivery.call or NO_CALL


def _instant(at_ms: int) -> datetime | None:
    return datetime.fromtimestamp(at_ms / 1000, UTC) if at_ms else None


DIRECT = Context()
"""Of an ordinary call."""
_current: ContextVar[Context | None] = ContextVar("mesh-request", default=None)
_may_wait: ContextVar[bool] = ContextVar("mesh-may-wait", default=False)


def current() -> Context | None:
    """The task that runs here, in this thread or coroutine; None outside of tasks."""
    return _current.get()


@contextmanager
def allow_join_result() -> Iterator[None]:
    """In a ``with`` block tasks may wait for results of others. As Celery's: it is for those that know that there are slots enough."""
    token = _may_wait.set(True)
    try:
        yield
    finally:
        _may_wait.reset(token)


def check_may_wait(id: str) -> None:
    """Raises ResultInTask in a task of a worker that may not wait for task ``id``."""
    context = _current.get()
    if context is not None and not context.is_eager and not _may_wait.get():
        raise ResultInTask(
            f"{context.task}[{context.id}] must not wait for the result of {id}: slots that wait may be all that there are. Use a chain or "
            "a chord, or await it; get(disable_sync_subtasks=False) waits all the same"
        )


def of(task: str) -> Context:
    """``self.request`` of a task: that of a task of another name which calls it as a function is not its own."""
    context = _current.get()
    return context if context is not None and context.delivery.task == task else DIRECT


def enter(context: Context) -> Token[Context | None]:
    """From here on this task runs, in this thread or coroutine, until :func:`leave`."""
    return _current.set(context)


def leave(token: Token[Context | None]) -> None:
    """The task has ended."""
    _current.reset(token)
