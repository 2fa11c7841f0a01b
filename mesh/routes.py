"""Where a call goes: ``task_routes``, and how call, task, route and defaults take precedence over each other."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from mesh.core.routing.declared import check_headers, similar
from mesh.errors import InvalidSetting, InvalidTopology, UsageError
from mesh.messaging.exchange import Change, Exchange, exchange_name
from mesh.wire.entries import HELD_LISTS
from mesh.wire.topology import Headers, Properties
from mesh.wire.topology_changes import NAME_CHARS_MAX

if TYPE_CHECKING:
    from mesh.conf import Conf

DESTINATION = ("queue", "exchange", "routing_key")
PLACES = ("affinity", "node", "worker")
WAY_OPTIONS = (*DESTINATION, "priority", "headers", "persistent", *PLACES)
"""What a route, a task and a call may say of the way."""
ROUTE_OPTIONS = (*WAY_OPTIONS, "exchange_type")
AFFINITIES = ("local", "any")
LOCAL = "near:"
"""The target of ``affinity="local"``, before the node's id is known."""
PRIORITY_MAX = 255

Options = Mapping[str, Any]
RouteFunction = Callable[..., Any]


class _Rule(NamedTuple):
    """A route and what it is for: a name, a compiled pattern, or, with a function, whatever that says."""

    name: str
    pattern: re.Pattern[str] | None
    route: Any


class Routes:
    """``task_routes``: the first rule that has a route for a task wins.

    It is a dict from names to routes, a list of pairs, a function, or a list of all these. A name may be a glob (``feed.tasks.*``) or a
    compiled regular expression, which has to match from the name's start. In a dict a name that is written out goes before patterns.
    A function is called as ``function(name, args, kwargs, options, task=None)`` and returns a route, or None to pass.
    A route is a queue's name, or a dict of ``queue``, ``exchange``, ``exchange_type``, ``routing_key``, ``priority``, ``headers``,
    ``affinity``, ``node``, ``worker``. Raises InvalidSetting.
    """

    def __init__(self, given: Any) -> None:
        self.given = _frozen(given)
        self._rules = list(_rules(given))
        self.has_functions = any(callable(rule.route) for rule in self._rules)
        """Whether what is found may differ from call to call."""

    @property
    def exchanges(self) -> list[Change]:
        """The changes that declare the exchanges whose type is given."""
        routes = [rule.route for rule in self._rules if not callable(rule.route) and rule.route.get("exchange_type")]
        return [change for route in routes for change in Exchange(route["exchange"], route["exchange_type"]).changes()]

    def find(self, task: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Options) -> Options:
        """The route of a call; empty when no rule has one. Raises InvalidSetting when a function returns what is no route."""
        for rule in self._rules:
            if callable(rule.route):
                route = rule.route(task, tuple(args), dict(kwargs), dict(options), task=None)
                if route is not None:
                    return _route(f"what {getattr(rule.route, '__name__', rule.route)!s} returned for {task}", route)
            elif rule.name == task or (rule.pattern is not None and rule.pattern.match(task)):
                return rule.route  # type: ignore[no-any-return]
        return {}


def _rules(given: Any) -> Iterable[_Rule]:
    if given is None:
        return
    if callable(given):
        yield _Rule("", None, given)
    elif isinstance(given, Mapping):
        rules = [_rule(name, route) for name, route in given.items()]
        yield from sorted(rules, key=lambda rule: rule.pattern is not None)
    elif isinstance(given, list | tuple):
        for item in given:
            if isinstance(item, list | tuple) and len(item) == 2 and isinstance(item[0], str | re.Pattern):
                yield _rule(*item)
            else:
                yield from _rules(item)
    else:
        raise InvalidSetting(f"task_routes takes dicts, pairs of a name and a route, and functions, not {given!r:.80}")


