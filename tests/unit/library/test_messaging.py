"""Plain messages by the library, on an embedded node: publish, get, consume, acknowledge."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from datetime import date
from typing import Any

import pytest

from mesh import BodyTooLarge, Closed, Connection, InvalidTopology, Mesh, MeshError, NotEncodable, Queue, QueueFull, UsageError
from mesh.messaging.connection import BATCH_MESSAGES
from mesh.messaging.message import Message
from tests.polling import poll_until


def status(app: Mesh) -> dict[str, Any]:
    return json.loads(app.client.query("status", "", time.monotonic() + 5))  # type: ignore[no-any-return]


def unsettled(app: Mesh, queue: str) -> tuple[int, int]:
    """(ready, held) messages of a queue."""
    found = next((row for row in status(app)["queues"] if row["name"] == queue), {"ready": 0, "unsettled": 0})
    return found["ready"], found["unsettled"]


def get(connection: Connection, queue: str) -> Message:
    message = connection.get(queue)
    assert message is not None
    return message


# -- bodies --------------------


@pytest.mark.parametrize("body", [b"", b"\0\xff", "text", 7, None, [1, (2, 3)], {"day": date(2026, 1, 2)}])
def test_a_body_arrives_as_it_was_published(connection: Connection, queue: str, body: object) -> None:
    published = connection.publish(body, routing_key=queue)
    assert published.copies == 1
    message = get(connection, queue)
    assert (message.id, message.queue, message.body, type(message.body)) == (published.id, queue, body, type(body))
    message.ack()


def test_what_its_publisher_said_arrives_with_it(connection: Connection, queue: str) -> None:
    said = {"headers": {"kind": "a", "n": 1}, "priority": 7, "correlation_id": "c1", "reply_to": "answers", "content_type": "text/plain"}
    connection.publish("grüße", routing_key=queue, **said)  # type: ignore[arg-type]
    message = get(connection, queue)
    assert message.raw == message.body == "grüße".encode()
    assert {name: getattr(message, name) for name in said} == said
    assert (message.routing_key, message.exchange) == (queue, "")
    message.ack()


def test_a_body_that_cannot_travel_is_refused_before_anything_is_sent(connection: Connection, queue: str) -> None:
    with pytest.raises(NotEncodable):
        connection.publish(object(), routing_key=queue)
    with pytest.raises(UsageError, match="a body with a content_type is bytes or a text, not dict"):
        connection.publish({}, routing_key=queue, content_type="application/json")
    with pytest.raises(BodyTooLarge, match="max_body_bytes"):
        connection.publish(bytes((1 << 20) + 1), routing_key=queue)
    assert connection.get(queue) is None


def test_a_large_body_arrives_whole(connection: Connection, queue: str) -> None:
    body = bytes(range(256)) * 2048
    connection.publish(body, routing_key=queue)
    with connection.consume(queue) as consumer:
        message = consumer.next(5)
        assert message is not None
        assert message.body == body
        message.ack()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "the name of a queue"),
        ({"routing_key": "q" * 256}, "1 to 255 characters"),
        ({"routing_key": 7}, "the name of a queue"),
        ({"routing_key": "lost+found"}, "a list of dead letters"),
        ({"exchange": 7}, "the name of an exchange"),
        ({"routing_key": "q", "priority": 256}, "from 0 to 255"),
        ({"routing_key": "q", "priority": True}, "from 0 to 255"),
        ({"routing_key": "q", "headers": {"a": []}}, "the header 'a' must be"),
        ({"routing_key": "q", "headers": {"a": float("nan")}}, "the header 'a' must be"),
        ({"routing_key": "q", "headers": {1: "a"}}, "a header's name"),
        ({"routing_key": "q", "headers": ["a"]}, "headers are a table"),
        ({"routing_key": "q", "expiration": 0}, "expiration"),
        ({"routing_key": "q", "expiration": "soon"}, "expiration"),
        ({"routing_key": "q", "correlation_id": "x" * 256}, "correlation_id"),
        ({"routing_key": "q", "message_id": ""}, "message_id"),
    ],
)
def test_what_is_not_possible_is_refused_by_name(connection: Connection, options: dict[str, Any], text: str) -> None:
    with pytest.raises(InvalidTopology, match=text):
        connection.publish(b"", **options)


def test_an_unknown_option_is_an_error(connection: Connection) -> None:
    with pytest.raises(TypeError, match="no option 'color'"):
        connection.publish(b"", routing_key="q", color="red")  # type: ignore[call-arg]


# -- publishing --------------------


def test_a_message_id_that_is_published_again_is_one_message(connection: Connection, queue: str) -> None:
    for _ in range(2):
        connection.publish(b"", routing_key=queue, message_id=queue)
    get(connection, queue).ack()
    connection.publish(b"", routing_key=queue, message_id=queue)
    assert connection.get(queue) is None


def test_many_messages_are_published_in_order(connection: Connection, queue: str) -> None:
    count = 2 * BATCH_MESSAGES + 7
    published = connection.publish_many(range(count), routing_key=queue)
    assert (len(set(published.ids)), published.copies) == (count, 1)
    with connection.consume(queue, auto_ack=True) as consumer:
        assert [consumer.next(5).body for _ in range(count)] == list(range(count))  # type: ignore[union-attr]


def test_of_a_batch_that_does_not_fit_it_is_told_what_is_in_and_what_is_not(connection: Connection, queue: str) -> None:
    connection.declare(Queue(queue, max_length=3, overflow="reject-publish"))
    connection.timeout = 1.0
    with pytest.raises(QueueFull, match="3 of 4 messages are in, the others are not: 3 messages of") as raised:
        connection.publish_many([b"a", b"b", b"c", b"d"], routing_key=queue)
    error = raised.value
    assert (error.outcome, len(error.task_ids)) == ("not accepted", 4)
    assert list(error.accepted_ids) == list(error.task_ids[:3])
    assert connection.length(queue) == 3


def test_a_batch_of_many_frames_has_the_ids_of_all_that_are_in(connection: Connection, queue: str) -> None:
    limit = BATCH_MESSAGES + 10
    connection.declare(Queue(queue, max_length=limit, overflow="reject-publish"))
    connection.timeout = 3.0
    with pytest.raises(QueueFull) as raised:
        connection.publish_many(range(3 * BATCH_MESSAGES), routing_key=queue)
    assert len(set(raised.value.task_ids)) == 3 * BATCH_MESSAGES
    assert list(raised.value.accepted_ids) == list(raised.value.task_ids[:limit])


def test_a_publish_is_awaited_in_an_event_loop(connection: Connection, queue: str) -> None:
    async def publish() -> list[Any]:
        return await asyncio.gather(*(connection.publish_soon(number, routing_key=queue) for number in range(20)))

    assert {one.copies for one in asyncio.run(publish())} == {1}
    assert unsettled_when_settled(connection, queue) == 20


def unsettled_when_settled(connection: Connection, queue: str) -> int:
    count = 0
    while (message := connection.get(queue, auto_ack=True)) is not None:
        assert message.body is not None
        count += 1
    return count


# -- consuming --------------------


def test_get_has_none_when_the_queue_is_empty(connection: Connection, queue: str) -> None:
    assert connection.get(queue) is None
    assert connection.get(queue, block=True, timeout=0.05) is None


def test_get_waits_for_a_message_of_another_thread(connection: Connection, queue: str) -> None:
    waiting = threading.Timer(0.1, lambda: connection.publish("now", routing_key=queue))
    waiting.start()
    message = connection.get(queue, block=True, timeout=5)
    waiting.join()
    assert message is not None
    assert message.body == "now"
    message.ack()


def test_a_message_ends_once(connection: Connection, queue: str) -> None:
    connection.publish(b"", routing_key=queue)
    message = get(connection, queue)
    message.ack()
    for again in (message.ack, message.reject, message.requeue):
        with pytest.raises(MeshError, match="before"):
            again()


def test_a_message_that_is_requeued_says_that_it_was_delivered_before(connection: Connection, queue: str) -> None:
    connection.publish(b"", routing_key=queue)
    first = get(connection, queue)
    first.nack()
    second = get(connection, queue)
    assert [(one.attempt, one.redelivered) for one in (first, second)] == [(1, False), (2, True)]
    second.nack(requeue=False)
    assert connection.get(queue) is None


def test_a_consumer_holds_no_more_than_its_prefetch(app: Mesh, connection: Connection, queue: str) -> None:
    connection.publish_many(range(10), routing_key=queue)
    with connection.consume(queue, prefetch=3) as consumer:
        held = [consumer.next(5) for _ in range(3)]
        assert consumer.next(0.1) is None
        assert unsettled(app, queue) == (7, 3)
        held[0].ack()  # type: ignore[union-attr]
        assert consumer.next(5).body == 3  # type: ignore[union-attr]


def test_what_a_consumer_has_not_acknowledged_goes_back_when_it_closes(app: Mesh, connection: Connection, queue: str) -> None:
    connection.publish_many(range(5), routing_key=queue)
    with connection.consume(queue) as consumer:
        assert consumer.next(5).body == 0  # type: ignore[union-attr]
    attempts = {}
    poll_until(lambda: unsettled(app, queue) == (5, 0), 5, "all five are back")
    while (message := connection.get(queue)) is not None:
        attempts[message.body] = message.attempt
        message.ack()
    assert attempts == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1}, "only what was handed out counts as tried"


def test_a_cancelled_consumer_may_still_acknowledge(app: Mesh, connection: Connection, queue: str) -> None:
    connection.publish_many(range(2), routing_key=queue)
    consumer = connection.consume(queue)
    message = consumer.next(5)
    assert message is not None
    consumer.cancel()
    message.ack()
    poll_until(lambda: unsettled(app, queue) == (1, 0), 5, "one is left")
    assert list(consumer) == []
    with pytest.raises(Closed):
        consumer.next(1)
    poll_until(lambda: all(row["queues"] != [queue] for row in status(app)["consumers"]), 5, "the mesh has forgotten it")
    get(connection, queue).ack()


def test_a_consumer_that_is_dropped_gives_back_what_it_has(app: Mesh, connection: Connection, queue: str) -> None:
    connection.publish_many(range(3), routing_key=queue)
    for message in connection.consume(queue):
        message.ack()
        break
    gc.collect()
    poll_until(lambda: unsettled(app, queue) == (2, 0), 5, "two are back")
    assert unsettled_when_settled(connection, queue) == 2


def test_two_consumers_share_a_queue(connection: Connection, queue: str) -> None:
    with connection.consume(queue, prefetch=1) as first, connection.consume(queue, prefetch=1) as second:
        connection.publish_many(range(2), routing_key=queue)
        messages = [first.next(5), second.next(5)]
        assert {message.body for message in messages if message is not None} == {0, 1}


def test_a_consumer_with_nothing_to_do_gets_what_another_has_not_begun(connection: Connection, queue: str) -> None:
    connection.publish_many(range(10), routing_key=queue)
    with connection.consume(queue) as busy:
        assert busy.next(5).body == 0  # type: ignore[union-attr]
        with connection.consume(queue) as idle:
            message = idle.next(5)
            assert message is not None
            assert (message.body, message.attempt) == (9, 1), "the youngest, and nobody had tried it"
            message.ack()
            assert busy.next(5).body == 1  # type: ignore[union-attr]


def test_callbacks_run_in_the_thread_that_runs_the_connection(connection: Connection, queue: str) -> None:
    seen: list[tuple[object, int]] = []

    def note(message: Message) -> None:
        seen.append((message.body, threading.get_ident()))
        message.ack()
        if len(seen) == 4:
            for consumer in consumers:
                consumer.cancel()

    consumers = [connection.consume(f"{queue}{number}", note) for number in range(2)]
    for number in range(4):
        connection.publish(number, routing_key=f"{queue}{number % 2}")
    connection.run(5)
    assert sorted(body for body, _ in seen) == [0, 1, 2, 3]  # type: ignore[type-var]
    assert {thread for _, thread in seen} == {threading.get_ident()}


def test_what_a_callback_raises_comes_out_where_it_runs(connection: Connection, queue: str) -> None:
    def fail(message: Message) -> None:
        raise ValueError(message.body)

    connection.publish("bad", routing_key=queue)
    with connection.consume(queue, fail) as consumer, pytest.raises(ValueError, match="bad"):
        consumer.run(5)
    assert get(connection, queue).redelivered


def test_an_event_loop_consumes_while_it_does_other_things(connection: Connection, queue: str) -> None:
    async def consume() -> list[object]:
        got: list[object] = []
        async with asyncio.timeout(5):
            publishing = asyncio.create_task(publish())
            async for message in connection.consume(queue):
                got.append(message.body)
                message.ack()
                if len(got) == 3:
                    break
            await publishing
        return got

    async def publish() -> None:
        for number in range(3):
            await connection.publish_soon(number, routing_key=queue)

    assert asyncio.run(consume()) == [0, 1, 2]


def test_one_program_publishes_and_consumes_in_many_threads(connection: Connection, queue: str) -> None:
    total, got, lock = 200, [], threading.Lock()

    def publish(part: int) -> None:
        for number in range(part, total, 4):
            connection.publish(number, routing_key=queue)

    def consume() -> None:
        with connection.consume(queue, prefetch=5) as consumer:
            while (message := consumer.next(0.5)) is not None:
                with lock:
                    got.append(message.body)
                message.ack()

    threads = [threading.Thread(target=publish, args=(part,)) for part in range(4)]
    threads += [threading.Thread(target=consume) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == list(range(total))


# -- the end --------------------


def test_after_a_close_everything_raises(app: Mesh, queue: str) -> None:
    connection = app.connection()
    connection.publish(b"", routing_key=queue)
    consumer = connection.consume(queue)
    connection.close()
    connection.close()
    for call in (
        lambda: connection.publish(b"", routing_key=queue),
        lambda: connection.get(queue),
        lambda: connection.consume(queue),
        lambda: consumer.next(1),
    ):
        with pytest.raises(Closed):
            call()
    with app.connection() as other:
        assert other.get(queue, block=True, timeout=5) is not None


def test_waiting_ends_when_the_connection_is_closed(app: Mesh, queue: str) -> None:
    connection = app.connection()
    ended = threading.Event()

    def wait() -> None:
        assert list(connection.consume(queue)) == []
        ended.set()

    thread = threading.Thread(target=wait)
    thread.start()
    poll_until(lambda: any(row["queues"] == [queue] for row in status(app)["consumers"]), 5, "it consumes")
    connection.close()
    thread.join(5)
    assert ended.is_set()


@pytest.mark.parametrize("prefetch", [0, -1, 70_000, True, "many"])
def test_a_prefetch_is_a_number_in_its_range(connection: Connection, prefetch: Any) -> None:
    with pytest.raises(UsageError, match="prefetch"):
        connection.consume("q", prefetch=prefetch)


def test_a_consumer_needs_a_queue(connection: Connection) -> None:
    with pytest.raises(UsageError, match="at least one queue"):
        connection.consume([])


def test_a_queue_whose_name_does_not_print_does_not_begin_to_exist(connection: Connection) -> None:
    with pytest.raises(InvalidTopology, match="printable characters only"):
        connection.publish(b"", routing_key="a\nb")


def test_a_message_says_closed_after_the_connection_was_closed(app: Mesh, queue: str) -> None:
    with app.connection(timeout=5) as connection:
        connection.publish(b"", routing_key=queue)
        message = get(connection, queue)
    with pytest.raises(Closed):
        message.ack()


# -- in memory only --------------------


def test_a_transient_message_is_confirmed_without_a_copy_and_arrives(connection: Connection, queue: str) -> None:
    assert connection.publish("durable", routing_key=queue).copies == 1
    assert connection.publish("transient", routing_key=queue, persistent=False).copies == 0
    assert connection.publish_many(["a", "b"], routing_key=queue, persistent=False).copies == 0
    arrived = [get(connection, queue) for _ in range(4)]
    assert [message.body for message in arrived] == ["durable", "transient", "a", "b"]


def test_what_is_published_to_a_temporary_queue_is_transient(connection: Connection, queue: str) -> None:
    connection.declare(Queue(queue, durable=False))
    assert connection.publish("body", routing_key=queue).copies == 0
    assert get(connection, queue).body == "body"
