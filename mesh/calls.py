"""From a call to its message: arguments checked and encoded, way found, options read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from mesh import ids
from mesh.call_options import NO_OPTIONS, call_fields, check_options, eta_ms, expires_ms, idempotent_id, publish_time_s
from mesh.canvas.forms import holds_step, plain
from mesh.errors import BodyTooLarge, NotEncodable
from mesh.request import Context
from mesh.routes import LOCAL, Router, Way
from mesh.signature import Signature
from mesh.wire.bodies import encode_call
from mesh.wire.calls import Call, Flow, When
from mesh.wire.entries import Message
from mesh.wire.topology import Properties

if TYPE_CHECKING:
    from mesh.app import Mesh
    from mesh.models import Models
    from mesh.task import Task


class _Plan(NamedTuple):
    """What is the same in all calls of a task."""

    task: Task[..., Any] | None
    own: Mapping[str, Any]
    """Its options, over the defaults of ``app.conf``."""
    fields: Mapping[str, Any]
    """Of the Call."""
    call: Call | None
    deliveries: int
    varies: bool
    """Something depends on the arguments or on the time, even if the call has no options."""
    serializer: str
    way: Way | None
    """Of calls without options; None when it has to be found for each."""
    models: Models | None


class CallWriter:
    """Writes the messages of one application's calls; it sends nothing."""

    def __init__(self, app: Mesh, consume: Callable[[str], None] | None) -> None:
        self._app = app
        self._conf = app.conf
        self._consume = consume
        """Has an embedded worker consume the queue of a call."""
        self.router = Router(app.conf)
        self._plans: dict[str, _Plan] = {}
        self._version = -1
        self._publishing: Mapping[str, Any] | None = None
        """What the application says of the time for a publish."""
        self._eager = False

    def forget(self, task: str) -> None:
        """The task's own options are others now."""
        self._plans.pop(task, None)
        self.router.forget(task)

    def message(
        self, call: Signature[Any], max_body_bytes: int, deadline_s: float | None, *, id: str | None = None, flow: Flow | None = None
    ) -> Message:
        """The message of a call. ``id`` replaces its ``task_id``; a body above ``max_body_bytes`` is compared with the node's own limit.
        Without a deadline no node is asked for anything: the call stays in this process.

        Raises what Task.apply_async raises for a call that can't be sent as written.
        """
        args, kwargs, options, name = call.args, call.kwargs, call.options, call.task
        if options:
            check_options(f"the call of {name}", options)
        routed_as = name if type(call) is Signature else call.routed_as
        plan = self._plans.get(routed_as)
        if plan is None or self._version != self._conf.version:
            plan = self._planned(routed_as)
        if not isinstance(args, (tuple, list)):
            raise TypeError(f"the arguments of {name} must be a tuple or a list, not {type(args).__name__}")
        whole = flow is None or not _takes_more(flow)
        if plan.task is not None and routed_as is name and whole:
            plan.task.check_arguments(args, kwargs)
        serializer = options.get("serializer") or plan.serializer if options else plan.serializer
        if plan.models is not None and routed_as is name:
            args, kwargs = plan.models.sent(args, kwargs, whole=whole, mode="json" if serializer == "json" else "python")
        try:
            body = encode_call(args, kwargs) if serializer == "msgpack" else encode_call(args, kwargs, serializer=serializer)
        except NotEncodable:
            if not holds_step((args, kwargs)):
                raise
            body = encode_call(*plain((args, kwargs)), serializer=serializer)
        if len(body) > max_body_bytes and deadline_s is not None:
            self._check_size(name, len(body), deadline_s)
        way = plan.way if plan.way is not None and not options else self._way(plan, call, deadline_s)
        if not options and not plan.varies:
            return Message(id or ids.task_id(), way.queue, name, body, 0, 0, plan.deliveries, (), None, way.properties, plan.call, flow)
        return self._with_options(plan, call, body, way, id, flow)

    def _way(self, plan: _Plan, call: Signature[Any], deadline_s: float | None) -> Way:
        way = self.router.way(call.routed_as, plan.own, call.options, call.args, call.kwargs)
        if way.properties is not None and way.properties.target == LOCAL and deadline_s is not None:
            way = way.near(self._app.client.greeting(deadline_s).node_id)
        if self._consume is not None and way.queue:
            self._consume(way.queue)
        return way

    def _with_options(self, plan: _Plan, call: Signature[Any], body: bytes, way: Way, id: str | None, flow: Flow | None) -> Message:
        name, options = call.task, call.options
        if id is None and "idempotency_key" in options:
            id = idempotent_id(name, options["idempotency_key"])
        zone = self._conf.zone
        expires, properties = options.get("expires", plan.own.get("expires")), way.properties
        if expires is not None:
            properties = replace(properties or Properties(), expires_ms=expires_ms(expires, zone))
        fields = {**plan.fields, **call_fields(options)}
        unique = options.get("unique", plan.own.get("unique"))
        if unique:
            lasts_s = options.get("unique_for", plan.own.get("unique_for")) or 0
            fields.update(unique=self._unique_key(plan, call, unique), unique_ms=int(lasts_s * 1000))
        return Message(
            id or options.get("task_id") or ids.task_id(),
            way.queue,
            name,
            body,
            eta_ms=eta_ms(options, zone),
            max_deliveries=options.get("max_deliveries") or plan.deliveries,
            properties=properties,
            call=Call(**fields) if fields else None,
            flow=flow,
        )

    def publish_time_s(self, calls: Iterable[Signature[Any]], default_s: float) -> float:
        """How long the publish of these calls may take: the longest that one of them asks for."""
        if self._publishing is not None:
            default_s = publish_time_s(self._publishing, default_s)
        longest_s: float | None = None
        for call in calls:
            if call.options:
                asked_s = publish_time_s(call.options, default_s)
                longest_s = asked_s if longest_s is None else max(longest_s, asked_s)
        return default_s if longest_s is None else longest_s

    @property
    def is_eager(self) -> bool:
        """Whether all calls run at once in the caller."""
        if self._version != self._conf.version:
            self._refresh()
        return self._eager

    def _refresh(self) -> None:
        conf = self._conf
        defaults = conf.call_defaults  # may read this machine's settings, and raise
        self._plans.clear()
        self._publishing = {name: defaults[name] for name in ("retry", "retry_policy") if name in defaults} or None
        self._eager = conf.task_always_eager
        self._version = conf.version

    def _planned(self, name: str) -> _Plan:
        conf = self._conf
        if self._version != conf.version:
            self._refresh()
        task = self._app.tasks.get(name)
        own = {**conf.call_defaults, **(task.options if task is not None else NO_OPTIONS)}
        fields = call_fields(own)
        plan = _Plan(
            task if task is None or own.get("typing", True) else None,
            own,
            fields,
            Call(**fields) if fields else None,
            own.get("max_deliveries") or 0,
            bool(own.get("unique")) or own.get("expires") is not None,
            own.get("serializer") or "msgpack",
            self._fixed_way(name, own),
            task.models if task is not None else None,
        )
        self._plans[name] = plan
        return plan

    def _fixed_way(self, name: str, own: Mapping[str, Any]) -> Way | None:
        if self._consume is not None or self._conf.routes.has_functions:
            return None
        way = self.router.way(name, own, NO_OPTIONS, (), {})
        return None if way.properties is not None and way.properties.target == LOCAL else way

    def _unique_key(self, plan: _Plan, call: Signature[Any], unique: bool | str) -> str:
        """The key among all tasks: the task's name and the given one, or a digest of the arguments."""
        if isinstance(unique, str):
            return f"{call.task}:{unique}"
        task = self._app.tasks.get(call.task)
        named = dict(call.kwargs) if task is None else task.named_arguments(call.args, call.kwargs)
        blob = encode_call(call.args if task is None else (), dict(sorted(named.items())))
        return f"{call.task}:{hashlib.sha256(blob).hexdigest()}"

    def _check_size(self, task: str, size: int, deadline_s: float) -> None:
        limit = self._app.client.greeting(deadline_s).max_body_bytes
        if size > limit:
            raise BodyTooLarge(f"the arguments of {task} take {size} bytes; the limit is {limit} (setting max_body_bytes)")


def descended(message: Message, context: Context) -> Message:
    """The message as that of a task which submits it: it is a member of that one's tree, unless it says of which it is."""
    call = message.call or Call()
    if context.called_directly or (call.root and call.parent):
        return message
    return replace(message, call=replace(call, root=call.root or context.root_id, parent=call.parent or context.id))


def _takes_more(flow: Flow) -> bool:
    return bool(flow.after) and (flow.takes_value or flow.when == When.FAILURE)


def waiting_first(messages: list[Message]) -> list[Message]:
    """In the order of submission: what waits for others goes before what may run at once (decision 120)."""
    if all(message.flow is None for message in messages):
        return messages
    return sorted(messages, key=lambda message: message.flow is None or (not message.flow.after and message.flow.gathers < 0))
