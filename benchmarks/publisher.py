"""A client that submits a long queue and waits for no result.

Usage: publisher.py COUNT BLOCK. Prints one line of JSON: the seconds for each BLOCK tasks, until they are confirmed.
"""

import json
import sys
import time

from tasks import app, note

BATCH = 1000
TEXT = "x" * 180  # with the number and its frame about 200 bytes


def main(count: int, block: int) -> None:
    app.submit_many([note.s(1, TEXT)])  # connects
    seconds = []
    for start in range(0, count, block):
        began = time.perf_counter()
        for first in range(start, start + block, BATCH):
            app.submit_many([note.s(number, TEXT) for number in range(first, first + BATCH)])
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
