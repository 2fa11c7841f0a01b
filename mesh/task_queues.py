"""The forms in which ``task_queues`` may be written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from mesh.core.routing.declared import similar
from mesh.errors import InvalidSetting, InvalidTopology
from mesh.messaging.exchange import Exchange
from mesh.messaging.queue import Queue

QUEUE_KEYWORDS = tuple(name for name in Queue.__dataclass_fields__ if name not in ("name", "exchange", "_"))
ROUTE_KEYWORDS = ("exchange", "exchange_type", "routing_key", "binding_key")


def frozen_queues(given: Any) -> Any:
    """``task_queues`` as it is kept: checked, and not to be changed in place. Raises InvalidSetting."""
    read_queues(given, "direct")
    if given is None:
        return None
    return MappingProxyType(dict(given)) if isinstance(given, Mapping) else tuple(given)


def read_queues(given: Any, exchange_type: str) -> list[Queue]:
    """The queues: from Queue objects and names, or a dict from names to the settings of each, old Celery's ``binding_key`` among them.

    ``exchange_type`` is for exchanges that are given by name alone. Raises InvalidSetting.
    """
    if given is None:
        return []
    if isinstance(given, Mapping):
        queues = [_from_settings(name, settings, exchange_type) for name, settings in given.items()]
    elif isinstance(given, Iterable) and not isinstance(given, str | bytes):
        queues = [_from_item(item) for item in given]
    else:
        raise InvalidSetting(f"task_queues must be a list of Queue objects, or a dict of their settings by name, not {given!r:.80}")
    names = [queue.name for queue in queues]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise InvalidSetting(f"task_queues has two queues named {twice!r}")
    return queues


def _from_item(item: Any) -> Queue:
    if isinstance(item, Queue):
        return item
    if isinstance(item, str):
        return _made(item, {})
    raise InvalidSetting(f"task_queues takes Queue objects and names, not {item!r:.80}; write: from mesh import Queue")


def _from_settings(name: Any, settings: Any, exchange_type: str) -> Queue:
    if isinstance(settings, Queue):
        return settings
    if not isinstance(settings, Mapping):
        raise InvalidSetting(f"task_queues: the settings of {name!r} must be a dict or a Queue, not {settings!r:.80}")
    known = (*ROUTE_KEYWORDS, *QUEUE_KEYWORDS)
    for keyword in settings:
        if keyword not in known:
            raise InvalidSetting(f"task_queues: the queue {name!r} has no setting {keyword!r}: {similar(keyword, known)}")
    keywords = {keyword: value for keyword, value in settings.items() if keyword not in ROUTE_KEYWORDS}
    keywords["routing_key"] = settings.get("routing_key") or settings.get("binding_key") or ""
    exchange = settings.get("exchange")
    if isinstance(exchange, str) and exchange:
        exchange = Exchange(exchange, settings.get("exchange_type") or exchange_type)
    return _made(name, {**keywords, "exchange": exchange})


def _made(name: Any, keywords: Mapping[str, Any]) -> Queue:
    try:
        return Queue(name, **keywords)
    except (InvalidTopology, TypeError) as error:
        raise InvalidSetting(f"task_queues: {error}") from None
