"""A private node and worker in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mesh.client.link import Nodes
from mesh.errors import UsageError


class Application(Protocol):
    """What the embedded worker needs of an application."""

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks by name."""


class Embedded:
    """The node and the worker of ``Mesh(embedded=True)``."""

    def __init__(self, app: Application, home: Path | None) -> None:
        self._app = app
        self._home = home

    def start(self) -> Nodes:
        """Start both unless they run; returns where to find the node."""
        raise UsageError("embedded=True is not available yet")

    def stop(self) -> None:
        """Stop both."""
