"""The programs of the message benchmarks for RabbitMQ by pika, as benchmarks/messenger.py is for mesh: same arguments, same output.

A durable queue, persistent or transient messages, publisher confirms, manual acknowledgements, the same prefetch. ``one`` is pika's
blocking channel, which waits for each confirm; ``many`` its asynchronous one, the only way in pika to have several under way. Run with the
interpreter of .venv-rivals; AMQP_URL is in the environment.
"""

import json
import os
import sys
import time

import pika

OVER = b"over"
PREFETCH = 100
WINDOW = 2048
"""Messages without a confirm, as many as mesh has under way."""
PROPERTIES = {"durable": pika.BasicProperties(delivery_mode=2), "transient": pika.BasicProperties(delivery_mode=1)}
PARAMETERS = pika.URLParameters(os.environ["AMQP_URL"])


def produce(queue: str, count: int, size: int, consumers: int, how: str, kept: str) -> None:
    body, properties = b"m" * size, PROPERTIES[kept]
    connection = pika.BlockingConnection(PARAMETERS)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.confirm_delivery()
    began = time.monotonic()
    if how == "one":
        for _ in range(count):
            channel.basic_publish("", queue, body, properties)
    else:
        Pipeline(queue, body, properties, count).run()
    ended = time.monotonic()
    for _ in range(consumers):
        channel.basic_publish("", queue, OVER, properties)
    connection.close()
    print(json.dumps({"began": began, "ended": ended}))


class Pipeline:
    """Publishes with many confirms under way."""

    def __init__(self, queue: str, body: bytes, properties: pika.BasicProperties, count: int) -> None:
        self.queue, self.body, self.properties, self.count = queue, body, properties, count
        self.sent = self.confirmed = 0
        self.connection = pika.SelectConnection(PARAMETERS, on_open_callback=lambda one: one.channel(on_open_callback=self.begin))

    def run(self) -> None:
        self.connection.ioloop.start()

    def begin(self, channel: pika.channel.Channel) -> None:
        self.channel = channel
        channel.confirm_delivery(self.on_confirm)
        self.publish()

    def publish(self) -> None:
        while self.sent < self.count and self.sent - self.confirmed < WINDOW:
            self.channel.basic_publish("", self.queue, self.body, self.properties)
            self.sent += 1

    def on_confirm(self, frame: pika.frame.Method) -> None:
        self.confirmed = frame.method.delivery_tag if frame.method.multiple else self.confirmed + 1
        if self.confirmed >= self.count:
            self.connection.close()
            self.connection.ioloop.stop()
        elif self.sent - self.confirmed < WINDOW // 2:
            self.publish()


def consume(queue: str) -> None:
    connection = pika.BlockingConnection(PARAMETERS)
    channel = connection.channel()
    channel.queue_declare(queue, durable=True)
    channel.basic_qos(prefetch_count=PREFETCH)
    count = 0

    def take(channel: pika.channel.Channel, method: pika.spec.Basic.Deliver, _: pika.BasicProperties, body: bytes) -> None:
        nonlocal count
        channel.basic_ack(method.delivery_tag)
        if body == OVER:
            channel.stop_consuming()
        else:
            count += 1

    channel.basic_consume(queue, take)
    print("ready", flush=True)
    channel.start_consuming()
    ended = time.monotonic()
    connection.close()
    print(json.dumps({"count": count, "ended": ended}))


if __name__ == "__main__":
    if sys.argv[1] == "produce":
        produce(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), sys.argv[6], sys.argv[7])
    else:
        consume(sys.argv[2])
