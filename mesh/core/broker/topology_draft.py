"""Changes of the routing tables, checked one after the other against what the ones before have made of them; nothing is written here.

What may be declared, bound and deleted is AMQP 0-9-1's exchange, queue and binding model, in RabbitMQ's reading of it: deleting and
unbinding what is not there is no error, declaring again with other arguments is one.
"""

from __future__ import annotations

from functools import singledispatchmethod
from typing import Any, Protocol

from msgspec.structs import asdict

from mesh.core.broker.lifetimes import EXCLUSIVE
from mesh.core.cluster.topology import Declared, Name, Topology, name_of
from mesh.core.routing.declared import check_name
from mesh.core.routing.exchanges import DEFAULT_EXCHANGE, PREDECLARED, binding_name
from mesh.core.routing.header_match import ALL, X_MATCH, X_MATCHES
from mesh.errors import DeclaredOtherwise, InUse, InvalidTopology, NotFound
from mesh.wire.entries import HELD_LISTS
from mesh.wire.topology import Binding, Exchange, QueueDeclaration
from mesh.wire.topology_changes import Bind, Change, DeclareExchange, DeclareQueue, DeleteExchange, DeleteQueue, Purge, Unbind

Row = dict[str, Any]
"""What became of one change."""


class Contents(Protocol):
    """What queues hold and who consumes them, as the coordinator knows."""

    def waiting(self, queue: str) -> int:
        """Messages that wait, ready or delayed."""
        ...

    def held(self, queue: str) -> int:
        """Messages that consumers hold."""
        ...

    def consumers(self, queue: str) -> int:
        """Programs that consume it."""
        ...


