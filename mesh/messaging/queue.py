"""Queues as a program writes them; the names are kombu's, with RabbitMQ's ``x-`` names in ``queue_arguments``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from mesh.core.routing import declared
from mesh.errors import InvalidTopology
from mesh.messaging.exchange import Binding, Change, Exchange, exchange_name
from mesh.wire.topology import Headers


@dataclass(frozen=True)
class Queue:
    """A queue with its arguments, and what it is bound to.

    ``exchange`` (an Exchange, which is declared as well, or a name) with ``routing_key`` and ``binding_arguments`` is one binding;
    ``bindings`` are more. Every queue is reached by its name without any.

    ``expires`` and ``message_ttl`` are seconds: how long the queue may be unused, how long a message may wait. ``max_length`` messages and
    ``max_bytes`` of bodies are its limits, ``overflow`` (``reject-publish``, ``drop-head``, ``dead-letter``) what happens beyond.
    ``dead_letter_exchange`` gets what is rejected, expires or is given up after ``max_deliveries``, with ``dead_letter_routing_key`` or its
    own. ``max_priority`` (0 to 255) is the highest that counts; ``single_active_consumer`` lets one consumer have all. ``durable=False``:
    it is in memory only, with what it holds, and gone when all nodes have stopped; ``auto_delete``: gone with its last consumer;
    ``exclusive``: with the program that declares it, which alone may use it. None leaves a value to the mesh. Raises InvalidTopology,
    where it is made.
    """

    name: str
    exchange: Exchange | str | None = None
    routing_key: str = ""
    _: KW_ONLY
    bindings: Sequence[Binding] = ()
    binding_arguments: Headers | None = None
    durable: bool = True
    auto_delete: bool = False
    exclusive: bool = False
    expires: float | None = None
    max_length: int | None = None
    max_bytes: int | None = None
    overflow: str | None = None
    message_ttl: float | None = None
    dead_letter_exchange: Exchange | str | None = None
    dead_letter_routing_key: str | None = None
    max_priority: int | None = None
    single_active_consumer: bool = False
    max_deliveries: int | None = None
    queue_arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.changes()

    @property
    def notes(self) -> list[str]:
        """One line for each argument that is taken and has no effect."""
        return self._declared().notes

    @property
    def all_bindings(self) -> list[Binding]:
        """What it is bound to, the one of ``exchange`` and ``routing_key`` first."""
        if self.exchange is None or self.exchange == "" or (isinstance(self.exchange, Exchange) and not self.exchange.name):
            return list(self.bindings)
        own = Binding(exchange=self.exchange, routing_key=self.routing_key, arguments=self.binding_arguments or {})
        return [own, *self.bindings]

    def changes(self) -> list[Change]:
        """The changes that declare its exchanges, itself and its bindings, in order."""
        bindings = self.all_bindings
        exchanges = [item.exchange for item in bindings if isinstance(item.exchange, Exchange)]
        return [
            *(change for exchange in exchanges for change in exchange.changes()),
            {"do": "declare-queue", **self._declared().fields},
            *(binding.change(self.name) for binding in bindings),
        ]

    def _declared(self) -> declared.Declared:
        return declared.queue(
            {
                "name": self.name,
                "durable": self.durable,
                "auto_delete": self.auto_delete,
                "exclusive": self.exclusive,
                "expires_ms": self._expires_ms(),
                "max_length": self.max_length,
                "max_bytes": self.max_bytes,
                "overflow": self.overflow,
                "message_ttl_ms": self._ms("message_ttl", self.message_ttl),
                "dead_letter_exchange": None if self.dead_letter_exchange is None else exchange_name(self.dead_letter_exchange),
                "dead_letter_routing_key": self.dead_letter_routing_key,
                "max_priority": self.max_priority,
                "single_active_consumer": self.single_active_consumer or None,
                "max_deliveries": self.max_deliveries,
                "arguments": self.queue_arguments,
            }
        )

    def _expires_ms(self) -> int | None:
        expires_ms = self._ms("expires", self.expires)
        if expires_ms == 0:
            raise InvalidTopology(f"queue {self.name!r}: expires is a number of seconds above 0, not {self.expires!r}; None is never")
        return expires_ms

    def _ms(self, name: str, seconds: float | None) -> int | None:
        if seconds is None:
            return None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
            raise InvalidTopology(f"queue {self.name!r}: {name} is a number of seconds from 0 up, not {seconds!r}")
        return round(seconds * 1000)
