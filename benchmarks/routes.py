"""What the machine of a benchmark runs: publishes by turns to a topic exchange with few bindings and to one with many; prints JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from mesh import Binding, Exchange, Mesh, Queue, Signature

FEW, MANY = 10, 10_000
QUEUES = 10
BATCH = 500
ROUNDS_MIN = 4


def topology(exchange: str, bindings: int) -> list[Queue]:
    """Queues that share the bindings; each key of the form ``user.N.any`` has one."""
    patterns = [f"user.{number}.#" if number % 2 else f"user.{number}.*" for number in range(bindings)]
    return [
        Queue(
            f"{exchange}-{queue}",
            bindings=[Binding(exchange=Exchange(exchange, "topic"), routing_key=pattern) for pattern in patterns[queue::QUEUES]],
        )
        for queue in range(QUEUES)
    ]


def main(count: int) -> None:
    """Publish ``count`` messages to each, with confirms; print the seconds of each batch, by exchange."""
    app = Mesh("routes")
    app.publish_timeout = 60.0
    app.conf.task_queues = [*topology("few", FEW), *topology("many", MANY)]
    began = time.perf_counter()
    app.submit_many([call(app, "few", 0)])
    seconds: dict[str, list[float]] = {"declare": [time.perf_counter() - began], "few": [], "many": []}
    for turn in range(max(ROUNDS_MIN, count // BATCH)):
        for exchange, bindings in (("few", FEW), ("many", MANY)):
            calls = [call(app, exchange, (turn * BATCH + number) % bindings) for number in range(BATCH)]
            began = time.perf_counter()
            app.submit_many(calls)
            seconds[exchange].append(time.perf_counter() - began)
    app.close()
    print(json.dumps(seconds))


def call(app: Mesh, exchange: str, user: int) -> Signature[Any]:
    """A call that one binding matches."""
    return Signature(app, "routed", (user,), None, {"exchange": exchange, "routing_key": f"user.{user}.login"})


if __name__ == "__main__":
    main(int(sys.argv[1]))