class Draft:
    """The tables as the changes so far would leave them, for one program that asks."""

    def __init__(self, topology: Topology, contents: Contents, owner: str) -> None:
        self._topology = topology
        self._contents = contents
        self._owner = owner
        self.entries: dict[Name, Declared | None] = {}
        """What is to be written, or None for what is to be removed."""
        self.dropped: dict[str, str] = {}
        """Queues whose messages go, to what happened to the queue: ``purged`` or ``deleted``."""
        self._bound: dict[tuple[str, str], dict[Name, None]] = {}
        """New bindings by their source and by their destination, gone again or not."""

    # -- the tables --------------------

    def exchange(self, name: str) -> Exchange | None:
        """An exchange, or None."""
        found = self.entries.get(("exchange", name), self._topology.exchange(name))
        assert found is None or isinstance(found, Exchange)
        return found

    def queue(self, name: str) -> QueueDeclaration | None:
        """A declared queue, or None."""
        found = self.entries.get(("queue", name), self._topology.queue(name))
        assert found is None or isinstance(found, QueueDeclaration)
        return found

    def bindings_from(self, exchange: str) -> list[Binding]:
        """What is bound to an exchange."""
        return self._bindings(self._topology.routing.bindings_from(exchange), ("source", exchange))

    def bindings_to(self, kind: str, name: str) -> list[Binding]:
        """What a queue or an exchange is bound to."""
        return self._bindings(self._topology.routing.bindings_to(kind, name), (kind, name))

    def _bindings(self, known: list[Binding], end: tuple[str, str]) -> list[Binding]:
        found: dict[Name, Declared | None] = {name_of(binding): binding for binding in known}
        found = {name: self.entries.get(name, binding) for name, binding in found.items()}
        found |= {name: self.entries[name] for name in self._bound.get(end, ())}
        return [binding for binding in found.values() if isinstance(binding, Binding)]

    # -- changes --------------------

    @singledispatchmethod
    def make(self, change: Change) -> Row:
        """Make one change; returns what it does. Raises InvalidTopology, NotFound, DeclaredOtherwise or InUse: the draft is void then."""
        raise TypeError(type(change))

    @make.register
    def _declare_exchange(self, change: DeclareExchange) -> Row:
        name = change.name
        known = self.exchange(name)
        if change.passive:
            if known is None:
                raise NotFound(f"there is no exchange {name!r}")
            return {"changed": False}
        wanted = _exchange(change)
        if known is not None:
            _compare(f"exchange {name!r}", arguments_of(wanted), arguments_of(known))
            return {"changed": False}
        _check_name("exchange", name)
        self.unbind(self.bindings_from(name) + self.bindings_to("exchange", name))  # what a merge has left of a former one
        self.entries["exchange", name] = wanted
        return {"changed": True}

    @make.register
    def _declare_queue(self, change: DeclareQueue) -> Row:
        name = change.name
        known = self.queue(name)
        if known is not None:
            self._check_access(known)
        figures = {"messages": self._waiting(name), "consumers": self._contents.consumers(name)}
        if change.passive:
            if known is None and not any(figures.values()) and not self._held(name):
                raise NotFound(f"there is no queue {name!r}")
            return {"changed": False, **figures}
        wanted = self._queue(change)
        if known is not None:
            _compare(f"queue {name!r}", arguments_of(wanted), arguments_of(known))
            return {"changed": False, **figures}
        _check_name("queue", name)
        self.unbind(self.bindings_to("queue", name))
        self.entries["queue", name] = wanted
        return {"changed": True, **figures}

    @make.register
    def _bind(self, change: Bind) -> Row:
        binding = _named(change)
        self._check_ends(binding)
        _check_arguments(binding)
        changed = self._binding(binding) is None
        if changed:
            name = name_of(binding)
            self.entries[name] = binding
            for end in (("source", binding.source), (binding.kind, binding.destination)):
                self._bound.setdefault(end, {})[name] = None
        return {"changed": changed}

    @make.register
    def _unbind(self, change: Unbind) -> Row:
        binding = _named(change)
        if binding.kind == "queue" and (queue := self.queue(binding.destination)) is not None:
            self._check_access(queue)
        known = self._binding(binding)
        if known is not None:
            self.unbind([known])
        return {"changed": known is not None}

    @make.register
    def _delete_exchange(self, change: DeleteExchange) -> Row:
        name = change.name
        if name in PREDECLARED:
            raise InvalidTopology(f"the exchange {name!r} is always there: it can't be deleted")
        if self.exchange(name) is None:
            return {"changed": False}
        bindings = self.bindings_from(name)
        if change.if_unused and bindings:
            raise InUse(
                f"the exchange {name!r} is used: {len(bindings)} bindings lead from it; unbind them, or delete it without if-unused"
            )
        self.drop_exchange(name)
        return {"changed": True}

    @make.register
    def _delete_queue(self, change: DeleteQueue) -> Row:
        name = change.name
        known = self.queue(name)
        if known is not None:
            self._check_access(known)
        waiting, held = self._waiting(name), self._held(name)
        consumers = self._contents.consumers(name)
        if change.if_unused and consumers:
            raise InUse(f"the queue {name!r} is used: it has {consumers} consumers; stop them, or delete it without if-unused")
        if change.if_empty and waiting + held:
            text = f"the queue {name!r} is not empty: {waiting} messages wait in it, and {held} are with consumers"
            raise InUse(f"{text}; purge it first, or delete it without if-empty")
        self.drop_queue(name)
        return {"changed": known is not None or waiting > 0, "messages": waiting}

    @make.register
    def _purge(self, change: Purge) -> Row:
        name = change.name
        known = self.queue(name)
        if known is not None:
            self._check_access(known)
        waiting = self._waiting(name)
        self.dropped.setdefault(name, "purged")
        return {"changed": waiting > 0, "messages": waiting}

    # -- what goes with what --------------------

    def drop_queue(self, name: str) -> None:
        """A queue goes, with its bindings and what waits in it."""
        self.dropped[name] = "deleted"
        self.unbind(self.bindings_to("queue", name))
        if self.queue(name) is not None:
            self.entries["queue", name] = None

    def drop_exchange(self, name: str) -> None:
        """An exchange goes, with its bindings."""
        self.entries["exchange", name] = None
        self.unbind(self.bindings_from(name) + self.bindings_to("exchange", name))

    def unbind(self, bindings: list[Binding]) -> None:
        """Bindings go, and auto_delete exchanges with the last of theirs."""
        for binding in bindings:
            self.entries[name_of(binding)] = None
        for source in dict.fromkeys(binding.source for binding in bindings):
            self.drop_if_unbound(source)

    def drop_if_unbound(self, name: str) -> None:
        """An exchange that was declared auto_delete goes with the last of its bindings."""
        exchange = self.exchange(name)
        if exchange is not None and exchange.auto_delete and not self.bindings_from(name):
            self.drop_exchange(name)

    # -- checks --------------------

    def _binding(self, binding: Binding) -> Binding | None:
        name = name_of(binding)
        found = self.entries.get(name, self._topology.routing.bindings.get(binding_name(binding)))
        assert found is None or isinstance(found, Binding)
        return found

    def _waiting(self, queue: str) -> int:
        return 0 if queue in self.dropped else self._contents.waiting(queue)

    def _held(self, queue: str) -> int:
        return self._contents.held(queue)

    def _check_access(self, queue: QueueDeclaration) -> None:
        if queue.exclusive and queue.exclusive != self._owner:
            raise InUse(EXCLUSIVE.format(queue.name))

    def _check_ends(self, binding: Binding) -> None:
        if binding.source == DEFAULT_EXCHANGE or (binding.kind == "exchange" and binding.destination == DEFAULT_EXCHANGE):
            raise InvalidTopology("nothing can be bound to the default exchange, nor it to anything: it reaches each queue by its name")
        if self.exchange(binding.source) is None:
            raise NotFound(f"there is no exchange {binding.source!r} to bind to; declare it first")
        if binding.kind == "exchange" and self.exchange(binding.destination) is None:
            raise NotFound(f"there is no exchange {binding.destination!r} to bind; declare it first")
        if binding.kind == "queue":
            queue = self.queue(binding.destination)
            if queue is None:
                raise NotFound(f"the queue {binding.destination!r} is not declared, so it can't be bound; declare it first")
            self._check_access(queue)

    def _queue(self, change: DeclareQueue) -> QueueDeclaration:
        """The declaration that is asked for."""
        if change.exclusive and not self._owner:
            raise InvalidTopology(f"the queue {change.name!r} can't be exclusive: who asks says no `owner` that it could go with")
        if change.dead_letter_routing_key is not None and change.dead_letter_exchange is None:
            raise InvalidTopology(f"the queue {change.name!r} has a dead_letter_routing_key and no dead_letter_exchange; give it both")
        arguments = {name: value for name, value in asdict(change).items() if name not in ("passive", "exclusive")}
        return QueueDeclaration(exclusive=self._owner if change.exclusive else "", **arguments)


