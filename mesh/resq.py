"""PyRes' ResQ over a mesh: classes with a queue and a static ``perform`` are jobs, without a decorator."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mesh import result
from mesh.app import Mesh
from mesh.task import Task


class ResQ(Mesh):
    """``ResQ().enqueue(WebPage, url)`` has a worker run ``WebPage.perform(url)``.

    The jobs are the classes of the module that makes it which have a text ``queue`` and a static ``perform``;
    ``mesh worker -A MODULE -Q QUEUE`` stands in the place of ``pyres_worker QUEUE``. ``server`` (``host`` or ``host:port``) is a node to
    ask beside those that are found by themselves; ``mesh``, ``home`` and ``embedded`` are as in :class:`mesh.Mesh`.
    """

    def __init__(
        self,
        server: str | None = None,
        *,
        mesh: str | None = None,
        home: str | os.PathLike[str] | None = None,
        embedded: bool = False,
    ) -> None:
        self._module = str(sys._getframe(1).f_globals["__name__"])
        super().__init__(_name_of(self._module), mesh=mesh, home=home, seeds=[server] if server else None, embedded=embedded)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The registered tasks by name, the jobs of the module among them, read-only."""
        self._find_jobs()
        return super().tasks

    def enqueue(self, job: type, *args: Any) -> result.AsyncResult[Any]:
        """Have a worker run a job. Return and errors as Task.delay."""
        self._find_jobs()
        return super().enqueue(job, *args)

    def _find_jobs(self) -> None:
        known = super().tasks
        for job in list(vars(sys.modules[self._module]).values()):
            if isinstance(job, type) and job.__module__ == self._module and _is_job(job) and self._job_name(job) not in known:
                self.job(job)


def _is_job(kind: type) -> bool:
    return isinstance(getattr(kind, "queue", None), str) and isinstance(vars(kind).get("perform"), staticmethod)


def _name_of(module: str) -> str:
    """The name by which a worker that imports it knows the module; a program that is run itself goes by its file's."""
    file = getattr(sys.modules[module], "__file__", None)
    return module if module != "__main__" else Path(file).stem if file else "resq"
