"""A client that submits chains and chords while things break, each again under the same ids until it is confirmed.

Usage: workflows.py FIRST. Goes on until the file `stop` appears. A workflow takes ten numbers: a task, three members of a group that
come after it, of which one is two steps long, the body of the chord, and a last step. Its lines are those of publish.py.
"""

import sys
import time
from pathlib import Path

from publish import ATTEMPT_S, write
from tasks import app, gathered, passed

from mesh.errors import MeshError
from mesh.wire.calls import Flow
from mesh.wire.entries import Message

NUMBERS = 10
TASKS = 7
PAUSE_S = 0.1


def workflow(first):
    """The messages, and the numbers of the tasks; what waits goes first."""
    ids = [f"task-{first + place}" for place in range(TASKS)]
    begin, _, _, three, _, body, _ = ids
    gather = f"gather-{first}"

    def step(task, place, flow=None):
        return app.message_of(task.s(first + place), id=ids[place], flow=flow)

    messages = [
        step(passed, 6, Flow(after=body)),
        step(gathered, 5, Flow(after=gather)),
        Message(gather, "default", "", b"", flow=Flow(gathers=3)),
        step(passed, 4, Flow(after=three, into=gather, place=2)),
        step(passed, 3, Flow(after=begin)),
        step(passed, 2, Flow(after=begin, into=gather, place=1)),
        step(passed, 1, Flow(after=begin, into=gather, place=0)),
        app.message_of(passed.s([], first), id=begin),
    ]
    return messages, [first + place for place in range(TASKS)]


def main(first):
    """Submit until told to stop."""
    app.publish_timeout = ATTEMPT_S
    stop, number = Path("stop"), first
    print("begins", flush=True)
    while not stop.exists():
        messages, numbers = workflow(number)
        write(("attempt", one, 0) for one in numbers)
        try:
            (result,) = app.submit_messages(messages, [messages[0].id])
        except MeshError as error:
            print(f"{time.time():.3f} {type(error).__name__}: {error}", flush=True)
            continue
        write(("confirm", one, result.copies) for one in numbers)
        number += NUMBERS
        time.sleep(PAUSE_S)


if __name__ == "__main__":
    main(int(sys.argv[1]))
