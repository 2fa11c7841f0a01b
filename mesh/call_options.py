"""What a task and a call may say beside the arguments: the names, what each may be, and what they are in a message."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any, Literal, TypedDict

from mesh.core.routing.declared import similar
from mesh.errors import UsageError
from mesh.messaging.exchange import Exchange
from mesh.routes import WAY_OPTIONS
from mesh.wire.topology import Headers
from mesh.wire.topology_changes import NAME_CHARS_MAX

MAX_DELIVERIES = 1000
EXPIRES_S_MAX = 1e10
"""Most seconds in an option: 317 years, which an instant in milliseconds has room for."""
PUBLISH_TRY_S = 1.0
"""How long one try of a publish may take whose tries are counted."""
EVER_S = 1e6
SERIALIZERS = ("msgpack", "json")
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
_SHORT_TEXT = re.compile(r"[^\ud800-\udfff]{1,255}", re.DOTALL)
_RATE = re.compile(r"\d+(\.\d+)?(/[smh])?")


class WayOptions(TypedDict, total=False):
    """Where a task goes, and before which others; for the decorator and for a call."""

    queue: str | None
    exchange: Exchange | str | None
    routing_key: str | None
    priority: int | None
    headers: Headers | None
    persistent: bool | None
    affinity: Literal["local", "any"] | None
    node: str | None
    worker: str | None


class RunOptions(WayOptions, total=False):
    """How a task travels and runs; for the decorator and for a call."""

    max_deliveries: int | None
    serializer: Literal["msgpack", "json"] | None
    expires: float | datetime | str | None
    soft_time_limit: float | None
    time_limit: float | None
    ignore_result: bool | None
    track_started: bool | None
    acks_late: bool | None
    acks_early: bool | None
    unique: bool | str | None
    unique_for: float | None


class TaskOptions(RunOptions, total=False):
    """What a task may say of itself."""

    typing: bool | None
    pydantic: bool | None
    max_retries: int | None
    default_retry_delay: float | None
    autoretry_for: Sequence[type[BaseException]] | None
    dont_autoretry_for: Sequence[type[BaseException]] | None
    retry_kwargs: Mapping[str, Any] | None
    retry_backoff: bool | float | None
    retry_backoff_max: float | None
    retry_jitter: bool | None
    throws: Sequence[type[BaseException]] | None
    rate_limit: str | float | None
    store_errors_even_if_ignored: bool | None
    reject_on_worker_lost: bool | None
    acks_on_failure_or_timeout: bool | None
    send_events: bool | None
    trail: bool | None


class CallOptions(RunOptions, total=False):
    """What a call may say beside the task's arguments; None leaves it to the task."""

    task_id: str | None
    countdown: float | None
    eta: datetime | str | None
    shadow: str | None
    stamps: Mapping[str, str] | None
    idempotency_key: str | None
    link: Any
    link_error: Any
    retry: bool | None
    retry_policy: Mapping[str, Any] | None
    connection: Any
    producer: Any
    compression: str | None


TASK_OPTIONS = (*WAY_OPTIONS, *(name for name in TaskOptions.__annotations__ if name not in WAY_OPTIONS))
CALL_OPTIONS = (*WAY_OPTIONS, *(name for name in CallOptions.__annotations__ if name not in WAY_OPTIONS))
CALL_KEYWORDS = ("args", "kwargs", *CALL_OPTIONS)
RETRY_POLICY = ("max_retries", "interval_start", "interval_step", "interval_max", "retry_errors", "timeout")


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that say something."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_unknown(where: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raises TypeError that names the first unknown option and the known one that is most like it."""
    for option in options:
        if option not in known:
            raise TypeError(f"{where} has no option {option!r}: {similar(option, known)}")


# -- what each may be --------------------


