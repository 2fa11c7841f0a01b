"""Tasks that say where they ran."""

import os
import time
from pathlib import Path

from mesh import Mesh

app = Mesh("placed")


@app.task
def where(seconds: float = 0.0) -> str:
    """The machine that it ran on (the folder above its home), after so many seconds."""
    time.sleep(seconds)
    return Path(os.environ["MESH_HOME"]).parent.name


@app.task
def note(path: str, line: str) -> None:
    """Write a line into a file, which shows the order."""
    with Path(path).open("a") as file:
        file.write(line + "\n")
