"""Celery as its first steps show it: RabbitMQ, prefork with two processes, persistent messages, results kept.

Run by benchmarks.rivals.run with the interpreter of .venv-rivals; AMQP_URL and RESULT_URL are in the environment. The worker is
`celery -A celery_rabbit worker --concurrency 2`; nothing else differs from the defaults.
"""

import os
import sys

from celery import Celery
from work import measure

app = Celery("celery_rabbit", broker=os.environ["AMQP_URL"], backend=os.environ["RESULT_URL"])


@app.task
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    from celery_rabbit import add as registered  # under the name that the worker knows

    measure(lambda i: registered.delay(i, i), lambda handle: handle.get(timeout=60), tasks=int(sys.argv[1]))
