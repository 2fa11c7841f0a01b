"""The application that the benchmarks run."""

import time
from pathlib import Path

from mesh import Mesh

NOTED = 5_000

app = Mesh("tasks")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def note(number: int, text: str) -> int:
    """One of a long queue; every so often it says when it ran."""
    if number % NOTED == 0:
        with Path("noted").open("a") as file:
            file.write(f"{time.time()}\n")
    return number


@app.task
def echo(value: bytes) -> bytes:
    return value


@app.task
def size(values: list[int]) -> int:
    return len(values)
