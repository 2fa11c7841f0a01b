"""A queue as an object, for scripts: HotQueue's methods over a mesh."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from mesh.errors import UsageError
from mesh.messaging.connection import Connection, Place, connect
from mesh.messaging.message import Message
from mesh.messaging.publishing import check_queue_name

F = TypeVar("F", bound=Callable[..., object])


class Serializer(Protocol):
    """What turns values into bytes and back, as ``pickle``, ``json`` (of bytes) and others do it."""

    def dumps(self, value: Any, /) -> bytes:
        """The bytes of a value."""

    def loads(self, data: bytes, /) -> Any:
        """The value again."""


class HotQueue:
    """Puts values into a queue of the mesh and gets them out. ``app.queue(name)`` makes it, and without an application ``HotQueue(name)``.

    Values are what tasks may be given; with a ``serializer`` they are what that makes bytes of, and only who reads with the same one can
    read them (never unpickle what strangers can write). ``host`` and ``port`` are a node to ask beside those that are found by themselves,
    ``db`` is the name of the mesh; 0, which Redis calls its first one, is the default mesh. Safe to use from any thread; connects at the
    first need.
    """

    def __init__(
        self,
        name: str,
        serializer: Serializer | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        db: str | int | None = None,
        place: Place | None = None,
    ) -> None:
        self.name = check_queue_name(name)
        self._serializer = serializer
        if place is not None:
            self._connection = Connection(place)
        else:
            self._connection = connect(_mesh(db), seeds=_seeds(host, port), name="hotqueue")

    def put(self, *values: object) -> None:
        """Put values into the queue, in order; returns when they are confirmed. Raises as ``Connection.publish``."""
        bodies = [self._serializer.dumps(value) for value in values] if self._serializer is not None else values
        self._connection.publish_many(bodies, routing_key=self.name)

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """The next value; None when the queue is empty, with ``block`` when nothing has come within ``timeout`` seconds (None: for ever).

        It is gone from the queue when it is returned: a program that dies after that has lost it. :meth:`consume` loses none.
        """
        message = self._connection.get(self.name, auto_ack=True, block=block, timeout=timeout)
        return None if message is None else self._value(message)

    def consume(self, timeout: float | None = None, prefetch: int = 1) -> Iterator[Any]:
        """The values as they come, for ever; with ``timeout`` until none has come for so many seconds.

        A value has been dealt with when the loop asks for the next one. When the loop is left by ``break`` or an exception, or the program
        dies, the value goes back into the queue, and counts as tried: after ``max_deliveries`` it is a dead letter. ``prefetch`` values are
        taken ahead; more than 1 is faster for short work.
        """
        with self._connection.consume(self.name, prefetch=prefetch) as consumer:
            while (message := consumer.next(timeout)) is not None:
                yield self._value(message)
                message.ack()

    def worker(self, function: F | None = None, /, **options: Any) -> Any:
        """Make a function that works the queue of one that takes a value: ``@queue.worker`` or ``@queue.worker(timeout=60)``.

        Calling it consumes until it is interrupted or nothing has come for ``timeout`` seconds, and calls the function with each value,
        after the arguments that it was itself called with. What the function raises ends the loop, and its value goes back.
        """
        if function is None:
            return functools.partial(self.worker, **options)

        @functools.wraps(function)
        def work(*args: Any) -> None:
            for value in self.consume(**options):
                function(*args, value)

        return work

    def clear(self) -> int:
        """Drop all that waits in the queue; returns how many that were."""
        return self._connection.purge(self.name)

    def __len__(self) -> int:
        return self._connection.length(self.name)

    def _value(self, message: Message) -> Any:
        return message.body if self._serializer is None else self._serializer.loads(message.raw)

    def close(self) -> None:
        """Leave the mesh, unless something else of this program uses it; afterwards every call raises Closed."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<HotQueue {self.name!r}>"


def _mesh(db: str | int | None) -> str | None:
    if db is None or db == 0:
        return None
    if not isinstance(db, str):
        raise UsageError(f"db is the name of a mesh, or 0 for the default one, not {db!r}")
    return db


def _seeds(host: str | None, port: int | None) -> list[str]:
    if host is None:
        if port is not None:
            raise UsageError("a port needs its host; without both the mesh is found by itself")
        return []
    return [host if port is None else f"{host}:{port}"]
