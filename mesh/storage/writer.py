"""The thread that waits for the disk, so that a node's loop does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from mesh.core.effects import Batch, Read
from mesh.errors import DiskFull
from mesh.storage.base import Store

Rows = tuple[int, list[bytes | None]]
"""Number of a read, and what it has found."""
FULL_PAUSE_S = 1.0
"""Pause before a full disk is tried again."""

log = logging.getLogger("mesh.storage")


class Writer:
    """Commits one batch at a time to ``store`` in its own thread.

    ``done(number)`` and ``failed(error)`` are called from that thread: after the commit of each batch, or once when one failed. It reads
    rows as well, between commits, and gives them to ``read(rows)``: SQLite has one connection to a file that is locked.
    After ``failed`` nothing more is written and ``idle`` stays false. When the disk is full, ``make_room()`` is called from that thread and
    says whether it helped; else the same batch waits until there is room (R21).
    """

    def __init__(
        self,
        store: Store,
        done: Callable[[int], None],
        failed: Callable[[BaseException], None],
        make_room: Callable[[], bool] = lambda: False,
        read: Callable[[list[Rows]], None] = lambda rows: None,
    ) -> None:
        self._store = store
        self._done = done
        self._failed = failed
        self._make_room = make_room
        self._read = read
        self._closing = Event()
        self.full = False
        """A batch waits for room."""
        self._idle = True
        # Measured, hand-over to a sleeping thread and back: SimpleQueue 5.6 us, Lock 6.8 us, Condition 8.2 us.
        self._batches: SimpleQueue[Batch | list[Read] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="mesh-writer", daemon=True)
        self._thread.start()

    @property
    def idle(self) -> bool:
        """Whether a batch may be submitted; true again before ``done`` is called."""
        return self._idle

    def submit(self, batch: Batch) -> None:
        """Start the commit of a batch. Only from one thread, and only when ``idle``; else RuntimeError, and nothing is written."""
        if not self._idle:
            raise RuntimeError("the writer still has a batch, or has failed")
        self._idle = False
        self._batches.put(batch)

    def read(self, reads: list[Read]) -> None:
        """Have rows read that were committed; they come in the same order."""
        self._batches.put(reads)

    def commit_here(self, batch: Batch) -> None:
        """Commit in the caller's thread, the one that submits, and return when it is durable; only when ``idle``.

        Raises DiskFull, after which the batch may be submitted; DiskFailed.
        """
        if not self._idle:
            raise RuntimeError("the writer still has a batch, or has failed")
        try:
            self._store.commit(batch)
        except DiskFull:
            raise
        except BaseException:
            self._idle = False
            raise

    def close(self) -> None:
        """End the thread, after the commit that is under way; then its ``done`` has been called, unless it waits for room. The store
        stays open.
        """
        self._closing.set()
        self._batches.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                if isinstance(batch, list):
                    self._read([(read.number, self._store.read(read.journal, read.sequences)) for read in batch])
                    continue
                self._commit(batch)
                self._idle = True
                self._done(batch.number)
            except BaseException as error:  # whatever it is: a loop that hears nothing would wait for ever
                self._idle = False
                self._failed(error)
                return

    def _commit(self, batch: Batch) -> None:
        while True:
            try:
                self._store.commit(batch)
            except DiskFull as error:
                self._wait_for_room(error)
            else:
                break
        if self.full:
            self.full = False
            log.warning("the disk has room again: what waited is written")

    def _wait_for_room(self, error: DiskFull) -> None:
        """Nothing of the batch is on the disk, and nobody was told that it is. Raises the error when the writer is closed."""
        if not self.full:
            log.error("%s; nothing is confirmed until there is room", error)
        self.full = True
        if not self._make_room() and self._closing.wait(FULL_PAUSE_S):
            raise error
