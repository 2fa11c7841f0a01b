"""The client of the benchmark of large bodies: a program of its own.

Usage: probe.py probe SECONDS      round trips of a small task, one after another, with 2 ms between: p50, p99 and the longest
       probe.py large COUNT BYTES  echoes a body of BYTES, COUNT times: how long each took

Prints one line of JSON; ``probe`` prints a line with "begins" before.
"""

import json
import os
import statistics
import sys
import time

from tasks import add, app

PAUSE_S = 0.002


def probe(seconds: float) -> dict[str, float]:
    add.delay(1, 1).get(timeout=60)  # connects
    print("begins", flush=True)
    trips_ms = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.perf_counter()
        assert add.delay(2, 2).get(timeout=60) == 4
        trips_ms.append((time.perf_counter() - started) * 1000)
        time.sleep(PAUSE_S)
    return {"p50_ms": statistics.median(trips_ms), "p99_ms": statistics.quantiles(trips_ms, n=100)[98], "max_ms": max(trips_ms)}


def large(count: int, size: int) -> dict[str, list[float]]:
    body = os.urandom(size)
    publish_s, trip_s = [], []
    for _ in range(count):
        started = time.perf_counter()
        result = app.send_task("tasks.echo", (body,))
        publish_s.append(time.perf_counter() - started)
        assert result.get(timeout=120) == body
        trip_s.append(time.perf_counter() - started)
    return {"publish_s": publish_s, "trip_s": trip_s}


if __name__ == "__main__":
    mode, *numbers = sys.argv[1:]
    print(json.dumps(probe(float(numbers[0])) if mode == "probe" else large(int(numbers[0]), int(numbers[1]))))
