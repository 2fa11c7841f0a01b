"""The writer thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from mesh.core.effects import Batch
from mesh.errors import DiskFailed
from mesh.storage.memory import MemoryStore
from mesh.storage.sqlite import SqliteStore
from mesh.storage.writer import Writer

DEADLINE_S = 10


class GatedStore(MemoryStore):
    """A disk that takes as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()

    def commit(self, batch: Batch) -> None:
        assert self.gate.wait(DEADLINE_S)
        super().commit(batch)


@pytest.fixture
def reports() -> SimpleQueue[object]:
    return SimpleQueue()


@pytest.fixture
def gated(reports: SimpleQueue[object]) -> Iterator[tuple[GatedStore, Writer]]:
    store = GatedStore()
    writer = Writer(store, reports.put, reports.put)
    yield store, writer
    store.gate.set()
    writer.close()


def test_a_batch_is_on_the_disk_when_its_number_is_reported(tmp_path: Path, reports: SimpleQueue[object]):
    store = SqliteStore(tmp_path / "state.db")
    writer = Writer(store, reports.put, reports.put)
    for number in range(1, 4):
        assert writer.idle
        writer.submit(Batch(number, [(b"j" * 16, number, b"x")]))
        assert reports.get(timeout=DEADLINE_S) == number
        assert len(store.load().entries) == number
    writer.close()
    store.close()


def test_only_one_batch_is_under_way(gated: tuple[GatedStore, Writer], reports: SimpleQueue[object]):
    store, writer = gated
    writer.submit(Batch(1))
    assert not writer.idle
    with pytest.raises(RuntimeError):
        writer.submit(Batch(2))
    store.gate.set()
    assert reports.get(timeout=DEADLINE_S) == 1
    assert writer.idle
    assert reports.empty()


def test_the_writer_is_idle_when_done_is_called():
    seen: SimpleQueue[bool] = SimpleQueue()
    writer = Writer(MemoryStore(), lambda number: seen.put(writer.idle), lambda error: seen.put(False))
    writer.submit(Batch(1))
    assert seen.get(timeout=DEADLINE_S)
    writer.close()


def test_close_waits_for_the_commit_that_is_under_way(gated: tuple[GatedStore, Writer], reports: SimpleQueue[object]):
    store, writer = gated
    writer.submit(Batch(1, vote=(4, "node")))
    closing = threading.Thread(target=writer.close)
    closing.start()
    assert closing.is_alive()
    store.gate.set()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    assert reports.get_nowait() == 1
    assert store.load().term == 4


def test_a_failed_commit_is_reported_once_and_nothing_more_is_written(tmp_path: Path, reports: SimpleQueue[object]):
    store = SqliteStore(tmp_path / "state.db")
    store.close()
    writer = Writer(store, reports.put, reports.put)
    writer.submit(Batch(1))
    assert isinstance(reports.get(timeout=DEADLINE_S), DiskFailed)
    assert not writer.idle
    with pytest.raises(RuntimeError):
        writer.submit(Batch(2))
    writer.close()
    assert reports.empty()


def test_a_batch_can_be_committed_by_the_thread_that_submits_when_the_writer_is_idle(tmp_path: Path, reports: SimpleQueue[object]):
    store = SqliteStore(tmp_path / "state.db")
    store.load()
    writer = Writer(store, reports.put, reports.put)
    writer.commit_here(Batch(1, vote=(7, "n")))
    writer.close()
    store.close()
    assert reports.empty()
    again = SqliteStore(tmp_path / "state.db")
    assert again.load().term == 7
    again.close()


def test_a_batch_can_not_be_committed_beside_one_that_is_under_way(gated: tuple[GatedStore, Writer]):
    store, writer = gated
    writer.submit(Batch(1, vote=(1, "n")))
    with pytest.raises(RuntimeError):
        writer.commit_here(Batch(2, vote=(2, "n")))
    store.gate.set()
