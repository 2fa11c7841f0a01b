"""Tasks that kill the process that runs them, until there is an antidote."""

import os
from pathlib import Path

from mesh import Mesh

app = Mesh("poison")


@app.task
def drink(name: str) -> str:
    with Path(f"{name}.runs").open("a") as runs:
        runs.write("run\n")
    if not Path("antidote").exists():
        os.abort()
    return "cured"


@app.task(max_deliveries=2)
def twice(name: str) -> str:
    return drink(name)
