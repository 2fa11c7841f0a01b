"""From a call to its message: arguments checked and encoded, way found, options read."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from mesh import ids
from mesh.errors import BodyTooLarge, UsageError
from mesh.routes import LOCAL, Router
from mesh.signature import NO_OPTIONS, Signature
from mesh.wire.bodies import encode_call
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message
from mesh.wire.topology import Properties
from mesh.wire.topology_changes import NAME_CHARS_MAX

if TYPE_CHECKING:
    from mesh.app import Mesh

MAX_DELIVERIES = 1000
EXPIRES_S_MAX = 1e10
_SHORT_TEXT = re.compile(r"[^\ud800-\udfff]{1,255}", re.DOTALL)


class CallWriter:
    """Writes the messages of one application's calls; it sends nothing."""

    def __init__(self, app: Mesh) -> None:
        self._app = app
        self.router = Router(app.conf)

    def message(
        self, call: Signature[Any], max_body_bytes: int, deadline_s: float, *, id: str | None = None, flow: Flow | None = None
    ) -> Message:
        """The message of a call. ``id`` replaces its ``task_id``; a body above ``max_body_bytes`` is compared with the node's own limit.

        Raises what Task.apply_async raises for a call that can't be sent as written.
        """
        args, kwargs = call.args, call.kwargs
        task = self._app.tasks.get(call.task)
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"the arguments of {call.task} must be a tuple or a list, not {type(args).__name__}")
        if task is not None and (flow is None or not _takes_more(flow)):
            task.check_arguments(args, kwargs)
        body = encode_call(args, kwargs)
        if len(body) > max_body_bytes:
            self._check_size(call.task, len(body), deadline_s)
        own, options = task.options if task is not None else NO_OPTIONS, call.options
        way = self.router.way(call.task, own, options, args, kwargs)
        if way.properties is not None and way.properties.target == LOCAL:
            way = way.near(self._app.client.greeting(deadline_s).node_id)
        self._app.will_use(way.queue)
        if not options:
            return Message(
                id or ids.task_id(),
                way.queue,
                call.task,
                body,
                0,
                0,
                own.get("max_deliveries", 0),
                properties=way.properties,
                flow=flow,
            )
        id = id or (short_text(options["task_id"], "a task_id") if "task_id" in options else ids.task_id())
        eta_ms = _eta_ms(options["countdown"]) if "countdown" in options else 0
        deliveries = options.get("max_deliveries", own.get("max_deliveries"))
        check_deliveries(deliveries)
        properties = way.properties
        if "expires" in options:
            properties = replace(properties or Properties(), expires_ms=_expires_ms(options["expires"]))
        return Message(id, way.queue, call.task, body, 0, eta_ms, deliveries or 0, properties=properties, flow=flow)

    def _check_size(self, task: str, size: int, deadline_s: float) -> None:
        limit = self._app.client.greeting(deadline_s).max_body_bytes
        if size > limit:
            raise BodyTooLarge(f"the arguments of {task} take {size} bytes; the limit is {limit} (setting max_body_bytes)")


def _takes_more(flow: Flow) -> bool:
    return bool(flow.after) and (flow.takes_value or flow.when == When.FAILURE)


def waiting_first(messages: list[Message]) -> list[Message]:
    """In the order of submission: what waits for others goes before what may run at once (decision 120)."""
    if all(message.flow is None for message in messages):
        return messages
    return sorted(messages, key=lambda message: message.flow is None or (not message.flow.after and message.flow.gathers < 0))


def short_text(value: object, what: str) -> str:
    """The value when it is a name or an id. Raises UsageError."""
    if not isinstance(value, str) or not _SHORT_TEXT.fullmatch(value):
        raise UsageError(f"{what} must be a text of 1 to {NAME_CHARS_MAX} characters, not {value!r:.80}")
    return value


def check_deliveries(limit: object) -> None:
    """Whether it is a limit of deliveries, or None. Raises UsageError."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_DELIVERIES):
        raise UsageError(f"max_deliveries must be a whole number from 1 to {MAX_DELIVERIES}, not {limit!r}")


def _eta_ms(countdown: float) -> int:
    if isinstance(countdown, bool) or not isinstance(countdown, (int, float)) or not 0 <= countdown < math.inf:
        raise UsageError(f"countdown must be a number of seconds from 0 up, not {countdown!r}")
    return int((time.time() + countdown) * 1000) if countdown else 0


def _expires_ms(expires: float | datetime) -> int:
    if isinstance(expires, datetime) and expires.tzinfo is not None:
        return max(1, int(expires.timestamp() * 1000))
    if isinstance(expires, bool) or not isinstance(expires, (int, float)) or not 0 < expires <= EXPIRES_S_MAX:
        raise UsageError(
            f"expires must be a number of seconds above 0 and at most {EXPIRES_S_MAX:.0e}, or a datetime with a time zone, not {expires!r}"
        )
    return int((time.time() + expires) * 1000)
