"""Which queues a message goes to: the whole table of exchanges, queues and bindings of one node, and the way through it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from mesh.core.routing.exchanges import DEFAULT_EXCHANGE, PREDECLARED, BindingName, Bindings, binding_name, bindings_of_kind
from mesh.wire.topology import Binding, Exchange, Headers


@dataclass(frozen=True, slots=True)
class Step:
    """What one exchange did with a message."""

    exchange: str
    kind: str
    """The exchange's type; empty when there is no such exchange."""
    came_from: str | None
    """The exchange that sent it here, None for the publisher."""
    matched: tuple[Binding, ...] = ()
    """The bindings that the message took, those to known places only."""
    alternate: str = ""
    """The exchange that got it because nothing matched."""


Key = TypeVar("Key")


def _drop(index: dict[Key, dict[BindingName, None]], key: Key, name: BindingName) -> None:
    names = index[key]
    del names[name]
    if not names:
        del index[key]


class Routing:
    """The table. It depends only on what is declared, not on the order: a binding may be told before what it binds, and waits.

    Nothing goes with something else: who deletes a queue or an exchange unbinds it too (``bindings_from``, ``bindings_to``). Until then a
    binding to what is not there counts as none.
    """

    def __init__(self) -> None:
        self._exchanges: dict[str, Exchange] = dict(PREDECLARED)
        self._queues: dict[str, None] = {}
        self._bindings: dict[BindingName, Binding] = {}
        self._from: dict[str, dict[BindingName, None]] = {}
        self._to: dict[tuple[str, str], dict[BindingName, None]] = {}
        self._by_exchange: dict[str, Bindings] = {}

    # -- the table --------------------

    @property
    def exchanges(self) -> Mapping[str, Exchange]:
        """All exchanges by name, the predeclared ones included."""
        return self._exchanges

    @property
    def queues(self) -> Mapping[str, None]:
        """The names of all declared queues."""
        return self._queues

    @property
    def bindings(self) -> Mapping[BindingName, Binding]:
        """All bindings by name."""
        return self._bindings

    def declare_exchange(self, exchange: Exchange) -> None:
        """Add or replace one; a predeclared one stays as it is."""
        if exchange.name in PREDECLARED:
            return
        known = self._exchanges.get(exchange.name)
        self._exchanges[exchange.name] = exchange
        if known is None or known.kind != exchange.kind:
            self._index(exchange.name)

    def delete_exchange(self, name: str) -> None:
        """Remove one, if it is there."""
        if name not in PREDECLARED and self._exchanges.pop(name, None) is not None:
            self._by_exchange.pop(name, None)

    def declare_queue(self, name: str) -> None:
        """Add a queue: it is reached by its name through the default exchange."""
        self._queues[name] = None

    def delete_queue(self, name: str) -> None:
        """Remove one, if it is there."""
        self._queues.pop(name, None)

    def bind(self, binding: Binding) -> None:
        """Add a binding. The default exchange has none: one from or to it is passed over."""
        name = binding_name(binding)
        if name in self._bindings or binding.source == DEFAULT_EXCHANGE or binding.destination == DEFAULT_EXCHANGE:
            return
        self._bindings[name] = binding
        self._from.setdefault(binding.source, {})[name] = None
        self._to.setdefault((binding.kind, binding.destination), {})[name] = None
        if (ready := self._by_exchange.get(binding.source)) is not None:
            ready.add(name, binding)
        elif binding.source in self._exchanges:
            self._index(binding.source)

    def unbind(self, binding: Binding) -> None:
        """Remove a binding, if it is there."""
        name = binding_name(binding)
        known = self._bindings.pop(name, None)
        if known is None:
            return
        _drop(self._from, known.source, name)
        _drop(self._to, (known.kind, known.destination), name)
        if (ready := self._by_exchange.get(known.source)) is not None:
            ready.remove(name, known)

    def bindings_from(self, exchange: str) -> list[Binding]:
        """What is bound to an exchange."""
        return [self._bindings[name] for name in self._from.get(exchange, ())]

    def bindings_to(self, kind: str, name: str) -> list[Binding]:
        """The bindings that lead to a ``queue`` or an ``exchange``."""
        return [self._bindings[key] for key in self._to.get((kind, name), ())]

    # -- the way of a message --------------------

    def refusal(self, exchange: str) -> str:
        """Why a client may not publish to an exchange; empty when it may."""
        known = self._exchanges.get(exchange)
        if known is None:
            return f"there is no exchange {exchange!r}; declare it first (mesh exchange declare)"
        if known.internal:
            return f"the exchange {exchange!r} is internal: only other exchanges may send to it"
        return ""

    def route(self, exchange: str, routing_key: str, headers: Headers) -> tuple[str, ...]:
        """The queues that get a copy, sorted by name, each once.

        An exchange acts once, so cycles end. One that matches no binding hands on to its alternate exchange. An unknown one leads nowhere.
        """
        if exchange == DEFAULT_EXCHANGE:
            return (routing_key,) if routing_key in self._queues else ()
        queues: dict[str, None] = {}
        for step in self._walk(exchange, routing_key, headers):
            for binding in step.matched:
                if binding.kind == "queue":
                    queues[binding.destination] = None
        return tuple(sorted(queues))

    def explain(self, exchange: str, routing_key: str, headers: Headers) -> list[Step]:
        """The way of a message, exchange by exchange, in the order in which they act."""
        if exchange == DEFAULT_EXCHANGE:
            matched = (Binding(DEFAULT_EXCHANGE, routing_key, "queue", routing_key),) if routing_key in self._queues else ()
            return [Step(DEFAULT_EXCHANGE, "direct", None, matched)]
        return list(self._walk(exchange, routing_key, headers))

    def _walk(self, first: str, routing_key: str, headers: Headers) -> Iterator[Step]:
        came_from: dict[str, str | None] = {first: None}
        waiting = [first]
        while waiting:
            name = waiting.pop(0)
            exchange = self._exchanges.get(name)
            if exchange is None:
                yield Step(name, "", came_from[name])
                continue
            ready = self._by_exchange.get(name)
            matched = () if ready is None else tuple(self._known(ready.match(routing_key, headers)))
            alternate = "" if matched or exchange.alternate not in self._exchanges else exchange.alternate
            yield Step(name, exchange.kind, came_from[name], matched, alternate)
            onward = [binding.destination for binding in matched if binding.kind == "exchange"]
            for other in [alternate] if alternate else onward:
                if other not in came_from:
                    came_from[other] = name
                    waiting.append(other)

    def _known(self, names: Iterator[BindingName]) -> Iterator[Binding]:
        """The bindings that lead to what is there."""
        for name in names:
            binding = self._bindings[name]
            if binding.destination in (self._queues if binding.kind == "queue" else self._exchanges):
                yield binding

    def _index(self, exchange: str) -> None:
        """Put the bindings of an exchange into the form of its type."""
        names = self._from.get(exchange)
        if not names:
            self._by_exchange.pop(exchange, None)
            return
        ready = bindings_of_kind(self._exchanges[exchange].kind)
        for name in names:
            ready.add(name, self._bindings[name])
        self._by_exchange[exchange] = ready
