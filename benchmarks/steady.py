"""A client that keeps work waiting: what the takeover benchmark measures dispatch with.

Usage: steady.py AT_LEAST SECONDS. Submits tasks of SECONDS each so that AT_LEAST wait at any time, until the file `stop` appears;
then waits for all and prints one line of JSON.
"""

import json
import sys
import time
from collections import deque
from pathlib import Path

from tasks import app, note

PAUSE_S = 0.02


def main(at_least: int, seconds: float) -> None:
    waiting = deque()
    submitted = right = 0
    stop = Path("stop")
    print("begins", flush=True)
    while not stop.exists():
        while waiting and waiting[0].ready():
            right += waiting[0].get(timeout=60) == submitted - len(waiting)
            waiting.popleft()
        if len(waiting) < at_least:
            waiting.extend(app.submit_many([note.s(number, seconds) for number in range(submitted, submitted + at_least)]))
            submitted += at_least
        time.sleep(PAUSE_S)
    for number, result in enumerate(waiting, submitted - len(waiting)):
        right += result.get(timeout=120) == number
    print(json.dumps({"submitted": submitted, "lost": submitted - right}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
