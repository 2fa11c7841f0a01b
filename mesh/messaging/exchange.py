"""Exchanges and bindings as a program writes them; the names are kombu's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, Self

from mesh.core.routing import declared
from mesh.errors import InvalidTopology
from mesh.wire.topology import Headers

Change = dict[str, Any]
"""One change of the topology, as the question ``topology-change`` takes it."""


@dataclass(frozen=True, kw_only=True)
class Binding:
    """Lets a queue, or an exchange, have what ``exchange`` has for it.

    ``routing_key`` is the key, or for a topic exchange the pattern (``*`` is one word, ``#`` none or more); ``arguments`` are what a
    headers exchange compares, and ``x-match``.
    """

    exchange: Exchange | str
    routing_key: str = ""
    arguments: Headers = field(default_factory=dict)

    def change(self, destination: str, kind: str = "queue", *, undone: bool = False) -> Change:
        """The change that makes it, or takes it back. Raises InvalidTopology."""
        source = exchange_name(self.exchange)
        given = {"source": source, "destination": destination, "kind": kind, "routing_key": self.routing_key, "arguments": self.arguments}
        return {"do": "unbind" if undone else "bind", **declared.binding(given).fields}


@dataclass(frozen=True)
class Exchange:
    """Where messages are published: it copies each to the queues and exchanges that are bound to it with a match.

    ``type`` is ``direct``, ``topic``, ``fanout`` or ``headers``; one with ``durable=False`` is in memory only, with its bindings, and gone
    when all nodes have stopped; ``auto_delete`` goes with its last binding; ``internal`` takes only from other exchanges; ``alternate``
    names the one that gets what this one can't route. ``bindings`` bind it to other exchanges; ``arguments`` may hold
    ``alternate-exchange``. Raises InvalidTopology, where it is made.
    """

    name: str
    type: str = "direct"
    _: KW_ONLY
    durable: bool = True
    auto_delete: bool = False
    internal: bool = False
    alternate: Exchange | str = ""
    bindings: Sequence[Binding] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.changes()

    def changes(self) -> list[Change]:
        """The changes that declare it and bind it, in order. None for the default exchange, which is always there."""
        if self.name == "":
            return []
        given = {
            "name": self.name,
            "type": self.type,
            "durable": self.durable,
            "auto_delete": self.auto_delete,
            "internal": self.internal,
            "alternate": exchange_name(self.alternate) or None,
            "arguments": self.arguments,
        }
        fields = declared.exchange(given).fields
        return [{"do": "declare-exchange", **fields}, *(binding.change(self.name, "exchange") for binding in self.bindings)]

    def bound_to(self, source: Exchange | str, routing_key: str = "", arguments: Headers | None = None) -> Self:
        """The same exchange with one more binding, from ``source``."""
        return replace(self, bindings=(*self.bindings, Binding(exchange=source, routing_key=routing_key, arguments=arguments or {})))


def exchange_name(exchange: Exchange | str) -> str:
    """The name of an exchange that is given by itself or by name. Raises InvalidTopology for anything else."""
    name: object = exchange.name if isinstance(exchange, Exchange) else exchange
    if not isinstance(name, str):
        raise InvalidTopology(f"the name of an exchange is a text, not {name!r:.80}; or give the Exchange itself")
    return name
