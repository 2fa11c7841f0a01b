"""``app.control``: what a program may have the live workers do."""

from __future__ import annotations

import json
import signal as signals
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from mesh.errors import UsageError

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


class RevokedTask(TypedDict):
    """What became of a task that was to be revoked."""

    id: str
    became: Literal["revoked", "ended"]
    """``ended``: it was over already."""
    ran: bool
    """A worker had it."""


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

    def revoke(
        self,
        task_id: str | Iterable[str] = (),
        *,
        terminate: bool = False,
        signal: str = "SIGTERM",
        groups: str | Iterable[str] = (),
    ) -> list[RevokedTask]:
        """End tasks for good, by their ids, also those that nobody has submitted yet, or all live members of ``groups``.

        Their state is REVOKED from then on, and ``get()`` raises TaskRevokedError. What has not begun never runs; what runs goes on, and
        its value is not wanted any more. ``terminate`` ends it: in a process pool by ``signal`` to its slot and to what it has started,
        which is killed half a second later; in other pools by TaskRevokedError in the task, as far as Python can. It is kept as long as
        the result is (``result_expires_s``). Returns what became of each. Raises InvalidSetting for more than 100,000 ids and UsageError
        for a signal that there is not; MeshNotFound, NotAllowed and NoCoordinator as everywhere.
        """
        return self._revoke({"ids": _names(task_id), "groups": _names(groups)}, terminate, signal)

    def revoke_by_stamped_headers(
        self, headers: Mapping[str, str | Iterable[str]], *, terminate: bool = False, signal: str = "SIGTERM"
    ) -> list[RevokedTask]:
        """End all live tasks that have one of these values for one of these stamps; the rest as :meth:`revoke`."""
        return self._revoke({"stamps": {name: _names(values) for name, values in headers.items()}}, terminate, signal)

    def terminate(self, task_id: str | Iterable[str], *, signal: str = "SIGTERM") -> list[RevokedTask]:
        """:meth:`revoke` with ``terminate=True``."""
        return self.revoke(task_id, terminate=True, signal=signal)

    def _revoke(self, wanted: dict[str, Any], terminate: bool, signal: str) -> list[RevokedTask]:
        deadline_s = time.monotonic() + self._app.publish_timeout
        argument = {**wanted, "terminate": terminate, "signal": signal_name(signal)}
        rows: list[RevokedTask] = json.loads(self._app.client.query("revoke", json.dumps(argument), deadline_s))
        return rows

    def _change(self, destination: str | Sequence[str], **change: list[str]) -> list[ToldWorker]:
        deadline_s = time.monotonic() + self._app.publish_timeout
        names = [destination] if isinstance(destination, str) else list(destination) or [""]
        told: list[ToldWorker] = []
        for name in names:
            told += json.loads(self._app.client.query("consumers", json.dumps({"worker": name, **change}), deadline_s))
        return told


def signal_name(signal: str | int) -> str:
    """A signal's name from its name, with or without SIG, or its number. Raises UsageError."""
    if isinstance(signal, int):
        return _known(next((one.name for one in signals.Signals if one.value == signal), str(signal)))
    name = signal.upper()
    return _known(name if name.startswith("SIG") else f"SIG{name}")


def _known(name: str) -> str:
    if name not in signals.Signals.__members__:
        raise UsageError(f"there is no signal {name}: SIGTERM, SIGINT, SIGQUIT and SIGKILL end a task")
    return name


def _names(values: str | Iterable[str]) -> list[str]:
    return [values] if isinstance(values, str) else list(values)
