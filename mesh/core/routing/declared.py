"""What people write when they declare an exchange, a queue or a binding, checked and brought to the names of mesh/wire/topology.py.

RabbitMQ's names are taken as well: its ``x-`` arguments of queues, ``alternate-exchange``, and the fields of its definitions files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mesh.core.routing.exchanges import PREDECLARED
from mesh.core.routing.header_match import ALL, X_MATCH, X_MATCHES
from mesh.errors import InvalidTopology
from mesh.wire.topology import EXCHANGE_TYPES
from mesh.wire.topology_changes import COUNT_MAX, NAME_CHARS_MAX

RESERVED_PREFIX = "amq."
OVERFLOWS = ("reject-publish", "drop-head", "dead-letter")


class Rule(NamedTuple):
    """What a value has to be, and the field that it is for."""

    field: str
    kind: type
    low: int = 0
    high: int = COUNT_MAX
    choices: tuple[str, ...] = ()
    note: str = ""
    """Why it is taken and does nothing; empty for what counts."""


EXCHANGE_FIELDS = {
    "name": Rule("name", str, 1, NAME_CHARS_MAX),
    "type": Rule("type", str, choices=EXCHANGE_TYPES),
    "durable": Rule("durable", bool),
    "auto_delete": Rule("auto_delete", bool),
    "internal": Rule("internal", bool),
    "alternate": Rule("alternate", str, 0, NAME_CHARS_MAX),
}
EXCHANGE_ARGUMENTS = {"alternate-exchange": Rule("alternate", str, 1, NAME_CHARS_MAX)}
QUEUE_FIELDS = {
    "name": Rule("name", str, 1, NAME_CHARS_MAX),
    "durable": Rule("durable", bool),
    "auto_delete": Rule("auto_delete", bool),
    "exclusive": Rule("exclusive", bool),
    "expires_ms": Rule("expires_ms", int),
    "max_length": Rule("max_length", int),
    "max_bytes": Rule("max_bytes", int),
    "overflow": Rule("overflow", str, choices=OVERFLOWS),
    "message_ttl_ms": Rule("message_ttl_ms", int),
    "dead_letter_exchange": Rule("dead_letter_exchange", str, 0, NAME_CHARS_MAX),
    "dead_letter_routing_key": Rule("dead_letter_routing_key", str, 0, NAME_CHARS_MAX),
    "max_priority": Rule("max_priority", int, 0, 255),
    "single_active_consumer": Rule("single_active_consumer", bool),
    "max_deliveries": Rule("max_deliveries", int, 0, 1000),
}
QUEUE_ARGUMENTS = {
    "x-message-ttl": Rule("message_ttl_ms", int),
    "x-expires": Rule("expires_ms", int, 1),
    "x-max-length": Rule("max_length", int, 1),
    "x-max-length-bytes": Rule("max_bytes", int, 1),
    "x-overflow": Rule("overflow", str, choices=OVERFLOWS),
    "x-dead-letter-exchange": Rule("dead_letter_exchange", str, 0, NAME_CHARS_MAX),
    "x-dead-letter-routing-key": Rule("dead_letter_routing_key", str, 0, NAME_CHARS_MAX),
    "x-max-priority": Rule("max_priority", int, 0, 255),
    "x-single-active-consumer": Rule("single_active_consumer", bool),
    "x-delivery-limit": Rule("max_deliveries", int, 1, 1000),
    "x-queue-type": Rule("", str, choices=("classic", "quorum"), note="every queue is replicated, and kept on disk when it is long"),
    "x-queue-mode": Rule("", str, choices=("default", "lazy"), note="a long queue lies on the disk by itself"),
}
BINDING_FIELDS = {
    "source": Rule("source", str, 1, NAME_CHARS_MAX),
    "destination": Rule("destination", str, 1, NAME_CHARS_MAX),
    "kind": Rule("kind", str, choices=("queue", "exchange")),
    "routing_key": Rule("routing_key", str, 0, NAME_CHARS_MAX),
}
OTHER_NAMES = {"alternate_exchange": "alternate", "max_length_bytes": "max_bytes", "destination_type": "kind", "binding_key": "routing_key"}
"""Of kombu, of RabbitMQ's definitions files and of old Celery -> ours."""
ARGUMENTS = "arguments"


class Declared(NamedTuple):
    """The fields that were given, checked, by our names; ``notes`` are one line for each argument that has no effect."""

    fields: dict[str, Any]
    notes: list[str]


def exchange(given: Mapping[str, Any]) -> Declared:
    """The fields of an exchange: ``name``, ``type`` and more, RabbitMQ's in ``arguments``.

    Raises InvalidTopology that names the argument, its value and what it may be.
    """
    declared = _declared(_what("exchange", given), given, EXCHANGE_FIELDS, EXCHANGE_ARGUMENTS)
    check_name("exchange", declared.fields.get("name", ""))
    return declared


