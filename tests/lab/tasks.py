"""The application of the lab's hosts; each has a copy in its work folder. What ran is written down outside of the mesh."""

import os
import time

from mesh import Mesh

HISTORY = "history.log"
TALLY = "tally.log"

app = Mesh("tasks")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def note(number: int, seconds: float = 0.0) -> int:
    """Take some time, and leave a line at the start and one at the finish."""
    write("start", number)
    time.sleep(seconds)
    write("finish", number)
    return number


@app.task
def passed(values: list[int], number: int) -> list[int]:
    """A step of a workflow: its own number after those that it was given (tests/lab/workflows.py)."""
    note.run(number)
    return [*values, number]


@app.task
def gathered(values: list[list[int]], number: int) -> list[int]:
    """The body of its chord."""
    first = number - 5
    if values != [[first, first + 1], [first, first + 2], [first, first + 3, first + 4]]:
        write("wrong", number)
    note.run(number)
    return [number]


@app.task
def tally(number: int, text: str) -> None:
    """One of very many: a single line, at its end."""
    append(TALLY, f"{time.time():.3f} {number}")


@app.task
def poison(number: int) -> None:
    """A bug in C code, as seen from outside: the process is gone."""
    write("start", number)
    os.abort()


def write(event: str, number: int) -> None:
    """What happened, and when."""
    append(HISTORY, f"{time.time():.6f} {event} {number}")


def append(name: str, line: str) -> None:
    """One write to a file opened for appending: the system does not mix it with those of other slots, and a kill keeps it."""
    handle = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)
