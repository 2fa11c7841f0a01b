"""The routing of AMQP 0-9-1 and RabbitMQ word for word, without an index, and topologies drawn from a seed to try it on."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from mesh.core.routing.exchanges import PREDECLARED
from mesh.core.routing.routing import Routing
from mesh.wire.topology import Binding, Exchange, Headers, HeaderValue

WORDS = ["a", "a", "b", ""]
HEADER_NAMES = ["format", "type", "x-source"]
HEADER_VALUES: list[HeaderValue] = ["pdf", "log", 1, True, 1.0, None]
KINDS = ["direct", "topic", "fanout", "headers"]
X_MATCHES = ["all", "any", "all-with-x", "any-with-x", None]


def topic_matches(pattern: list[str], key: list[str]) -> bool:
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(topic_matches(rest, key[taken:]) for taken in range(len(key) + 1))
    return bool(key) and first in ("*", key[0]) and topic_matches(rest, key[1:])


def split(text: str) -> list[str]:
    return [] if text == "" else text.split(".")


def equal(one: HeaderValue, other: HeaderValue) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def headers_match(arguments: Headers, headers: Headers) -> bool:
    how = arguments.get("x-match", "all")
    assert isinstance(how, str)
    hits = []
    for name, value in arguments.items():
        if name == "x-match" or (name.startswith("x-") and not how.endswith("-with-x")):
            continue
        hits.append(name in headers and (value is None or equal(value, headers[name])))
    return all(hits) if how.startswith("all") else True in hits


@dataclass
class Topology:
    """Lists, gone through from the start for every question."""

    exchanges: list[Exchange] = field(default_factory=list)
    queues: list[str] = field(default_factory=list)
    bindings: list[Binding] = field(default_factory=list)

    def exchange(self, name: str) -> Exchange | None:
        return next((known for known in [*PREDECLARED.values(), *self.exchanges] if known.name == name), None)

    def takes(self, binding: Binding, kind: str, key: str, headers: Headers) -> bool:
        there = binding.destination in self.queues if binding.kind == "queue" else self.exchange(binding.destination) is not None
        if not there:
            return False
        if kind == "direct":
            return binding.routing_key == key
        if kind == "topic":
            return topic_matches(split(binding.routing_key), split(key))
        return kind == "fanout" or headers_match(binding.arguments, headers)

    def route(self, exchange: str, key: str, headers: Headers) -> tuple[str, ...]:
        if exchange == "":
            return tuple(name for name in self.queues if name == key)
        acted: set[str] = set()
        todo, reached = {exchange}, set()
        while todo:
            name = todo.pop()
            acted.add(name)
            known = self.exchange(name)
            if known is None:
                continue
            taken = [item for item in self.bindings if item.source == name and self.takes(item, known.kind, key, headers)]
            reached |= {item.destination for item in taken if item.kind == "queue"}
            onward = {item.destination for item in taken if item.kind == "exchange"} if taken else {known.alternate} - {""}
            todo |= onward - acted
        return tuple(sorted(reached))

    def table(self, random: Random | None = None) -> Routing:
        """The real thing with the same in it, told in an order of its own."""
        routing = Routing()
        acts = [
            *[(routing.declare_exchange, item) for item in self.exchanges],
            *[(routing.declare_queue, item) for item in self.queues],
            *[(routing.bind, item) for item in self.bindings],
        ]
        if random is not None:
            random.shuffle(acts)
        for act, item in acts:
            act(item)  # type: ignore[operator]
        return routing


def drawn_words(random: Random, words: list[str], most: int) -> str:
    return ".".join(random.choices(words, k=random.randint(0, most)))


def drawn_headers(random: Random) -> Headers:
    return {name: random.choice(HEADER_VALUES) for name in random.sample(HEADER_NAMES, random.randint(0, 3))}


def drawn_arguments(random: Random) -> Headers:
    how = random.choice(X_MATCHES)
    return drawn_headers(random) | ({} if how is None else {"x-match": how})


def drawn_topology(random: Random) -> Topology:
    exchanges = [Exchange(f"x{n}", random.choice(KINDS)) for n in range(random.randint(1, 5))]
    names = [item.name for item in exchanges]
    for item in exchanges:
        item.alternate = random.choice([*names, "amq.fanout", "nowhere", "", "", ""])
    queues = [f"q{n}" for n in range(random.randint(1, 4))]
    bindings = []
    for _ in range(random.randint(3, 16)):
        to_queue = random.random() < 0.6
        destination = random.choice([*queues, "q9"] if to_queue else [*names, "amq.topic", "x9"])
        key = drawn_words(random, [*WORDS, "*", "*", "#", "#"], 3)
        source = random.choice([*names, *names, "amq.fanout", "amq.topic", "x8"])
        bindings.append(Binding(source, destination, "queue" if to_queue else "exchange", key, drawn_arguments(random)))
    return Topology(exchanges, queues, bindings)


def drawn_message(random: Random, topology: Topology) -> tuple[str, str, Headers]:
    exchange = random.choice([item.name for item in topology.exchanges] * 3 + ["amq.topic", "amq.fanout", "nowhere", ""])
    key = random.choice(["q0", "q1", "q2"]) if exchange == "" else drawn_words(random, WORDS, 3)
    return exchange, key, drawn_headers(random)