def queue(given: Mapping[str, Any]) -> Declared:
    """The fields of a queue: ``name`` and more, RabbitMQ's ``x-`` names in ``arguments``. Raises as :func:`exchange`."""
    declared = _declared(_what("queue", given), given, QUEUE_FIELDS, QUEUE_ARGUMENTS)
    check_name("queue", declared.fields.get("name", ""))
    return declared


def binding(given: Mapping[str, Any]) -> Declared:
    """The fields of a binding: ``source``, ``destination``, ``kind``, ``routing_key``, ``arguments``. Raises as :func:`exchange`."""
    what = f"binding from {given.get('source')!r} to {given.get('destination')!r}"
    headers = given.get(ARGUMENTS) or {}
    declared = _declared(what, {name: value for name, value in given.items() if name != ARGUMENTS}, BINDING_FIELDS, {})
    for end in ("source", "destination"):
        if end not in declared.fields:
            raise InvalidTopology(f"{what}: it needs a {end}")
    check_headers(what, headers)
    if headers.get(X_MATCH, ALL) not in X_MATCHES:
        raise InvalidTopology(f"{what}: {X_MATCH} is one of {', '.join(X_MATCHES)}, not {headers[X_MATCH]!r}")
    if headers:
        declared.fields[ARGUMENTS] = dict(headers)
    return declared


def check_name(what: str, name: object) -> None:
    """Whether something may be declared by this name. Raises InvalidTopology."""
    if not isinstance(name, str) or not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise InvalidTopology(f"the name of the {what} must have 1 to {NAME_CHARS_MAX} printable characters, not {name!r:.80}")
    if name.startswith(RESERVED_PREFIX) and not (what == "exchange" and name in PREDECLARED):
        raise InvalidTopology(f"names that begin with {RESERVED_PREFIX} are reserved; call the {what} {name!r} something else")


def check_headers(what: str, headers: object) -> None:
    """Whether routing could compare these headers or binding arguments. Raises InvalidTopology."""
    if not isinstance(headers, Mapping):
        raise InvalidTopology(f"{what}: headers are a table of names and values, not {headers!r:.80}")
    for name, value in headers.items():
        if not isinstance(name, str) or len(name) > NAME_CHARS_MAX:
            raise InvalidTopology(f"{what}: a header's name is a text of up to {NAME_CHARS_MAX} characters, not {name!r:.80}")
        scalar = value is None or isinstance(value, bool | int | float | str)
        if not scalar or (isinstance(value, float) and not math.isfinite(value)):
            raise InvalidTopology(f"{what}: the header {name!r} must be a text, a number, true, false or nothing, not {value!r:.80}")


def similar(name: object, known: Iterable[str]) -> str:
    """``did you mean ...?`` when a known name is like this one, else all that are known."""
    import difflib  # only for this message

    names = list(known)
    found = difflib.get_close_matches(str(name), names, 1)
    return f"did you mean {found[0]!r}?" if found else f"known are {', '.join(names)}"


def _what(kind: str, given: Mapping[str, Any]) -> str:
    return f"{kind} {given.get('name', '')!r:.80}"


def _declared(what: str, given: Mapping[str, Any], fields: Mapping[str, Rule], arguments: Mapping[str, Rule]) -> Declared:
    declared = Declared({}, [])
    extra = given.get(ARGUMENTS) or {}
    if not isinstance(extra, Mapping):
        raise InvalidTopology(f"{what}: arguments are a table of names and values, not {extra!r:.80}")
    for rules, values in ((fields, given), (arguments, extra)):
        for name, value in values.items():
            if name == ARGUMENTS and values is given:
                continue
            rule = rules.get(OTHER_NAMES.get(name, name))
            if rule is None:
                raise InvalidTopology(f"{what} has no argument {name!r}: {similar(name, rules)}")
            if value is not None:
                _take(declared, what, name, _checked(what, name, value, rule), rule)
    return declared


def _take(declared: Declared, what: str, name: str, value: Any, rule: Rule) -> None:
    if rule.note:
        declared.notes.append(f"{what}: {name} = {value!r} has no effect: {rule.note}")
    elif declared.fields.setdefault(rule.field, value) != value:
        raise InvalidTopology(f"{what}: {name} is {value!r}, and {rule.field} is {declared.fields[rule.field]!r}; say one of them")


def _checked(what: str, name: str, value: Any, rule: Rule) -> Any:
    if rule.choices:
        if value not in rule.choices:
            raise InvalidTopology(f"{what}: {name} is one of {', '.join(rule.choices)}, not {value!r:.80}: {similar(value, rule.choices)}")
    elif rule.kind is bool:
        if not isinstance(value, bool):
            raise InvalidTopology(f"{what}: {name} is true or false, not {value!r:.80}")
    elif rule.kind is str:
        if not isinstance(value, str) or not rule.low <= len(value) <= rule.high:
            raise InvalidTopology(f"{what}: {name} is a text of {rule.low} to {rule.high} characters, not {value!r:.80}")
    elif isinstance(value, bool) or not isinstance(value, int) or not rule.low <= value <= rule.high:
        raise InvalidTopology(f"{what}: {name} is a whole number from {rule.low} to {rule.high}, not {value!r:.80}")
    return value
