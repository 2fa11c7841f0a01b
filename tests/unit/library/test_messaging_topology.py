"""Exchanges, queues and bindings of a program that has a connection (issue 4); what they mean is tested in tests/unit/core."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from mesh import Connection, DeclaredOtherwise, InUse, Mesh, NotAccepted, Unroutable
from mesh.errors import InvalidTopology, NotFound
from mesh.messaging.exchange import Binding, Exchange
from mesh.messaging.queue import Queue
from tests.polling import poll_until


def taken(connection: Connection, queue: str | Queue) -> list[object]:
    bodies: list[object] = []
    while (message := connection.get(queue, auto_ack=True)) is not None:
        bodies.append(message.body)
    return bodies


def test_a_message_goes_where_its_routing_key_leads(connection: Connection, name: str) -> None:
    feed = Exchange(name, "topic")
    news, all_ = Queue(f"{name}.news", feed, "feed.news"), Queue(f"{name}.all", feed, "feed.#")
    connection.declare(news, all_)
    for key in ("feed.news", "feed.sports", "other"):
        connection.publish(key, exchange=feed, routing_key=key)
    assert taken(connection, news) == ["feed.news"]
    assert taken(connection, all_) == ["feed.news", "feed.sports"]


def test_each_copy_has_an_id_of_its_own_and_says_where_it_was_published(connection: Connection, name: str) -> None:
    out = Exchange(name, "fanout")
    queues = [Queue(f"{name}.{number}", out) for number in range(3)]
    connection.declare(*queues)
    published = connection.publish(b"x", exchange=name, routing_key="any")
    messages = [connection.get(queue) for queue in queues]
    assert [message.id for message in messages if message] == [published.id, f"{published.id}/{name}.1", f"{published.id}/{name}.2"]
    assert {(message.exchange, message.routing_key) for message in messages if message} == {(name, "any")}
    for message in messages:
        message.ack()  # type: ignore[union-attr]


def test_what_no_queue_takes_is_counted_or_with_mandatory_an_error(connection: Connection, name: str) -> None:
    connection.declare(Exchange(name))
    assert connection.publish(b"", exchange=name, routing_key="nowhere").unroutable == 1
    with pytest.raises(Unroutable, match="nowhere"):
        connection.publish(b"", exchange=name, routing_key="nowhere", mandatory=True)
    with pytest.raises(NotAccepted):
        connection.publish(b"", exchange="there-is-none", routing_key="k", mandatory=True)


def test_each_publish_hears_of_its_own_messages_only(connection: Connection, name: str) -> None:
    connection.declare(Queue(name, Exchange(name), "here"))
    keys = ["here", "nowhere"] * 20
    publishing = [connection.publish_soon(key, exchange=name, routing_key=key) for key in keys]
    assert [one.wait().unroutable for one in publishing] == [0, 1] * 20
    assert taken(connection, name) == ["here"] * 20


def test_bindings_are_made_and_taken_back(connection: Connection, name: str) -> None:
    connection.declare(Exchange(name), Queue(name))
    connection.bind(name, name, "key")
    connection.publish(1, exchange=name, routing_key="key")
    connection.unbind(Queue(name), Exchange(name), "key")
    connection.publish(2, exchange=name, routing_key="key")
    assert taken(connection, name) == [1]
    inner = Exchange(f"{name}.inner", bindings=[Binding(exchange=name, routing_key="deep")])
    connection.declare(inner, Queue(f"{name}.deep", inner, "deep"))
    connection.publish(3, exchange=name, routing_key="deep")
    assert taken(connection, f"{name}.deep") == [3]
    connection.unbind(inner, name, "deep")
    assert connection.publish(4, exchange=name, routing_key="deep").unroutable == 1


def test_declaring_again_otherwise_shows_both(connection: Connection, name: str) -> None:
    connection.declare(Queue(name, max_length=5))
    connection.declare(Queue(name, max_length=5))
    with pytest.raises(DeclaredOtherwise) as raised:
        connection.declare(Queue(name, max_length=6))
    assert (raised.value.mine, raised.value.theirs) == ({"max_length": 6}, {"max_length": 5})


def test_what_is_not_there_or_not_possible_is_an_error(connection: Connection, name: str) -> None:
    with pytest.raises(NotFound):
        connection.bind(name, "no-such-exchange", "k")
    with pytest.raises(InvalidTopology):
        connection.declare(Exchange(name, "roundabout"))
    with pytest.raises(InvalidTopology):
        connection.purge("")
    with pytest.raises(InvalidTopology, match="takes exchanges and queues, not 'mail'"):
        connection.declare("mail")  # type: ignore[arg-type]
    with pytest.raises(InvalidTopology, match="the name of an exchange is a text, not None"):
        connection.bind(name, None, "k")  # type: ignore[arg-type]
    with pytest.raises(InvalidTopology):
        Exchange(None)  # type: ignore[arg-type]


def test_a_dead_letter_exchange_is_given_by_name_or_by_itself(connection: Connection, name: str) -> None:
    connection.declare(Queue(name, dead_letter_exchange=Exchange("dead", "fanout")))
    connection.declare(Queue(name, dead_letter_exchange="dead"))


def test_a_queue_is_purged_and_deleted(connection: Connection, name: str) -> None:
    connection.declare(Queue(name))
    connection.publish_many(range(3), routing_key=name)
    assert connection.length(name) == 3
    assert connection.purge(name) == 3
    connection.publish_many(range(2), routing_key=name)
    with pytest.raises(InUse):
        connection.delete(name, if_empty=True)
    with connection.consume(name, prefetch=1), pytest.raises(InUse):
        connection.delete(name, if_unused=True)
    poll_until(lambda: connection.length(name) == 2, 5, "what the consumer had is back")
    assert connection.delete(name) == 2
    assert connection.delete(name) == 0
    connection.declare(Exchange(name))
    assert connection.delete(Exchange(name)) == 0


def test_an_exclusive_queue_is_used_by_the_program_that_declared_it(connection: Connection, name: str) -> None:
    connection.declare(Queue(name, exclusive=True))
    connection.publish("mine", routing_key=name)
    with connection.consume(name) as consumer:
        message = consumer.next(5)
        assert message is not None
        assert message.body == "mine"
        message.ack()


def test_who_may_have_nothing_of_an_exclusive_queue_hears_it_at_get_and_consume(connection: Connection, name: str) -> None:
    other = "another-program"
    with connection.consume(f"{name}.other"):
        change = {"changes": [{"do": "declare-queue", "name": name, "exclusive": True}], "owner": other}
        connection._ask("topology-change", json.dumps(change))
    with pytest.raises(InUse, match="exclusive to another program; use a queue of another name"):
        connection.get(name)
    with connection.consume(name) as consumer, pytest.raises(InUse, match="exclusive to another program"):
        consumer.next(5)
    with connection.consume(name) as consumer, pytest.raises(InUse):
        asyncio.run(consumer.next_async())


def test_a_queue_can_not_expire_after_no_time(name: str) -> None:
    with pytest.raises(InvalidTopology, match="expires is a number of seconds above 0, not 0; None is never"):
        Queue(name, expires=0)


def test_an_exclusive_queue_goes_with_the_connection_that_declared_it(app: Mesh, name: str) -> None:
    def is_there() -> bool:
        return name in [row["name"] for row in json.loads(app.client.query("topology", "", time.monotonic() + 5))["queues"]]

    with app.connection(timeout=5) as connection:
        connection.declare(Queue(name, exclusive=True))
        assert is_there()
    poll_until(lambda: not is_there(), 10.0, "the queue is gone")