def _rule(name: Any, route: Any) -> _Rule:
    if isinstance(name, re.Pattern):
        return _Rule("", name, _route(f"task_routes for {name.pattern!r}", route))
    if not isinstance(name, str) or not name:
        raise InvalidSetting(f"task_routes takes names, globs and compiled regular expressions, not {name!r:.80}")
    glob = any(sign in name for sign in "*?[")
    return _Rule("" if glob else name, re.compile(fnmatch.translate(name)) if glob else None, _route(f"task_routes for {name!r}", route))


def _route(what: str, route: Any) -> Options:
    if isinstance(route, str):
        route = {"queue": route}
    if not isinstance(route, Mapping):
        raise InvalidSetting(f"{what}: a route is a queue's name or a dict, not {route!r:.80}")
    for option in route:
        if option not in ROUTE_OPTIONS:
            raise InvalidSetting(f"{what}: a route has no {option!r}: {similar(option, ROUTE_OPTIONS)}")
    try:
        check_way(what, route)
        if route.get("exchange_type"):
            Exchange(exchange_name(route.get("exchange") or ""), route["exchange_type"])
    except UsageError as error:
        raise InvalidSetting(str(error)) from None
    return dict(route)


def _frozen(given: Any) -> Any:
    if isinstance(given, Mapping):
        return MappingProxyType(dict(given))
    return tuple(given) if isinstance(given, list) else given


def check_way(what: str, options: Options) -> None:
    """Whether these options say a way. Raises UsageError."""
    for name in ("queue", "routing_key", "node", "worker"):
        value = options.get(name)
        low = 0 if name == "routing_key" else 1
        if value is not None and (not isinstance(value, str) or not low <= len(value) <= NAME_CHARS_MAX):
            raise UsageError(f"{what}: {name} must be a text of {low} to {NAME_CHARS_MAX} characters, not {value!r:.80}")
    if options.get("queue") in HELD_LISTS:
        raise UsageError(f"{what}: {options['queue']!r} is the name of a list of dead letters, not of a queue")
    exchange = options.get("exchange")
    if exchange is not None and not isinstance(exchange, str | Exchange):
        raise UsageError(f"{what}: exchange must be a name or an Exchange, not {exchange!r:.80}")
    priority = options.get("priority")
    if priority is not None and (isinstance(priority, bool) or not isinstance(priority, int) or not 0 <= priority <= PRIORITY_MAX):
        raise UsageError(f"{what}: priority must be a whole number from 0 to {PRIORITY_MAX}, not {priority!r:.80}")
    if options.get("persistent") not in (None, True, False):
        raise UsageError(f"{what}: persistent must be True or False, not {options['persistent']!r:.80}")
    if options.get("headers") is not None:
        try:
            check_headers(what, options["headers"])
        except InvalidTopology as error:
            raise UsageError(str(error)) from None
    places = [name for name in PLACES if options.get(name) is not None]
    if len(places) > 1:
        raise UsageError(f"{what}: {' and '.join(places)} can't go together; give one of affinity, node and worker")
    if options.get("affinity") is not None and options["affinity"] not in AFFINITIES:
        raise UsageError(f"{what}: affinity is one of {', '.join(AFFINITIES)}, not {options['affinity']!r:.80}")


def overlaid(own: Options, call: Options) -> dict[str, Any]:
    """Both levels as one, for who has the task's options and not the task."""
    covered = [name for group in (("queue", "exchange"), PLACES) if any(call.get(one) is not None for one in group) for name in group]
    if "queue" in covered:
        covered.append("routing_key")
    return {**{name: value for name, value in own.items() if name not in covered}, **call}


class Way(NamedTuple):
    """Where a message goes: to ``queue`` by its name, or where ``properties`` say when that is empty."""

    queue: str
    properties: Properties | None

    def near(self, node_id: str) -> Way:
        """The same, preferably to workers on this node."""
        assert self.properties is not None, "a target is a property"
        return Way(self.queue, replace(self.properties, target=LOCAL + node_id))


