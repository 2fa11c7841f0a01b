"""The programs of the message benchmarks, as a user would write them. Each prints its instants (monotonic, the same for all programs of a
machine) or its rate as one line of JSON.

messenger.py produce QUEUE COUNT BYTES CONSUMERS HOW KEPT
    publishes; HOW is ``one`` (each confirmed before the next) or ``many`` (pipelined), KEPT ``durable`` or ``transient``
messenger.py consume QUEUE AT
    consumes from that instant on, until the message that says that it is over
messenger.py fanout COUNT QUEUES
    publishes to an exchange that copies to so many queues
messenger.py topic COUNT BINDINGS
    publishes to a topic exchange with so many bindings, one of which matches
"""

import json
import sys
import time

import mesh
from mesh import Exchange, Queue

OVER = b"over"
BODY = b"m" * 100
TOPIC_QUEUES = 100


def produce(queue: str, count: int, size: int, consumers: int, how: str, kept: str) -> None:
    body = b"m" * size
    options = {"routing_key": queue} if kept == "durable" else {"routing_key": queue, "persistent": False}
    with mesh.connect(timeout=60) as connection:
        connection.publish(b"first", routing_key=f"{queue}-warm")  # connects
        began = time.monotonic()
        if how == "one":
            for _ in range(count):
                connection.publish(body, **options)
        else:
            connection.publish_many((body for _ in range(count)), **options)
        ended = time.monotonic()
        for _ in range(consumers):
            connection.publish(OVER, **options)
        print(json.dumps({"began": began, "ended": ended}))


def consume(queue: str, at: float) -> None:
    count, began = 0, 0.0
    with mesh.connect() as connection:
        connection.length(queue)  # connects
        print("ready", flush=True)
        time.sleep(max(0.0, at - time.monotonic()))
        with connection.consume(queue) as consumer:
            for message in consumer:
                began = began or time.monotonic()
                message.ack()
                if message.raw == OVER:
                    break
                count += 1
        ended = time.monotonic()
    print(json.dumps({"count": count, "began": began, "ended": ended}))


def fanout(count: int, queues: int) -> None:
    exchange = Exchange("fan", "fanout")
    with mesh.connect(timeout=60) as connection:
        connection.declare(*(Queue(f"fan.{number}", exchange) for number in range(queues)))
        print(json.dumps({"rate": rate(connection, count, exchange=exchange, routing_key="any")}))


def topic(count: int, bindings: int) -> None:
    exchange = Exchange(f"topic.{bindings}", "topic")
    queues = [Queue(f"topic.{bindings}.{number}") for number in range(min(bindings, TOPIC_QUEUES))]
    with mesh.connect(timeout=60) as connection:
        connection.declare(exchange, *queues)
        patterns = [(queues[number % len(queues)], f"part{number // 100}.*.item{number}") for number in range(bindings)]
        connection.declare(*(bound(queue, exchange, patterns) for queue in queues))
        print(json.dumps({"rate": rate(connection, count, exchange=exchange, routing_key="part0.any.item7")}))


def bound(queue: Queue, exchange: Exchange, patterns: list[tuple[Queue, str]]) -> Queue:
    return Queue(queue.name, bindings=[mesh.Binding(exchange=exchange, routing_key=key) for one, key in patterns if one is queue])


def rate(connection: mesh.Connection, count: int, **options: object) -> float:
    connection.publish(BODY, **options)
    began = time.monotonic()
    connection.publish_many((BODY for _ in range(count)), **options)
    return count / (time.monotonic() - began)


if __name__ == "__main__":
    mode, *rest = sys.argv[1:]
    if mode == "produce":
        produce(rest[0], int(rest[1]), int(rest[2]), int(rest[3]), rest[4], rest[5])
    elif mode == "consume":
        consume(rest[0], float(rest[1]))
    else:
        {"fanout": fanout, "topic": topic}[mode](int(rest[0]), int(rest[1]))
