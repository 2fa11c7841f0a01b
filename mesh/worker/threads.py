"""Slots in this process, for an embedded mesh."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from mesh.worker.execute import Executor
from mesh.worker.lanes import serve
from mesh.worker.loader import Tasks
from mesh.worker.orders import CELLS, Loaded
from mesh.worker.pipe import Pipe
from mesh.worker.slots import Slot, Slots, two_pairs
from mesh.worker.station import Station


class InProcessSlots(Slots):
    """One slot of ``concurrency`` threads in this process, for ``Mesh(embedded=True)``: same pipes, same program.

    Tasks that the application gets later, and what is appended to ``queues``, are announced within a beat.
    """

    def __init__(
        self,
        app: Tasks,
        concurrency: int,
        max_body_bytes: int = 1 << 20,
        chunk_bytes: int = 128 << 10,
        queues: Sequence[str] = (),
        name: str = "",
    ) -> None:
        super().__init__(1, concurrency)
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._chunk_bytes = chunk_bytes
        self._queues = queues
        self._name = name
        self._announced = (0, 0)
        """Tasks and queues that the parent has been told of."""
        self._station: Station | None = None

    def launch(self, number: int) -> Slot:
        """Start the slot's threads."""
        ours, theirs = two_pairs()
        marks = bytearray(CELLS)
        executor = Executor(
            self._app.tasks, self._max_body_bytes, str(self.spool.path), self._chunk_bytes, hostname=self._name, ends_tasks=True
        )
        self._station = Station(Pipe(theirs[0]), Pipe(theirs[1]), marks, executor)
        slot = Slot(number, self.width, Pipe(ours[0]), Pipe(ours[1]), marks, _Thread(self._station, self.width))
        self._announce()
        return slot

    def tick(self, now_s: float) -> None:
        """Announce new tasks as well."""
        super().tick(now_s)
        if self._known() != self._announced:
            self._announce()

    def _announce(self) -> None:
        assert self._station is not None, "launched before"
        self._announced = self._known()
        self._station.send(Loaded(sorted(self._app.tasks), "", list(self._queues)))

    def _known(self) -> tuple[int, int]:
        return len(self._app.tasks), len(self._queues)


class _Thread:
    """A slot's main thread in this process. It can't be killed: a task that runs goes on until it ends, and is not listened to."""

    def __init__(self, station: Station, width: int) -> None:
        self.pid = os.getpid()
        self._station = station
        self._thread = threading.Thread(target=self._serve, args=(width,), name="mesh-slot", daemon=True)
        station.watch(station.close)
        self._thread.start()

    def _serve(self, width: int) -> None:
        serve(self._station, "thread", width)

    def ended(self) -> str:
        """How it ended, empty while it runs."""
        return "" if self._thread.is_alive() else "ended"

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended by itself within the time."""
        self._thread.join(max(0.0, timeout_s))
        return not self._thread.is_alive()

    def signal(self, name: str) -> bool:
        """It would be for the whole program."""
        return False

    def kill(self) -> str:
        """Stop listening to it."""
        self._station.close()
        return "ended"
