"""The settings of an application that have an effect: what each may be, and what it says of calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from mesh.call_options import SERIALIZERS, check_options
from mesh.errors import InvalidSetting, UsageError
from mesh.routes import Routes
from mesh.signature import DEFAULT_QUEUE
from mesh.task_queues import frozen_queues
from mesh.wire.topology import EXCHANGE_TYPES
from mesh.wire.topology_changes import NAME_CHARS_MAX

PRIORITY_MAX = 255
MIME_TYPES = {"application/json": "json", "application/x-msgpack": "msgpack", "application/msgpack": "msgpack"}
UNSAFE = {"pickle": "it would run what a message says", "application/x-python-serialize": "it would run what a message says"}


class Item(NamedTuple):
    """One setting: its default, what makes a given value the one that is kept (ValueError says what it has to be), and what it does."""

    default: Any
    kept: Callable[[Any], Any]
    effect: str
    option: str = ""
    """The option of tasks that it is the default of."""


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


def _zone(value: Any) -> Any:
    try:
        ZoneInfo(value)
    except (TypeError, ValueError, OSError, LookupError):
        raise ValueError("the name of a time zone, as Europe/Berlin") from None
    return value


def _serializer(value: Any) -> str:
    name = MIME_TYPES.get(value, value) if isinstance(value, str) else value
    if name in UNSAFE:
        raise ValueError(f"one of {', '.join(SERIALIZERS)} ({name} is refused: {UNSAFE[name]})")
    if name not in SERIALIZERS:
        raise ValueError(f"one of {', '.join(SERIALIZERS)}")
    return str(name)


def _content(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, (list, tuple, set, frozenset)) or not value:
        raise ValueError(f"a list of {', '.join(SERIALIZERS)}")
    return tuple(_serializer(one) for one in value)


def _modules(value: Any) -> Any:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) and name for name in names):
        raise ValueError("a list of names of modules")
    return tuple(names)


def _option(option: str) -> Callable[[Any], Any]:
    def kept(value: Any) -> Any:
        try:
            check_options("", {option: value})
        except UsageError as error:
            raise ValueError(str(error).partition(" must be ")[2].rpartition(", not ")[0]) from None
        return value

    return kept


def _annotations(value: Any) -> Any:
    levels = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
    for level in levels:
        if not hasattr(level, "annotate") and not (
            isinstance(level, Mapping) and all(isinstance(name, str) and isinstance(one, Mapping) for name, one in level.items())
        ):
            raise ValueError("a dict of dicts of options by the names of tasks, or a list of such dicts and of objects with annotate(task)")
    return tuple(levels)


_LIMIT = "seconds"
ITEMS: dict[str, Item] = {
    "task_routes": Item(None, lambda value: Routes(value).given, "where tasks go, by name"),
    "task_queues": Item(None, frozen_queues, "the queues, declared before the first publish"),
    "task_default_queue": Item(DEFAULT_QUEUE, _name, "where a task without a route goes"),
    "task_default_exchange": Item(None, _name_or_none, "the exchange of queues and keys that name none"),
    "task_default_exchange_type": Item("direct", _exchange_type, "the type of that exchange"),
    "task_default_routing_key": Item(None, _name_or_none, "the key of tasks and queues without one"),
    "task_create_missing_queues": Item(True, _flag, "whether a task may go to a queue that is not in task_queues"),
    "task_queue_max_priority": Item(None, _priority, "the highest priority of queues that say nothing else"),
    "task_default_priority": Item(None, _priority, "the priority of tasks that say nothing else"),
    "timezone": Item("UTC", _zone, "the time zone of datetimes that have none"),
    "enable_utc": Item(True, _flag, "False without timezone: such datetimes are this machine's"),
    "imports": Item((), _modules, "modules that a worker imports with the application"),
    "include": Item((), _modules, "the same"),
    "accept_content": Item(None, _content, "without msgpack in it arguments are sent as JSON; what arrives is read in both"),
    "result_accept_content": Item(None, _content, "checked and kept; results are read in both serializers"),
    "task_serializer": Item(None, lambda value: None if value is None else _serializer(value), "how arguments are encoded", "serializer"),
    "result_serializer": Item(
        None,
        lambda value: None if value is None else _serializer(value),
        "checked and kept; results are encoded in msgpack, which has all that JSON has",
    ),
    "task_ignore_result": Item(False, _flag, "nobody wants the results", "ignore_result"),
    "task_store_errors_even_if_ignored": Item(
        False, _flag, "exceptions are kept of tasks whose results nobody wants", "store_errors_even_if_ignored"
    ),
    "task_track_started": Item(False, _flag, "tasks say when they begin", "track_started"),
    "task_acks_late": Item(True, _flag, "False: a task is never delivered twice", "acks_late"),
    "task_time_limit": Item(None, _option("time_limit"), "running time in seconds after which a task is ended", "time_limit"),
    "task_soft_time_limit": Item(None, _option("soft_time_limit"), "the same, by an exception in the task", "soft_time_limit"),
    "task_annotations": Item((), _annotations, "options and hooks that replace those of tasks, by name or * for all"),
    "task_publish_retry": Item(True, _flag, "False: a publish is one try", "retry"),
    "task_publish_retry_policy": Item(None, _option("retry_policy"), "how long a publish may take", "retry_policy"),
    "task_always_eager": Item(False, _flag, "calls run at once in the caller"),
    "task_eager_propagates": Item(False, _flag, "such calls raise what the task raises"),
}


def read_text(name: str, text: str) -> Any:
    """The value that a text of the environment stands for: JSON where it is some, but texts for settings whose values are texts."""
    default = ITEMS[name].default if name in ITEMS else None
    if isinstance(default, bool):
        flags = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
        return flags.get(text.strip().lower(), text)
    if isinstance(default, tuple) and not text.lstrip().startswith("["):
        return tuple(part.strip() for part in text.split(",") if part.strip())
    try:
        return json.loads(text)
    except ValueError:
        return text


def checked(name: str, value: Any) -> Any:
    """The value as it is kept. Raises InvalidSetting."""
    try:
        return ITEMS[name].kept(value)
    except InvalidSetting:
        raise
    except ValueError as error:
        raise InvalidSetting(f"{name} must be {error}, not {value!r:.80}") from None
