"""Celery's old import path: ``from mesh.decorators import task``. New code has ``@app.task``, or ``from mesh import shared_task``."""

from mesh.registry import shared_task

task = shared_task
"""As :func:`mesh.shared_task`."""

__all__ = ["task"]
