"""The application of the acceptance tests."""

import time

from mesh import Mesh

app = Mesh("tasks")


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def greet(name: str, greeting: str = "hello") -> str:
    return f"{greeting} {name}"


@app.task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task
def fail(text: str) -> None:
    raise ValueError(text)


@app.task
async def echo(value: object) -> object:
    return value