def check_options(what: str, options: Mapping[str, Any]) -> None:
    """Whether the values are possible, each for itself and together, but for those of the way. Raises UsageError that names the option."""
    for name, value in options.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None:
            check(name, value)
    for one, other in _EXCLUSIVE:
        if options.get(one) is not None and options.get(other) is not None:
            raise UsageError(f"{what}: {one} and {other} can't go together")
    if options.get("acks_early") is not None and options.get("acks_late") is not None and options["acks_early"] == options["acks_late"]:
        raise UsageError(f"{what}: acks_early is the contrary of acks_late; give one of them")
    soft, hard = options.get("soft_time_limit"), options.get("time_limit")
    if soft is not None and hard is not None and soft >= hard:
        raise UsageError(f"{what}: soft_time_limit ({soft:g}) has to be below time_limit ({hard:g}), or it is never reached")


def short_text(value: object, what: str) -> str:
    """The value when it is a name or an id. Raises UsageError."""
    if not isinstance(value, str) or not _SHORT_TEXT.fullmatch(value):
        raise UsageError(f"{what} must be a text of 1 to {NAME_CHARS_MAX} characters, not {value!r:.80}")
    return value


def _text(name: str, value: object) -> None:
    short_text(value, name if name != "task_id" else "a task_id")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {value!r:.80}")


def _number(low: float, text: str) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= EXPIRES_S_MAX:
            raise UsageError(f"{name} must be {text}, not {value!r:.80}")

    return check


