"""Routing is RabbitMQ's: against a matcher without an index, on drawn topologies, and rule by rule."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.routing.exchanges import PREDECLARED
from mesh.core.routing.routing import Routing, Step
from mesh.core.routing.topic_trie import TopicTrie
from mesh.wire.topology import Binding, Exchange, Headers
from tests.unit.core.routing.brute_force import (
    WORDS,
    Topology,
    drawn_message,
    drawn_topology,
    drawn_words,
    split,
    topic_matches,
)

BLOCKS = 8
TOPOLOGIES = 2_000
"""Of each block, with MESSAGES each, asked before and after something of it is removed: 256,000 ways in all."""
MESSAGES = 8
TRIES = 400
KEYS = 20


def table(*items: Exchange | Binding | str) -> Routing:
    routing = Routing()
    for item in items:
        if isinstance(item, Exchange):
            routing.declare_exchange(item)
        elif isinstance(item, Binding):
            routing.bind(item)
        else:
            routing.declare_queue(item)
    return routing


# -- against brute force --------------------


def remove_something(random: Random, topology: Topology, routing: Routing) -> None:
    """The same from both."""
    for binding in random.sample(topology.bindings, len(topology.bindings) // 3):
        topology.bindings = [item for item in topology.bindings if item is not binding]
        if binding not in topology.bindings:
            routing.unbind(binding)
    if random.random() < 0.3:
        routing.delete_queue(topology.queues.pop())
    if random.random() < 0.3:
        routing.delete_exchange(topology.exchanges.pop().name)
    elif random.random() < 0.3:
        changed = topology.exchanges[0]
        topology.exchanges[0] = Exchange(changed.name, random.choice(["direct", "topic", "fanout", "headers"]), alternate=changed.alternate)
        routing.declare_exchange(topology.exchanges[0])


@pytest.mark.parametrize("block", range(BLOCKS))
def test_routes_are_those_of_a_search_without_an_index(block: int) -> None:
    for seed in range(block * TOPOLOGIES, (block + 1) * TOPOLOGIES):
        random = Random(seed)
        topology = drawn_topology(random)
        routing = topology.table(random)
        for _ in range(MESSAGES):
            message = drawn_message(random, topology)
            assert routing.route(*message) == topology.route(*message), (seed, message, topology)
        remove_something(random, topology, routing)
        for _ in range(MESSAGES):
            message = drawn_message(random, topology)
            assert routing.route(*message) == topology.route(*message), (seed, message, topology)


def test_topic_tries_find_what_the_definition_of_a_pattern_says() -> None:
    for seed in range(TRIES):
        random = Random(seed)
        patterns = {drawn_words(random, [*WORDS, "*", "#"], 6) for _ in range(10)}
        trie: TopicTrie[str] = TopicTrie()
        for pattern in [*patterns, "a.b.#", "gone.#.*"]:
            trie.add(pattern, pattern)
        trie.remove("gone.#.*", "gone.#.*")
        for _ in range(KEYS):
            key = drawn_words(random, [*WORDS, "gone"], 6)
            expected = sorted(item for item in patterns | {"a.b.#"} if topic_matches(split(item), split(key)))
            assert sorted(trie.match(key)) == expected, (seed, key)


topologies = st.builds(drawn_topology, st.randoms(use_true_random=False))


@settings(max_examples=200, deadline=None)
@given(topologies, st.randoms(use_true_random=False))
def test_the_order_in_which_a_topology_is_told_does_not_matter(topology: Topology, random: Random) -> None:
    one, other = topology.table(random), topology.table(random)
    message = drawn_message(random, topology)
    assert one.route(*message) == other.route(*message)


@settings(max_examples=200, deadline=None)
@given(topologies, st.randoms(use_true_random=False))
def test_an_explanation_leads_to_the_same_queues(topology: Topology, random: Random) -> None:
    routing = topology.table(random)
    message = drawn_message(random, topology)
    steps = routing.explain(*message)
    reached = {item.destination for step in steps for item in step.matched if item.kind == "queue"}
    assert tuple(sorted(reached)) == routing.route(*message)
    assert len({step.exchange for step in steps}) == len(steps)


@settings(max_examples=200, deadline=None)
@given(topologies, st.randoms(use_true_random=False))
def test_what_is_told_twice_and_taken_back_once_is_gone(topology: Topology, random: Random) -> None:
    routing = topology.table(random)
    for item in topology.bindings:
        routing.bind(item)
        routing.unbind(item)
        routing.unbind(item)
    for queue in topology.queues:
        routing.declare_queue(queue)
        routing.delete_queue(queue)
    assert dict(routing.bindings) == {}
    assert dict(routing.queues) == {}
    for exchange in topology.exchanges:
        routing.declare_exchange(exchange)
        routing.delete_exchange(exchange.name)
    assert dict(routing.exchanges) == PREDECLARED


# -- the examples of the AMQP model --------------------


def test_direct_pdfprocess_goes_to_the_queue_bound_with_pdfprocess() -> None:
    routing = table(Exchange("pdf", "direct"), "pdfs", "others", Binding("pdf", "pdfs", routing_key="pdfprocess"))
    routing.bind(Binding("pdf", "others", routing_key="pdf"))
    assert routing.route("pdf", "pdfprocess", {}) == ("pdfs",)
    assert routing.route("pdf", "pdfprocess.now", {}) == ()


def test_fanout_copies_to_every_bound_queue_whatever_the_key() -> None:
    routing = table(Exchange("news", "fanout"), "a", "b", "c", Binding("news", "a"), Binding("news", "b", routing_key="ignored"))
    assert routing.route("news", "anything", {}) == ("a", "b")


def test_topic_task_and_feed_lead_to_default_and_feed_tasks() -> None:
    routing = table(Exchange("tasks", "topic"), "default", "feed_tasks")
    routing.bind(Binding("tasks", "default", routing_key="task.#"))
    routing.bind(Binding("tasks", "feed_tasks", routing_key="feed.#"))
    assert routing.route("tasks", "task.default", {}) == ("default",)
    assert routing.route("tasks", "feed.import", {}) == ("feed_tasks",)
    assert routing.route("tasks", "feed", {}) == ("feed_tasks",)
    assert routing.route("tasks", "feeds", {}) == ()


def test_headers_route_on_what_the_message_says_of_itself() -> None:
    routing = table(Exchange("reports", "headers"), "pdf reports", "anything")
    routing.bind(Binding("reports", "pdf reports", arguments={"format": "pdf", "type": "report", "x-match": "all"}))
    routing.bind(Binding("reports", "anything", arguments={"format": "pdf", "type": "log", "x-match": "any"}))
    assert routing.route("reports", "", {"format": "pdf", "type": "report"}) == ("anything", "pdf reports")
    assert routing.route("reports", "", {"format": "zip", "type": "log"}) == ("anything",)
    assert routing.route("reports", "", {"format": "zip"}) == ()


def test_server_and_laptop_have_their_queues_behind_one_direct_exchange() -> None:
    routing = table(Exchange("tasks", "direct"), "server", "laptop")
    routing.bind(Binding("tasks", "server", routing_key="server_task"))
    routing.bind(Binding("tasks", "laptop", routing_key="laptop_task"))
    assert routing.route("tasks", "server_task", {}) == ("server",)
    assert routing.route("tasks", "laptop_task", {}) == ("laptop",)


# -- rule by rule --------------------


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("*.orange.*", "quick.orange.rabbit", True),
        ("*.orange.*", "quick.orange.male.rabbit", False),
        ("lazy.#", "lazy.brown.fox", True),
        ("lazy.#", "lazy", True),
        ("#", "", True),
        ("#", "any.thing.at.all", True),
        ("*", "", False),
        ("*", "one", True),
        ("*.*", "one.", True),
        ("#.#.#", "", True),
        ("a.#.b", "a.b", True),
        ("a.#.b", "a.x.y.b", True),
        ("a.#.b", "a.x.y", False),
        ("#.*", "", False),
        ("", "", True),
        ("", "a", False),
        ("a*", "ab", False),
        ("a*", "a*", True),
        ("a.b", "a.b", True),
        ("a.b", "a.b.c", False),
    ],
)
def test_a_star_is_one_word_and_a_hash_is_none_or_more(pattern: str, key: str, matches: bool) -> None:
    routing = table("q", Binding("amq.topic", "q", routing_key=pattern))
    assert routing.route("amq.topic", key, {}) == (("q",) if matches else ())


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({}, {}, True),
        ({"x-match": "any"}, {"a": 1}, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1.0}, {"a": 1}, True),
        ({"a": 1.5}, {"a": 1}, False),
        ({"a": True}, {"a": 1.0}, False),
        ({"a": "1"}, {"a": 1}, False),
        ({"a": None}, {"a": "anything"}, True),
        ({"a": None}, {}, False),
        ({"x-a": 1, "b": 2}, {"b": 2}, True),
        ({"x-a": 1, "x-match": "any"}, {"x-a": 1}, False),
        ({"x-a": 1, "b": 2, "x-match": "all-with-x"}, {"b": 2}, False),
        ({"x-a": 1, "b": 2, "x-match": "all-with-x"}, {"b": 2, "x-a": 1}, True),
        ({"x-a": 1, "b": 2, "x-match": "any-with-x"}, {"x-a": 1}, True),
        ({"x-match": "all-with-x"}, {}, True),
        ({"b": 2, "x-match": "any"}, {"b": 3, "x-match": "any"}, False),
    ],
)
def test_headers_are_compared_as_x_match_says(arguments: Headers, headers: Headers, matches: bool) -> None:
    routing = table("q", Binding("amq.headers", "q", arguments=arguments))
    assert routing.route("amq.headers", "", headers) == (("q",) if matches else ())


def test_the_default_exchange_knows_every_declared_queue_by_name_and_has_no_bindings() -> None:
    routing = table("emails", Binding("", "emails", routing_key="other"), Binding("amq.fanout", "", "exchange"))
    assert routing.route("", "emails", {}) == ("emails",)
    assert routing.route("", "other", {}) == ()
    assert routing.route("", "undeclared", {}) == ()
    assert dict(routing.bindings) == {}


@pytest.mark.parametrize("name", ["amq.direct", "amq.topic", "amq.fanout", "amq.headers", "amq.match"])
def test_predeclared_exchanges_are_there_and_stay(name: str) -> None:
    routing = table("q", Binding(name, "q", routing_key="k"))
    routing.delete_exchange(name)
    routing.declare_exchange(Exchange(name, "direct", internal=True))
    assert routing.route(name, "k", {}) == ("q",)
    assert routing.exchanges[name] == PREDECLARED[name]


def test_a_queue_that_is_reached_on_two_ways_gets_one_copy() -> None:
    routing = table(Exchange("x", "topic"), "q", Binding("x", "q", routing_key="a.#"), Binding("x", "q", routing_key="#.b"))
    routing.bind(Binding("x", "amq.fanout", "exchange", "#"))
    routing.bind(Binding("amq.fanout", "q"))
    assert routing.route("x", "a.b", {}) == ("q",)


def test_cycles_between_exchanges_are_allowed_and_end() -> None:
    ring = [Exchange(f"x{n}", "fanout") for n in range(3)]
    routing = table(*ring, "q0", "q1", "q2", *[Binding(f"x{n}", f"x{(n + 1) % 3}", "exchange") for n in range(3)])
    for n in range(3):
        routing.bind(Binding(f"x{n}", f"q{n}"))
    routing.bind(Binding("x0", "x0", "exchange"))
    assert routing.route("x1", "", {}) == ("q0", "q1", "q2")


def test_an_alternate_exchange_gets_what_matched_nothing_and_hands_on_to_its_own() -> None:
    routing = table(Exchange("x", "direct", alternate="y"), Exchange("y", "direct", alternate="z"), Exchange("z", "fanout"), "a", "lost")
    routing.bind(Binding("x", "a", routing_key="a"))
    routing.bind(Binding("z", "lost"))
    assert routing.route("x", "a", {}) == ("a",)
    assert routing.route("x", "b", {}) == ("lost",)
    assert routing.explain("x", "b", {}) == [
        Step("x", "direct", None, (), "y"),
        Step("y", "direct", "x", (), "z"),
        Step("z", "fanout", "y", (Binding("z", "lost"),), ""),
    ]


def test_an_alternate_exchange_is_not_asked_when_a_binding_leads_to_an_exchange_that_leads_nowhere() -> None:
    routing = table(Exchange("x", "fanout", alternate="amq.fanout"), Exchange("dead end", "direct"), "q", Binding("amq.fanout", "q"))
    assert routing.route("x", "k", {}) == ("q",)
    routing.bind(Binding("x", "dead end", "exchange"))
    assert routing.route("x", "k", {}) == ()


def test_two_alternate_exchanges_of_each_other_end() -> None:
    routing = table(Exchange("x", "direct", alternate="y"), Exchange("y", "direct", alternate="x"), "q")
    assert routing.route("x", "k", {}) == ()


def test_a_binding_to_what_is_gone_counts_as_none() -> None:
    routing = table(Exchange("x", "fanout", alternate="amq.fanout"), "q", "spare", Binding("x", "q"), Binding("amq.fanout", "spare"))
    routing.delete_queue("q")
    assert routing.route("x", "", {}) == ("spare",)
    assert [item.destination for item in routing.bindings_from("x")] == ["q"]
    assert [item.source for item in routing.bindings_to("queue", "q")] == ["x"]


def test_an_unknown_exchange_leads_nowhere_and_says_so() -> None:
    routing = table(Exchange("inside", "fanout", internal=True), "q", Binding("inside", "q"))
    assert routing.route("nowhere", "k", {}) == ()
    assert routing.explain("nowhere", "k", {}) == [Step("nowhere", "", None)]
    assert "no exchange 'nowhere'" in routing.refusal("nowhere")
    assert "internal" in routing.refusal("inside")
    assert routing.refusal("") == routing.refusal("amq.topic") == ""


def test_an_internal_exchange_gets_what_others_send_it() -> None:
    routing = table(
        Exchange("inside", "fanout", internal=True), "q", Binding("inside", "q"), Binding("amq.direct", "inside", "exchange", "k")
    )
    assert routing.route("amq.direct", "k", {}) == ("q",)


def test_bindings_that_differ_only_in_the_type_of_an_argument_are_two() -> None:
    routing = table("q", Binding("amq.headers", "q", arguments={"a": 1}), Binding("amq.headers", "q", arguments={"a": True}))
    assert len(routing.bindings) == 2
    routing.unbind(Binding("amq.headers", "q", arguments={"a": 1}))
    assert routing.route("amq.headers", "", {"a": True}) == ("q",)
    assert routing.route("amq.headers", "", {"a": 1}) == ()


def test_an_exchange_that_comes_back_as_another_type_keeps_its_bindings() -> None:
    routing = table(Exchange("x", "direct"), "q", Binding("x", "q", routing_key="a.*"))
    assert routing.route("x", "a.b", {}) == ()
    routing.declare_exchange(Exchange("x", "topic"))
    assert routing.route("x", "a.b", {}) == ("q",)


def test_a_hard_pattern_costs_its_length_not_a_power_of_it() -> None:
    routing = table("q", Binding("amq.topic", "q", routing_key=".".join(["#", "a"] * 60)))
    assert routing.route("amq.topic", ".".join("a" * 120), {}) == ("q",)
    assert routing.route("amq.topic", ".".join("a" * 119 + "b"), {}) == ()
