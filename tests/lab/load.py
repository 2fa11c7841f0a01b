"""A client under whose feet things break: submits COUNT tasks of SECONDS each, then fetches and checks every result.

Usage: load.py COUNT SECONDS [QUEUE [FIRST_NUMBER]]. Prints "submitted" when all are confirmed, and at the end one line of JSON.
"""

import json
import sys
import time

from tasks import note

PAUSE_S = 0.004
"""Between two submits, so that some are made before, during and after whatever happens."""

count, seconds = int(sys.argv[1]), float(sys.argv[2])
options = {"queue": sys.argv[3]} if len(sys.argv) > 3 else {}
first = int(sys.argv[4]) if len(sys.argv) > 4 else 0

print("begins", flush=True)
results = []
for number in range(first, first + count):
    results.append(note.apply_async((number, seconds), **options))
    time.sleep(PAUSE_S)
print("submitted", flush=True)
answers = [result.get(timeout=60) for result in results]
print(json.dumps({"submitted": count, "right": sum(answer == first + place for place, answer in enumerate(answers))}), flush=True)
