"""Celery's workflows: RabbitMQ, and Redis for results, which its chords need to be counted without polling; prefork with two processes.

Run by benchmarks.workflows with the interpreter of .venv-rivals; AMQP_URL and RESULT_URL are in the environment.
"""

import os
import sys

import celery
from canvas_work import measure
from celery import Celery

app = Celery("celery_canvas", broker=os.environ["AMQP_URL"], backend=os.environ["RESULT_URL"])


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def size(values: list[int]) -> int:
    return len(values)


if __name__ == "__main__":
    import celery_canvas  # under the names that the worker knows

    submit_all = lambda signatures: [signature.apply_async() for signature in signatures]  # noqa: E731
    measure(celery, celery_canvas.add, celery_canvas.size, submit_all, sys.argv[1], int(sys.argv[2]))
