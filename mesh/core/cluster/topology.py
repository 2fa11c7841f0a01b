"""The exchanges, queues and bindings of the mesh as this node has heard of them: replicated, one value for a name (R22)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.scopes import scope_of
from mesh.core.cluster.standing import StandingValues
from mesh.core.routing.exchanges import binding_name
from mesh.core.routing.routing import Routing
from mesh.wire.entries import Entry, Scope
from mesh.wire.topology import Binding, Exchange, QueueDeclaration

Declared = Exchange | QueueDeclaration | Binding
Name = tuple[str, Hashable]
"""(kind of thing, its name): what one value stands for."""


class Topology:
    """Applies the highest value of each name to the routing table of this node."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.routing = Routing()
        self._queues: dict[str, QueueDeclaration] = {}
        self._standing: StandingValues[Name, Declared] = StandingValues(replica)
        self.temporary: dict[str, None] = {}
        """Queues that may go by themselves: exclusive, auto_delete or with expires_ms."""
        self._limited: set[str] = set()
        self.unbound: dict[str, None] = {}
        """Exchanges that have lost a binding since the coordinator, if it is here, looked last."""
        self.loose: dict[Name, Binding] = {}
        """Bindings that came to what is not there, or have lost an end: a merge may leave them, and another may bring the end."""
        self.on_queue_changed: list[Callable[[str], None]] = []
        """Told of the name of a queue that was declared, redeclared or deleted."""
        replica.on_shared_added.append(self._on_added)
        replica.on_shared_settled.append(self._on_settled)

    def load(self) -> None:
        """Index what the replica has restored."""
        self._replica.tell_restored(self._on_added)

    # -- what is declared --------------------

    @property
    def queues(self) -> Mapping[str, QueueDeclaration]:
        """The declared queues by name."""
        return self._queues

    def queue(self, name: str) -> QueueDeclaration | None:
        """The declaration of a queue, None for one that exists by its messages alone, or not at all."""
        return self._queues.get(name)

    @property
    def any_limits(self) -> bool:
        """Whether some queue is declared with a limit to what waits in it."""
        return bool(self._limited)

    def exchange(self, name: str) -> Exchange | None:
        """An exchange, also a predeclared one."""
        return self.routing.exchanges.get(name)

    # -- changes, by the coordinator --------------------

    def put(self, entry: Declared, term: int) -> None:
        """Write a value: it stands for its name from now on, above the one that did."""
        self._standing.put(name_of(entry), entry, term, self._scope_of(entry))

    def _scope_of(self, entry: Declared) -> Scope:
        """A binding lasts as its ends do: with a temporary one it is temporary itself, as in AMQP."""
        if not isinstance(entry, Binding):
            return scope_of(entry)
        source = self.exchange(entry.source)
        end = self.queue(entry.destination) if entry.kind == "queue" else self.exchange(entry.destination)
        lasts = all(one is None or one.durable for one in (source, end))
        return Scope.SHARED if lasts else Scope.FLEETING_SHARED

    def remove(self, name: Name) -> None:
        """Settle what stands for a name, if anything does."""
        self._standing.remove(name)

    # -- entries come and go --------------------

    def _on_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Exchange | QueueDeclaration | Binding) and self._standing.came(name_of(entry), journal, sequence, entry):
            self._stands(entry)

    def _on_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Exchange | QueueDeclaration | Binding) and self._standing.gone(name_of(entry), journal, sequence):
            self._is_gone(entry)

    def _stands(self, entry: Declared) -> None:
        if isinstance(entry, Exchange):
            self.routing.declare_exchange(entry)
        elif isinstance(entry, Binding):
            self.routing.bind(entry)
            if not self._has_ends(entry):
                self.loose[name_of(entry)] = entry
        else:
            self._queues[entry.name] = entry
            self.routing.declare_queue(entry.name)
            self._forget_traits(entry.name)
            if entry.exclusive or entry.auto_delete or entry.expires_ms:
                self.temporary[entry.name] = None
            if entry.max_length or entry.max_bytes:
                self._limited.add(entry.name)
            self._tell(entry.name)

    def _is_gone(self, entry: Declared) -> None:
        if isinstance(entry, Exchange):
            self.routing.delete_exchange(entry.name)
            self.unbound.pop(entry.name, None)
            self._loosen(self.routing.bindings_from(entry.name))
            self._loosen(self.routing.bindings_to("exchange", entry.name))
        elif isinstance(entry, Binding):
            self.routing.unbind(entry)
            self.loose.pop(name_of(entry), None)
            if entry.source in self.routing.exchanges:
                self.unbound[entry.source] = None
        else:
            del self._queues[entry.name]
            self.routing.delete_queue(entry.name)
            self._loosen(self.routing.bindings_to("queue", entry.name))
            self._forget_traits(entry.name)
            self._tell(entry.name)

    def _loosen(self, bindings: list[Binding]) -> None:
        self.loose.update((name_of(binding), binding) for binding in bindings)

    def _has_ends(self, binding: Binding) -> bool:
        there = self._queues if binding.kind == "queue" else self.routing.exchanges
        return binding.source in self.routing.exchanges and binding.destination in there

    def take_loose(self) -> list[Binding]:
        """The bindings that lack an end, for whoever removes them; the others have found theirs."""
        loose, self.loose = self.loose, {}
        return [binding for binding in loose.values() if not self._has_ends(binding)]

    def _forget_traits(self, queue: str) -> None:
        self.temporary.pop(queue, None)
        self._limited.discard(queue)

    def _tell(self, queue: str) -> None:
        for listener in self.on_queue_changed:
            listener(queue)


def name_of(entry: Declared) -> Name:
    """What makes an exchange, queue or binding the same one."""
    if isinstance(entry, Exchange):
        return ("exchange", entry.name)
    if isinstance(entry, QueueDeclaration):
        return ("queue", entry.name)
    return ("binding", binding_name(entry))
