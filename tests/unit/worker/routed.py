"""An application with a queue of its own."""

from __future__ import annotations

from mesh import Mesh, Queue

app = Mesh("routed")
app.conf.task_queues = [Queue("feeds", max_length=5)]


@app.task
def load(url: str) -> str:
    return url
