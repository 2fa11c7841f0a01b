"""The client of the throughput benchmarks: a program of its own, as a user would write it.

Usage: client.py batch|delay|threads|trips COUNT. Runs ``add(i, i)`` COUNT times, fetches and checks every result, and prints its
figures as one line of JSON. ``batch`` submits with one submit_many, ``delay`` one by one, ``threads`` one by one from 16 threads,
``trips`` one after another. ``copies`` is the smallest number of fsynced copies with which a submit was confirmed.
"""

import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tasks import add, app

THREADS = 16


def batch(count: int) -> int:
    results = app.submit_many([add.s(number, number) for number in range(count)])
    for number, result in enumerate(results):
        assert result.get(timeout=60) == 2 * number
    return min(result.copies for result in results)


def delay(count: int, first: int = 0) -> int:
    results = [add.delay(number, number) for number in range(first, first + count)]
    for number, result in enumerate(results, first):
        assert result.get(timeout=60) == 2 * number
    return min(result.copies for result in results)


def threads(count: int) -> int:
    share = count // THREADS
    with ThreadPoolExecutor(THREADS) as pool:
        return min(done.result() for done in [pool.submit(delay, share, thread * share) for thread in range(THREADS)])


def trip_ms(number: int) -> float:
    started = time.perf_counter()
    assert add.delay(number, number).get(timeout=60) == 2 * number
    return (time.perf_counter() - started) * 1000


def main(mode: str, count: int) -> None:
    delay(1)  # connects; the first task of a process also pays for that
    if mode == "trips":
        trips_ms = [trip_ms(number) for number in range(count)]
        print(json.dumps({"p50_ms": statistics.median(trips_ms), "p99_ms": statistics.quantiles(trips_ms, n=100)[98]}))
        return
    started = time.perf_counter()
    copies = {"batch": batch, "delay": delay, "threads": threads}[mode](count)
    print(json.dumps({"tasks_per_s": count / (time.perf_counter() - started), "copies": copies}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
