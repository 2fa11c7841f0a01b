"""The application that the benchmarks run."""

from mesh import Mesh

app = Mesh("tasks")


@app.task
def add(x: int, y: int) -> int:
    return x + y
