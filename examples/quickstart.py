"""The smallest program: one task, submitted, run and fetched. Start it with ``python examples/quickstart.py``; it needs nothing else.

``embedded=True`` runs a private node and a worker inside this process. Leave it out and start ``mesh up -d`` and
``mesh worker -A examples/quickstart.py``, and the same program uses the mesh of this machine.
"""

from mesh import Mesh

app = Mesh("quickstart", embedded=True)


@app.task
def add(x: int, y: int) -> int:
    return x + y


if __name__ == "__main__":
    with app:
        result = add.delay(2, 2)
        print("task", result.id)
        print("2 + 2 =", result.get(timeout=10))
        print("state", result.state)
        print("here  ", add(2, 2))
