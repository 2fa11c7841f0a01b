"""The four types of exchanges: each holds its bindings so that it finds those of a message fast."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from mesh.core.routing.header_match import HeaderMatch
from mesh.core.routing.topic_trie import TopicTrie
from mesh.wire.topology import Binding, Exchange, Headers, HeaderValue

DEFAULT_EXCHANGE = ""
"""Takes a queue's name as the routing key; nothing can be bound to it."""
PREDECLARED = {
    exchange.name: exchange
    for exchange in (
        Exchange(DEFAULT_EXCHANGE, "direct"),
        Exchange("amq.direct", "direct"),
        Exchange("amq.topic", "topic"),
        Exchange("amq.fanout", "fanout"),
        Exchange("amq.headers", "headers"),
        Exchange("amq.match", "headers"),
    )
}
"""Exchanges that are always there and can't be deleted, AMQP 0-9-1 section 3.1.3."""

BindingName = tuple[str, str, str, str, tuple[tuple[str, str, HeaderValue], ...]]


def binding_name(binding: Binding) -> BindingName:
    """What makes a binding the same one: all but its term and revision, with the arguments in one order and True apart from 1."""
    arguments = tuple((name, type(value).__name__, value) for name, value in sorted(binding.arguments.items()))
    return (binding.source, binding.destination, binding.kind, binding.routing_key, arguments)


class Bindings(Protocol):
    """The bindings of one exchange, by its type. A name is given with its binding: the same in ``add`` and ``remove``."""

    def add(self, name: BindingName, binding: Binding) -> None:
        """Add one."""
        ...

    def remove(self, name: BindingName, binding: Binding) -> None:
        """Remove one that was added."""
        ...

    def match(self, routing_key: str, headers: Headers) -> Iterator[BindingName]:
        """The names of those that a message takes."""
        ...


class DirectBindings:
    """The routing key is the binding's."""

    def __init__(self) -> None:
        self._by_key: dict[str, dict[BindingName, None]] = {}

    def add(self, name: BindingName, binding: Binding) -> None:
        """Add one."""
        self._by_key.setdefault(binding.routing_key, {})[name] = None

    def remove(self, name: BindingName, binding: Binding) -> None:
        """Remove one that was added."""
        names = self._by_key[binding.routing_key]
        del names[name]
        if not names:
            del self._by_key[binding.routing_key]

    def match(self, routing_key: str, headers: Headers) -> Iterator[BindingName]:
        """The names of those that a message takes."""
        return iter(self._by_key.get(routing_key, ()))


class TopicBindings:
    """The binding's pattern matches the routing key."""

    def __init__(self) -> None:
        self._trie: TopicTrie[BindingName] = TopicTrie()

    def add(self, name: BindingName, binding: Binding) -> None:
        """Add one."""
        self._trie.add(binding.routing_key, name)

    def remove(self, name: BindingName, binding: Binding) -> None:
        """Remove one that was added."""
        self._trie.remove(binding.routing_key, name)

    def match(self, routing_key: str, headers: Headers) -> Iterator[BindingName]:
        """The names of those that a message takes."""
        return self._trie.match(routing_key)


class FanoutBindings:
    """All of them."""

    def __init__(self) -> None:
        self._names: dict[BindingName, None] = {}

    def add(self, name: BindingName, binding: Binding) -> None:
        """Add one."""
        self._names[name] = None

    def remove(self, name: BindingName, binding: Binding) -> None:
        """Remove one that was added."""
        del self._names[name]

    def match(self, routing_key: str, headers: Headers) -> Iterator[BindingName]:
        """The names of those that a message takes."""
        return iter(self._names)


class HeaderBindings:
    """The binding's arguments match the headers; each binding is looked at."""

    def __init__(self) -> None:
        self._matches: dict[BindingName, HeaderMatch] = {}

    def add(self, name: BindingName, binding: Binding) -> None:
        """Add one."""
        self._matches[name] = HeaderMatch(binding.arguments)

    def remove(self, name: BindingName, binding: Binding) -> None:
        """Remove one that was added."""
        del self._matches[name]

    def match(self, routing_key: str, headers: Headers) -> Iterator[BindingName]:
        """The names of those that a message takes."""
        return (name for name, match in self._matches.items() if match.matches(headers))


def bindings_of_kind(kind: str) -> Bindings:
    """Room for the bindings of an exchange of this type."""
    if kind == "topic":
        return TopicBindings()
    if kind == "fanout":
        return FanoutBindings()
    if kind == "headers":
        return HeaderBindings()
    return DirectBindings()
