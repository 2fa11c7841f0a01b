"""The application: the same file lies on both machines."""

from mesh import Mesh

app = Mesh("tasks")


@app.task
def add(x: int, y: int) -> int:
    return x + y