def _count(low: int, high: int) -> Callable[[str, Any], None]:
    def check(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise UsageError(f"{name} must be a whole number from {low} to {high}, not {value!r:.80}")

    return check


def _serializer(name: str, value: object) -> None:
    if value not in SERIALIZERS:
        raise UsageError(f"there is no {name} {value!r:.80}; there are {' and '.join(SERIALIZERS)}")


def _instant(name: str, value: Any) -> None:
    if isinstance(value, str):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(f"{name} must be a datetime or its text in ISO 8601, not {value!r:.80}") from None
    elif not isinstance(value, datetime):
        raise UsageError(f"{name} must be a datetime or its text in ISO 8601, not {value!r:.80}; countdown takes seconds")


def _expiry(name: str, value: Any) -> None:
    if isinstance(value, (datetime, str)):
        _instant(name, value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= EXPIRES_S_MAX:
        raise UsageError(f"{name} must be a number of seconds above 0 and at most {EXPIRES_S_MAX:.0e}, or a datetime, not {value!r:.80}")


def _stamps(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a dict of texts, not {value!r:.80}")
    for key, stamp in value.items():
        short_text(key, "the name of a stamp")
        short_text(stamp, f"the stamp {key!r}")


def _unique(name: str, value: object) -> None:
    if not isinstance(value, bool):
        short_text(value, f"{name}, unless True or False,")


def _errors(name: str, value: Any) -> None:
    kinds = value if isinstance(value, (tuple, list)) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise UsageError(f"{name} must be a tuple of exception classes, not {value!r:.80}")


def _backoff(name: str, value: object) -> None:
    if not isinstance(value, bool):
        _SECONDS(name, value)


def _rate(name: str, value: Any) -> None:
    if isinstance(value, str) and _RATE.fullmatch(value):
        return
    if isinstance(value, str):
        raise UsageError(f"{name} must be a number of tasks per second, or as '100/m' with s, m or h, not {value!r:.80}")
    _SECONDS(name, value)


def _policy(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a dict, not {value!r:.80}")
    for key, item in value.items():
        if key not in RETRY_POLICY:
            raise UsageError(f"{name} has no {key!r}: {similar(key, RETRY_POLICY)}")
        if key != "retry_errors" and item is not None:
            _SECONDS(f"{name}[{key!r}]", item)


_SECONDS = _number(0, "a number from 0 up")
_LIMIT = _number(0.001, "a number of seconds from 0.001 up")
_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "max_deliveries": _count(1, MAX_DELIVERIES),
    "serializer": _serializer,
    "expires": _expiry,
    "soft_time_limit": _LIMIT,
    "time_limit": _LIMIT,
    "unique": _unique,
    "unique_for": _LIMIT,
    "max_retries": _count(0, 1 << 31),
    "default_retry_delay": _SECONDS,
    "autoretry_for": _errors,
    "dont_autoretry_for": _errors,
    "throws": _errors,
    "retry_backoff": _backoff,
    "retry_backoff_max": _SECONDS,
    "rate_limit": _rate,
    "task_id": _text,
    "shadow": _text,
    "idempotency_key": _text,
    "countdown": _number(0, "a number of seconds from 0 up"),
    "eta": _instant,
    "stamps": _stamps,
    "retry_policy": _policy,
    **dict.fromkeys(("ignore_result", "track_started", "acks_late", "acks_early", "typing", "pydantic", "retry_jitter", "retry"), _flag),
    **dict.fromkeys(("store_errors_even_if_ignored", "reject_on_worker_lost", "acks_on_failure_or_timeout", "send_events", "trail"), _flag),
}
_EXCLUSIVE = (("countdown", "eta"), ("task_id", "idempotency_key"))


# -- what they are in a message --------------------


def call_fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a Call (mesh/wire/calls.py) that these options fill, but for ``unique``, which depends on the arguments."""
    fields: dict[str, Any] = {}
    for name, field in (("soft_time_limit", "soft_limit_ms"), ("time_limit", "hard_limit_ms")):
        if options.get(name) is not None:
            fields[field] = max(1, int(options[name] * 1000))
    for name in ("ignore_result", "track_started", "shadow"):
        if options.get(name) is not None:
            fields[name] = options[name]
    if options.get("acks_early") is not None:
        fields["acks_early"] = options["acks_early"]
    elif options.get("acks_late") is not None:
        fields["acks_early"] = not options["acks_late"]
    if options.get("stamps"):
        fields["stamps"] = dict(options["stamps"])
    return fields


def eta_ms(options: Mapping[str, Any], zone: tzinfo | None) -> int:
    """The instant before which a call does not run, in milliseconds since 1970; 0 for at once."""
    if options.get("eta") is not None:
        return instant_ms(options["eta"], zone)
    countdown = options.get("countdown")
    return int((time.time() + countdown) * 1000) if countdown else 0


def expires_ms(expires: float | datetime | str, zone: tzinfo | None) -> int:
    """The instant after which a call is not begun, in milliseconds since 1970."""
    if isinstance(expires, (datetime, str)):
        return instant_ms(expires, zone)
    return int((time.time() + expires) * 1000)


def instant_ms(instant: datetime | str, zone: tzinfo | None) -> int:
    """Milliseconds since 1970, at least 1. A datetime without a time zone is one of ``zone``, None: of this machine's."""
    moment = datetime.fromisoformat(instant) if isinstance(instant, str) else instant
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return max(1, int(moment.timestamp() * 1000))


def idempotent_id(task: str, key: str) -> str:
    """The id of the one task of this name and key: a UUID of the custom kind (RFC 9562, version 8) from their SHA-256."""
    digest = hashlib.sha256(f"{len(task)}:{task}{key}".encode()).digest()
    blob = bytearray(digest[:16])
    blob[6], blob[8] = 0x80 | blob[6] & 0x0F, 0x80 | blob[8] & 0x3F
    text = blob.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def publish_time_s(options: Mapping[str, Any], default_s: float) -> float:
    """How long the publish of a call may take: what its retry policy comes to, else the default.

    ``retry=False`` is one try. ``timeout`` of a policy is the whole time; without it, each try takes up to PUBLISH_TRY_S and the waits
    between them are as in Celery, ``max_retries`` 3 of them. ``max_retries=None`` is for ever.
    """
    if options.get("retry") is False:
        return PUBLISH_TRY_S
    policy = options.get("retry_policy")
    if policy is None:
        return default_s
    if policy.get("timeout") is not None:
        return float(policy["timeout"])
    tries = policy.get("max_retries", 3)
    if tries is None:
        return EVER_S
    start, step, most = policy.get("interval_start") or 0, policy.get("interval_step", 0.2), policy.get("interval_max", 0.2)
    waits = (min(start + number * (step or 0), most or 0) for number in range(min(int(tries), 1 << 16)))
    return float((tries + 1) * PUBLISH_TRY_S + sum(waits))
