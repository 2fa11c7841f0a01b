"""A client that publishes while things break, and writes down what it tried and what was confirmed: the mesh is not asked.

Usage: publish.py FIRST AT_LEAST [SECONDS]. Publishes all the time, and more when fewer than AT_LEAST tasks wait, until the file `stop`
appears. Tasks take SECONDS each, one in forty of them LONG_S. What is not confirmed is published again under the same id.
"""

import json
import os
import sys
import time
from pathlib import Path

from tasks import app, note

from mesh.errors import MeshError

PUBLISHED = "published.log"
PAUSE_S = 0.02
CHUNK = 20
LONG_EACH = 40
LONG_S = 1.5
ATTEMPT_S = 5.0
"""After this a publish counts as unknown and is tried again."""


def write(rows):
    """One write for all rows, appended."""
    handle = os.open(PUBLISHED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, "".join(f"{time.time():.6f} {what} {number} {copies}\n" for what, number, copies in rows).encode())
    finally:
        os.close(handle)


def publish(numbers, seconds):
    """The results, or none when nobody knows whether the tasks were accepted."""
    write(("attempt", number, 0) for number in numbers)
    calls = [
        note.signature((number, LONG_S if seconds and number % LONG_EACH == 0 else seconds), task_id=f"task-{number}") for number in numbers
    ]
    try:
        results = app.submit_many(calls)
    except MeshError as error:
        print(f"{time.time():.3f} {type(error).__name__}: {error}", flush=True)
        return []
    write(("confirm", number, result.copies) for number, result in zip(numbers, results, strict=True))
    return results


def main(first, at_least, seconds):
    """Publish until told to stop; a last line of JSON says how much."""
    app.publish_timeout = ATTEMPT_S
    stop, number = Path("stop"), first
    waiting, unknown = [], []
    print("begins", flush=True)
    while not stop.exists():
        waiting = [result for result in waiting if not result.ready()]
        numbers = unknown
        if not numbers:
            count = min(CHUNK, 1 + max(0, at_least - len(waiting)))
            numbers, number = list(range(number, number + count)), number + count
        results = publish(numbers, seconds)
        unknown = [] if results else numbers
        waiting += results
        time.sleep(PAUSE_S)
    print(json.dumps({"numbers": number - first, "unknown": len(unknown)}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.02)