def _exchange(change: DeclareExchange) -> Exchange:
    return Exchange(change.name, change.type, change.durable, change.auto_delete, change.internal, change.alternate)


def _named(change: Bind | Unbind) -> Binding:
    return Binding(change.source, change.destination, change.kind, change.routing_key, change.arguments)


def _check_name(what: str, name: str) -> None:
    """Whether something new may have this name."""
    check_name(what, name)
    if name in HELD_LISTS:
        raise InvalidTopology(f"{name!r} is the name of a list of dead letters; call the {what} something else")


def _check_arguments(binding: Binding) -> None:
    how = binding.arguments.get(X_MATCH, ALL)
    if how not in X_MATCHES:
        raise InvalidTopology(f"{X_MATCH} is one of {', '.join(X_MATCHES)}, not {how!r}")


def arguments_of(entry: Declared) -> Row:
    """What two declarations of one name have to agree in, by the names that people use; all of a binding is its name."""
    fields = asdict(entry)
    del fields["term"], fields["revision"]
    if isinstance(entry, Exchange):
        fields["type"] = fields.pop("kind")
    elif isinstance(entry, QueueDeclaration):
        fields["exclusive"] = bool(entry.exclusive)
        del fields["used"]
    return fields


def _compare(what: str, mine: Row, theirs: Row) -> None:
    """Raises DeclaredOtherwise with what differs."""
    differing = [name for name in mine if mine[name] != theirs[name]]
    if differing:
        shown = ", ".join(f"{name} = {theirs[name]!r}, not {mine[name]!r}" for name in differing)
        text = f"the {what} is declared with {shown}; declare it with the same arguments, or delete it first"
        raise DeclaredOtherwise(text, {name: mine[name] for name in differing}, {name: theirs[name] for name in differing})
