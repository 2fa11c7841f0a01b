"""``app.conf``: what an application says of its tasks' routes, queues and calls. The names, and what is read into them, are Celery's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from mesh.conf_items import ITEMS, checked
from mesh.conf_names import NO_EFFECT, no_effect, renamed
from mesh.conf_sources import of_object
from mesh.core.routing.declared import similar
from mesh.errors import InvalidSetting
from mesh.messaging.exchange import Change, Exchange
from mesh.messaging.queue import Queue
from mesh.routes import Routes
from mesh.task_queues import read_queues

HERE = "app.conf"


class Row(NamedTuple):
    """One setting for people."""

    name: str
    value: Any
    origin: str
    """Where it was set: ``app.conf``, a module's or file's name, an environment variable, ``default``."""
    note: str
    """What it does, or why it does nothing."""


class Conf(MutableMapping[str, Any]):
    """Settings of an application, as attributes, as items, or several at once with :meth:`update`. All of Celery's names are known: those
    that have no effect here are kept and do nothing (``mesh config check`` says why), its names of old, in capitals, stand for today's.

    What is not set here is what this machine says: the environment (``MESH_TASK_DEFAULT_QUEUE``), else the table ``[app]`` of
    ``config.toml`` in the state directory; then the default.

    ``task_routes`` says where tasks go by name, see :class:`mesh.routes.Routes`; ``task_queues`` are Queue objects, or a dict from names to
    ``{"exchange": ..., "exchange_type": ..., "routing_key": ...}``, which are declared before the first publish and when a worker starts. A
    task without a route goes to ``task_default_queue`` (``default``), or, when ``task_default_exchange`` and ``task_default_routing_key``
    are both set, there. A queue of ``task_queues`` without an exchange is bound to ``task_default_exchange`` (of
    ``task_default_exchange_type``, ``direct``), when there is one or it has a routing key. With ``task_create_missing_queues=False`` a task
    may go only to queues of ``task_queues``. ``task_queue_max_priority`` is for queues that say nothing else, ``task_default_priority`` for
    tasks. The others are in docs/howto/configure.md.

    A value that is not possible, or an unknown name, raises InvalidSetting, and nothing is changed then. Values can't be changed in place.
    """

    _values: dict[str, Any]
    _origins: dict[str, str]
    _ready: dict[str, Any]
    _machine: Callable[[], Mapping[str, tuple[Any, str]]]
    _listeners: list[Callable[[], None]]
    version: int
    """Rises with each change."""

    def __init__(self, machine: Callable[[], Mapping[str, tuple[Any, str]]] = dict) -> None:
        """``machine`` says (value, origin) of what is set on this machine; it is asked at the first need."""
        self.__dict__.update(_values={}, _origins={}, _ready={}, _machine=machine, _listeners=[], version=0)

    # -- values --------------------

    def __getitem__(self, name: str) -> Any:
        return self._find(name)[0]

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def __delitem__(self, name: str) -> None:
        """Go back to what the machine says, or the default."""
        name = _known(name)
        self._values.pop(name, None)
        self._changed()

    def __iter__(self) -> Iterator[str]:
        return iter([*ITEMS, *(name for name in self._values if name not in ITEMS)])

    def __len__(self) -> int:
        return len(list(iter(self)))

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
        self._set(dict(*given, **values), HERE)

    def from_object(self, source: Any, namespace: str | None = None) -> None:
        """Set what an object says, see Mesh.config_from_object."""
        self._set(*of_object(source, namespace))

    @property
    def changed(self) -> Mapping[str, Any]:
        """What was set."""
        return dict(self._values)

    def rows(self) -> list[Row]:
        """Every setting that has an effect, and those that were set and have none, with their origins."""
        return [Row(name, *self._find(name), ITEMS[name].effect if name in ITEMS else f"no effect: {no_effect(name)}") for name in self]

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have this called after each change."""
        self._listeners.append(listener)

    def __repr__(self) -> str:
        return f"<Conf {self._values!r}>"

    def _find(self, name: str) -> tuple[Any, str]:
        """(value, origin)."""
        name = _known(name)
        if name in self._values:
            return self._values[name], self._origins[name]
        machine = self._once("machine", self._of_machine)
        if name in machine:
            return machine[name]  # type: ignore[no-any-return]
        return (ITEMS[name].default if name in ITEMS else None), "default"

    def _of_machine(self) -> dict[str, tuple[Any, str]]:
        kept = {}
        for name, (value, origin) in self._machine().items():
            try:
                kept[_known(name)] = _kept(name, value)[1], origin
            except InvalidSetting as error:
                raise InvalidSetting(f"{origin}: {error}") from None
        return kept

    def _set(self, values: Mapping[str, Any], origin: str) -> None:
        kept = dict(_kept(name, value) for name, value in values.items())
        self._values.update(kept)
        self._origins.update(dict.fromkeys(kept, origin))
        self._changed()

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
        return self._once("zone", self._made_zone)  # type: ignore[no-any-return]

    def _made_zone(self) -> tzinfo | None:
        name, origin = self._find("timezone")
        return None if origin == "default" and not self.enable_utc else ZoneInfo(name)

    @property
    def call_defaults(self) -> Mapping[str, Any]:
        """What the calls of all tasks say that say nothing else, as options of a task."""
        return self._once("call_defaults", self._made_call_defaults)  # type: ignore[no-any-return]

    def _made_call_defaults(self) -> dict[str, Any]:
        defaults = {item.option: self[name] for name, item in ITEMS.items() if item.option and self[name] != item.default}
        accepted = self.accept_content
        if accepted is not None and "msgpack" not in accepted and "serializer" not in defaults:
            defaults["serializer"] = accepted[0]
        return defaults

    @property
    def result_serialization(self) -> str:
        """How results are encoded."""
        accepted = self.result_accept_content or self.accept_content or ("msgpack",)
        return self.result_serializer or ("msgpack" if "msgpack" in accepted else accepted[0])

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
        for listener in self._listeners:
            listener()


def _known(name: str) -> str:
    """Today's name. Raises InvalidSetting for what is none."""
    if name in ITEMS or no_effect(name) is not None:
        return name
    today = renamed(name) if isinstance(name, str) else None
    if today is not None and (today in ITEMS or no_effect(today) is not None):
        return today
    hint = similar(name, [*ITEMS, *NO_EFFECT])
    raise InvalidSetting(f"an application has no setting {name!r}: {hint if hint.startswith('did') else similar(name, ITEMS)}")


def _kept(name: str, value: Any) -> tuple[str, Any]:
    name = _known(name)
    return name, checked(name, value) if name in ITEMS else value
