"""Declarations say what is wrong, by argument, value and range; RabbitMQ's names are taken."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.core.routing import declared
from mesh.errors import InvalidTopology
from mesh.messaging.exchange import Binding, Exchange
from mesh.messaging.queue import Queue
from mesh.wire.topology import EXCHANGE_TYPES, QueueDeclaration


def test_rabbitmqs_x_arguments_are_the_fields_of_a_declaration() -> None:
    fields, notes = declared.queue(
        {
            "name": "q",
            "arguments": {
                "x-message-ttl": 60_000,
                "x-expires": 1_800_000,
                "x-max-length": 10,
                "x-max-length-bytes": 1000,
                "x-overflow": "drop-head",
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": "dead",
                "x-max-priority": 10,
                "x-single-active-consumer": True,
                "x-delivery-limit": 3,
                "x-queue-type": "quorum",
            },
        }
    )
    assert QueueDeclaration(**fields) == QueueDeclaration(
        name="q",
        message_ttl_ms=60_000,
        expires_ms=1_800_000,
        max_length=10,
        max_bytes=1000,
        overflow="drop-head",
        dead_letter_exchange="",
        dead_letter_routing_key="dead",
        max_priority=10,
        single_active_consumer=True,
        max_deliveries=3,
    )
    assert len(notes) == 1
    assert "x-queue-type" in notes[0]


def test_every_field_that_a_rule_names_is_one_of_the_entry() -> None:
    fields = set(QueueDeclaration.__struct_fields__)
    assert {rule.field for rule in declared.QUEUE_FIELDS.values()} <= fields
    assert {rule.field for rule in declared.QUEUE_ARGUMENTS.values()} <= fields | {""}


@pytest.mark.parametrize("kind", EXCHANGE_TYPES)
def test_the_four_types_of_exchanges_are_known(kind: str) -> None:
    assert declared.exchange({"name": "x", "type": kind}).fields == {"name": "x", "type": kind}


def test_an_alternate_exchange_has_three_names() -> None:
    ways: list[dict[str, Any]] = [{"alternate": "y"}, {"alternate_exchange": "y"}, {"arguments": {"alternate-exchange": "y"}}]
    assert [declared.exchange({"name": "x", **way}).fields["alternate"] for way in ways] == ["y"] * 3


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"name": "x", "type": "topics"}, ["type", "topics", "did you mean 'topic'?"]),
        ({"name": "x", "typ": "topic"}, ["'typ'", "did you mean 'type'?"]),
        ({"name": "x", "durable": "yes"}, ["durable", "true or false", "'yes'"]),
        ({"name": "x", "arguments": {"alternate": "y"}}, ["'alternate'", "did you mean 'alternate-exchange'?"]),
        ({"name": "x", "alternate": "a" * 256}, ["alternate", "0 to 255"]),
        ({"name": ""}, ["name", "1 to 255"]),
        ({"name": "a" * 256}, ["name", "1 to 255"]),
        ({"name": "a\nb"}, ["printable"]),
        ({"name": 3}, ["name", "3"]),
        ({}, ["name"]),
        ({"name": "amq.mine"}, ["amq.", "reserved"]),
    ],
)
def test_an_exchange_that_is_not_possible_is_refused_with_the_reason(given: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidTopology) as caught:
        declared.exchange(given)
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"arguments": {"x-max-priority": 256}}, ["x-max-priority", "0 to 255", "256"]),
        ({"arguments": {"x-max-priority": True}}, ["x-max-priority", "whole number", "True"]),
        ({"arguments": {"x-message-ttl": -1}}, ["x-message-ttl", "-1", "0 to"]),
        ({"arguments": {"x-message-ttl": "60"}}, ["x-message-ttl", "'60'"]),
        ({"arguments": {"x-expires": 0}}, ["x-expires", "1 to"]),
        ({"arguments": {"x-max-lenght": 1}}, ["x-max-lenght", "did you mean 'x-max-length'?"]),
        ({"arguments": {"x-overflow": "reject-publish-dlx"}}, ["x-overflow", "drop-head", "did you mean 'reject-publish'?"]),
        ({"arguments": {"x-queue-type": "stream"}}, ["x-queue-type", "classic, quorum", "stream"]),
        ({"arguments": {"x-delivery-limit": 0}}, ["x-delivery-limit", "1 to 1000"]),
        ({"arguments": ["x-max-length"]}, ["arguments", "table"]),
        ({"max_deliveries": 1001}, ["max_deliveries", "0 to 1000", "1001"]),
        ({"max_lenght": 1}, ["max_lenght", "did you mean 'max_length'?"]),
        ({"max_length": 5, "arguments": {"x-max-length": 6}}, ["x-max-length", "6", "5"]),
        ({"name": "amq.gen"}, ["reserved"]),
    ],
)
def test_a_queue_that_is_not_possible_is_refused_with_the_reason(given: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidTopology) as caught:
        declared.queue({"name": "q", **given})
    assert [part for part in parts if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"arguments": {"x-match": "some"}}, ["x-match", "all, any, all-with-x, any-with-x", "'some'"]),
        ({"arguments": {"a": [1]}}, ["'a'", "[1]"]),
        ({"arguments": {"a": float("nan")}}, ["'a'", "nan"]),
        ({"arguments": {1: "a"}}, ["name", "1"]),
        ({"kind": "route"}, ["kind", "queue, exchange"]),
        ({"routing_key": "k" * 256}, ["routing_key", "0 to 255"]),
        ({"source": None}, ["needs a source"]),
    ],
)
def test_a_binding_that_is_not_possible_is_refused_with_the_reason(given: dict[str, Any], parts: list[str]) -> None:
    with pytest.raises(InvalidTopology) as caught:
        declared.binding({"source": "x", "destination": "q", **given})
    assert [part for part in parts if part not in str(caught.value)] == []


def test_a_queue_declares_its_exchanges_itself_and_its_bindings_in_this_order() -> None:
    queue = Queue(
        "feeds", Exchange("tasks", "topic"), "feed.#", max_priority=10, message_ttl=1.5, bindings=[Binding(exchange="amq.fanout")]
    )
    assert queue.changes() == [
        {"do": "declare-exchange", "name": "tasks", "type": "topic", "durable": True, "auto_delete": False, "internal": False},
        {
            "do": "declare-queue",
            "name": "feeds",
            "durable": True,
            "auto_delete": False,
            "exclusive": False,
            "message_ttl_ms": 1500,
            "max_priority": 10,
        },
        {"do": "bind", "source": "tasks", "destination": "feeds", "kind": "queue", "routing_key": "feed.#"},
        {"do": "bind", "source": "amq.fanout", "destination": "feeds", "kind": "queue", "routing_key": ""},
    ]


def test_a_queue_without_an_exchange_is_bound_to_nothing() -> None:
    assert [change["do"] for change in Queue("plain").changes()] == ["declare-queue"]
    assert [change["do"] for change in Queue("plain", Exchange(""), "plain").changes()] == ["declare-queue"]


def test_an_exchange_can_be_bound_to_another() -> None:
    inner = Exchange("inner", "fanout", internal=True).bound_to("outer", "news.#")
    assert inner.changes()[1:] == [{"do": "bind", "source": "outer", "destination": "inner", "kind": "exchange", "routing_key": "news.#"}]


def test_objects_refuse_where_they_are_made() -> None:
    with pytest.raises(InvalidTopology, match="did you mean 'fanout'"):
        Exchange("x", "fannout")
    with pytest.raises(InvalidTopology, match="x-max-priority"):
        Queue("q", queue_arguments={"x-max-priority": 1000})
    with pytest.raises(InvalidTopology, match="seconds"):
        Queue("q", message_ttl=float("inf"))


def test_an_argument_without_effect_says_so() -> None:
    assert "no effect" in Queue("q", queue_arguments={"x-queue-type": "classic"}).notes[0]