class Router:
    """Finds the way of a call from, in falling precedence, the call, the task's own options, ``task_routes`` and the defaults.

    ``queue``, ``exchange`` and ``routing_key`` belong together: once a level has said queue or exchange, no lower one is asked for any of
    the three, and a routing key alone joins what a lower level says. ``affinity``, ``node`` and ``worker`` belong together, too.
    """

    def __init__(self, conf: Conf) -> None:
        self._conf = conf
        self._ways: dict[str, Way] = {}
        self._version = -1

    def forget(self, task: str) -> None:
        """The task's own options are others now."""
        self._ways.pop(task, None)

    def way(self, task: str, own: Options, call: Options, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Way:
        """The way of one call. Raises UsageError for options that are not possible, and for a queue that may not be created."""
        conf = self._conf
        if self._version != conf.version:
            self._ways.clear()
            self._version = conf.version
        known = None if call else self._ways.get(task)
        if known is not None:
            return known
        if call:
            check_way(f"the call of {task}", call)
        routes = conf.routes
        levels = (call, own, routes.find(task, args, kwargs, {**own, **call}))
        way = self._resolved(task, levels)
        if not call and not routes.has_functions:
            self._ways[task] = way
        return way

    def _resolved(self, task: str, levels: Sequence[Options]) -> Way:
        queue, exchange, routing_key = self._destination(levels)
        priority = _first(levels, "priority")
        headers: Headers = _first(levels, "headers") or {}
        transient = _first(levels, "persistent") is False
        target = _target(levels)
        if priority is None:
            priority = self._conf.task_default_priority or 0
        if queue:
            self._check_exists(task, queue)
            if not (priority or headers or target or transient):
                return Way(queue, None)
        return Way(queue, Properties(exchange, routing_key, dict(headers), priority, transient=transient, target=target, mandatory=True))

    def _destination(self, levels: Sequence[Options]) -> tuple[str, str, str]:
        """(queue, exchange, routing key): the queue alone, or nothing of it."""
        conf = self._conf
        queue = exchange = routing_key = None
        for level in levels:
            if routing_key is None:
                routing_key = level.get("routing_key")
            queue, exchange = level.get("queue"), level.get("exchange")
            if queue is not None or exchange is not None:
                break
        if exchange is not None:
            name = exchange_name(exchange)
            default = queue or conf.task_default_routing_key or ""
            return "", name, default if routing_key is None else routing_key
        if queue is not None:
            if routing_key is not None and (through := self._pattern_exchange(queue)) is not None:
                return "", through, routing_key
            return queue, "", ""
        default_exchange = conf.default_exchange
        if routing_key is not None:
            return ("", default_exchange.name, routing_key) if default_exchange is not None else (routing_key, "", "")
        if conf.task_default_exchange and conf.task_default_routing_key:
            return "", conf.task_default_exchange, conf.task_default_routing_key
        return conf.task_default_queue, "", ""

    def _pattern_exchange(self, queue: str) -> str | None:
        """The exchange through which a queue of ``task_queues`` gets what is for it when that is not a matter of one key."""
        known = self._conf.queues.get(queue)
        if known is None or not isinstance(known.exchange, Exchange) or known.exchange.type == "direct":
            return None
        return known.exchange.name

    def _check_exists(self, task: str, queue: str) -> None:
        conf = self._conf
        if not conf.task_create_missing_queues and queue not in conf.queues and queue != conf.task_default_queue:
            hint = similar(queue, conf.queues) if conf.queues else "there are none"
            raise UsageError(f"{task} would go to the queue {queue!r}, which is not in task_queues: {hint} (task_create_missing_queues)")


def _first(levels: Sequence[Options], name: str) -> Any:
    return next((level[name] for level in levels if level.get(name) is not None), None)


def _target(levels: Sequence[Options]) -> str:
    for level in levels:
        if level.get("node") is not None:
            return f"node:{level['node']}"
        if level.get("worker") is not None:
            return f"worker:{level['worker']}"
        if level.get("affinity") is not None:
            return LOCAL if level["affinity"] == "local" else ""
    return ""
