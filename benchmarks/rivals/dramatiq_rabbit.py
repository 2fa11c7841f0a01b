"""Dramatiq with its defaults: RabbitMQ, two processes of eight threads, results in Redis. It redelivers what a dead worker held.

Run by benchmarks.rivals.run with the interpreter of .venv-rivals; AMQP_URL and RESULT_URL are in the environment. The worker is
`dramatiq dramatiq_rabbit --processes 2 --threads 8`.
"""

import os
import sys

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from work import measure

broker = RabbitmqBroker(url=os.environ["AMQP_URL"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["RESULT_URL"])))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    measure(lambda i: add.send(i, i), lambda message: message.get_result(block=True, timeout=60_000), tasks=int(sys.argv[1]))
