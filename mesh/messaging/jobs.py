"""Class jobs, as PyRes has them: a class with ``queue`` and a static ``perform`` is a task under the class's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mesh.errors import UsageError


def job_parts(job: object) -> tuple[Callable[..., Any], str]:
    """(perform, the name of the queue) of a job. Raises UsageError for what is none."""
    perform, queue = getattr(job, "perform", None), getattr(job, "queue", None)
    if not isinstance(job, type) or not callable(perform):
        raise UsageError(f"a job is a class with a static method perform(), not {job!r:.80}")
    if not isinstance(queue, str) or not queue:
        raise UsageError(f'the job {job.__name__} has no queue: write queue = "NAME" into the class')
    return perform, queue
