"""``app.conf``: what an application says of its tasks' routes and queues. The names, and what is read into them, are Celery's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from mesh.core.routing.declared import similar
from mesh.errors import InvalidSetting
from mesh.messaging.exchange import Change, Exchange
from mesh.messaging.queue import Queue
from mesh.routes import Routes
from mesh.signature import DEFAULT_QUEUE
from mesh.task_queues import frozen_queues, read_queues
from mesh.wire.topology import EXCHANGE_TYPES
from mesh.wire.topology_changes import NAME_CHARS_MAX

PRIORITY_MAX = 255


class _Item(NamedTuple):
    """One setting: its default, and what makes a given value one that is kept, or raises ValueError with what it has to be."""

    default: Any
    kept: Callable[[Any], Any]


def _name(value: Any) -> Any:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_CHARS_MAX:
        raise ValueError(f"a text of 1 to {NAME_CHARS_MAX} characters")
    return value


def _name_or_none(value: Any) -> Any:
    return value if value is None or value == "" else _name(value)


def _exchange_type(value: Any) -> Any:
    if value not in EXCHANGE_TYPES:
        raise ValueError(f"one of {', '.join(EXCHANGE_TYPES)}")
    return value


def _flag(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _priority(value: Any) -> Any:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX):
        raise ValueError(f"a whole number from 0 to {PRIORITY_MAX}, or None")
    return value


def _zone_name(value: Any) -> Any:
    try:
        ZoneInfo(value)
    except (TypeError, ValueError, OSError):
        raise ValueError("the name of a time zone, as Europe/Berlin") from None
    return value


ITEMS: dict[str, _Item] = {
    "task_routes": _Item(None, lambda value: Routes(value).given),
    "task_queues": _Item(None, frozen_queues),
    "task_default_queue": _Item(DEFAULT_QUEUE, _name),
    "task_default_exchange": _Item(None, _name_or_none),
    "task_default_exchange_type": _Item("direct", _exchange_type),
    "task_default_routing_key": _Item(None, _name_or_none),
    "task_create_missing_queues": _Item(True, _flag),
    "task_queue_max_priority": _Item(None, _priority),
    "task_default_priority": _Item(None, _priority),
    "timezone": _Item("UTC", _zone_name),
    "enable_utc": _Item(True, _flag),
}


class Conf(MutableMapping[str, Any]):
    """Settings of an application, as attributes, as items, or several at once with :meth:`update`.

    ``task_routes`` says where tasks go by name, see :class:`mesh.routes.Routes`; ``task_queues`` are Queue objects, or a dict from names to
    ``{"exchange": ..., "exchange_type": ..., "routing_key": ...}``, which are declared before the first publish and when a worker starts. A
    task without a route goes to ``task_default_queue`` (``default``), or, when ``task_default_exchange`` and ``task_default_routing_key``
    are both set, there. A queue of ``task_queues`` without an exchange is bound to ``task_default_exchange`` (of
    ``task_default_exchange_type``, ``direct``), when there is one or it has a routing key. With ``task_create_missing_queues=False`` a task
    may go only to queues of ``task_queues``. ``task_queue_max_priority`` is for queues that say nothing else, ``task_default_priority`` for
    tasks.

    A value that is not possible, or an unknown name, raises InvalidSetting, and nothing is changed then. Values can't be changed in place.
    """

    _values: dict[str, Any]
    _ready: dict[str, Any]
    version: int
    """Rises with each change."""

    def __init__(self) -> None:
        self.__dict__.update(_values={}, _ready={}, version=0)

    # -- values --------------------

    def __getitem__(self, name: str) -> Any:
        _known(name)
        return self._values.get(name, ITEMS[name].default)

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        """Go back to the default."""
        _known(name)
        self._values.pop(name, None)
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter(ITEMS)

    def __len__(self) -> int:
        return len(ITEMS)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except InvalidSetting as error:
            raise AttributeError(str(error)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, *given: Any, **values: Any) -> None:
        """Set several, all or none of them; takes what ``dict.update`` takes."""
        kept = {name: _kept(name, value) for name, value in dict(*given, **values).items()}
        self._values.update(kept)
        self._changed()

    @property
    def changed(self) -> Mapping[str, Any]:
        """What was set."""
        return dict(self._values)

    def __repr__(self) -> str:
        return f"<Conf {self._values!r}>"

    # -- what follows from them --------------------

    @property
    def routes(self) -> Routes:
        """``task_routes``, ready to look tasks up."""
        return self._once("routes", lambda: Routes(self.task_routes))  # type: ignore[no-any-return]

    @property
    def queues(self) -> Mapping[str, Queue]:
        """``task_queues`` by name, with the exchange and the key that the defaults give them."""
        return self._once("queues", lambda: {queue.name: self._completed(queue) for queue in self._read()})  # type: ignore[no-any-return]

    @property
    def worker_queues(self) -> list[str]:
        """What a worker consumes that is not told otherwise: ``task_queues``, else ``task_default_queue``."""
        return list(self.queues) or [self.task_default_queue]

    @property
    def default_exchange(self) -> Exchange | None:
        """The exchange of queues and routing keys that name none; None when queues are reached by their names alone."""
        name = self.task_default_exchange
        if name is None and any(queue.routing_key and not queue.all_bindings for queue in self._read()):
            name = self.task_default_queue
        return Exchange(name, self.task_default_exchange_type) if name else None

    @property
    def zone(self) -> tzinfo | None:
        """The time zone of datetimes that have none; None for this machine's.

        It is ``timezone``; when that was not set it is UTC, or the machine's with ``enable_utc=False``.
        """
        return self._once("zone", lambda: ZoneInfo(self.timezone) if self.enable_utc or "timezone" in self._values else None)  # type: ignore[no-any-return]

    @property
    def call_defaults(self) -> Mapping[str, Any]:
        """What the calls of all tasks say that say nothing else, as options of a task."""
        return self._once("call_defaults", dict)  # type: ignore[no-any-return]

    @property
    def topology(self) -> list[Change]:
        """The changes that declare all of it, each once, in order."""
        return self._once("topology", self._made_topology)  # type: ignore[no-any-return]

    def _made_topology(self) -> list[Change]:
        exchange = self.default_exchange
        changes = [] if exchange is None else exchange.changes()
        for queue in self.queues.values():
            changes += queue.changes()
        changes += self.routes.exchanges
        once: dict[str, Change] = {}
        for change in changes:
            once.setdefault(json.dumps(change, sort_keys=True), change)
        return list(once.values())

    def _read(self) -> list[Queue]:
        return self._once("read", lambda: read_queues(self.task_queues, self.task_default_exchange_type))  # type: ignore[no-any-return]

    def _completed(self, queue: Queue) -> Queue:
        exchange, most = self.default_exchange, self.task_queue_max_priority
        if not queue.all_bindings and exchange is not None and (queue.routing_key or self.task_default_exchange):
            default = self.task_default_routing_key if queue.name == self.task_default_queue else None
            queue = replace(queue, exchange=exchange, routing_key=queue.routing_key or default or queue.name)
        if most is not None and queue.max_priority is None and "x-max-priority" not in queue.queue_arguments:
            queue = replace(queue, max_priority=most)
        return queue

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self._ready:
            self._ready[name] = make()
        return self._ready[name]

    def _changed(self) -> None:
        self._ready.clear()
        self.__dict__["version"] = self.version + 1


def _known(name: str) -> None:
    if name not in ITEMS:
        raise InvalidSetting(f"an application has no setting {name!r}: {similar(name, ITEMS)}")


def _kept(name: str, value: Any) -> Any:
    _known(name)
    try:
        return ITEMS[name].kept(value)
    except InvalidSetting:
        raise
    except ValueError as error:
        raise InvalidSetting(f"{name} must be {error}, not {value!r:.80}") from None
