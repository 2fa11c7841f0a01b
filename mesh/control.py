"""``app.control``: what a program may have the live workers do."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from mesh.app import Mesh


class ToldWorker(TypedDict):
    """A worker that was told to change what it consumes."""

    name: str
    id: str
    node: str
    """The name of the node that it is attached to."""
    queues: list[str]
    """What it consumes from now on."""


class Control:
    """Orders to workers. They hold until a worker is started again: then it has the queues of its command line."""

    def __init__(self, app: Mesh) -> None:
        self._app = app

    def add_consumer(self, queue: str, *, destination: str | Sequence[str] = ()) -> list[ToldWorker]:
        """Have workers consume a queue, too: those of these names or ids, or all. Returns those that were told.

        Raises NotFound when there is no worker of a name; those before it in ``destination`` have been told then. InvalidSetting for a
        name that no queue can have. MeshNotFound, NotAllowed and NoCoordinator as everywhere.
        """
        return self._change(destination, add=[queue])

    def cancel_consumer(self, queue: str, *, destination: str | Sequence[str] = ()) -> list[ToldWorker]:
        """Have workers no longer consume a queue. What they run of it ends there; what they hold and have not begun goes back.

        Destination, return and errors as :meth:`add_consumer`.
        """
        return self._change(destination, cancel=[queue])

    def _change(self, destination: str | Sequence[str], **change: list[str]) -> list[ToldWorker]:
        deadline_s = time.monotonic() + self._app.publish_timeout
        names = [destination] if isinstance(destination, str) else list(destination) or [""]
        told: list[ToldWorker] = []
        for name in names:
            told += json.loads(self._app.client.query("consumers", json.dumps({"worker": name, **change}), deadline_s))
        return told
