"""The writer thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from mesh.core.effects import Batch
from mesh.errors import DiskFailed, DiskFull
from mesh.storage import writer as writer_module
from mesh.storage.memory import MemoryStore
from mesh.storage.sqlite import SqliteStore
from mesh.storage.writer import Writer
from tests.polling import poll_until

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
        assert len(list(store.load().entries)) == number
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


class FullStore(MemoryStore):
    """A disk without room until the test makes some."""

    def __init__(self) -> None:
        super().__init__()
        self.room = 0
        self.refused = 0

    def commit(self, batch: Batch) -> None:
        if not self.room:
            self.refused += 1
            raise DiskFull("no room")
        super().commit(batch)


def test_r21_on_a_full_disk_the_reserve_is_given_up_and_the_same_batch_written(reports: SimpleQueue[object]):
    store = FullStore()

    def make_room() -> bool:
        store.room = 1
        return True

    writer = Writer(store, reports.put, reports.put, make_room)
    writer.submit(Batch(1, vote=(7, "node")))
    assert reports.get(timeout=DEADLINE_S) == 1
    assert (store.refused, store.load().term, writer.full) == (1, 7, False)
    writer.close()


def test_r21_without_a_reserve_a_batch_waits_for_room_and_is_told_of(
    reports: SimpleQueue[object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(writer_module, "FULL_PAUSE_S", 0.01)
    store = FullStore()
    writer = Writer(store, reports.put, reports.put)
    writer.submit(Batch(1, vote=(7, "node")))
    poll_until(lambda: store.refused > 3, DEADLINE_S, "several tries")
    assert writer.full
    assert reports.empty()
    store.room = 1
    assert reports.get(timeout=DEADLINE_S) == 1
    assert store.load().term == 7
    writer.close()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]  # once each, not at every try


def test_r21_a_writer_that_waits_for_room_can_be_closed(reports: SimpleQueue[object]):
    store = FullStore()
    writer = Writer(store, reports.put, reports.put)
    writer.submit(Batch(1))
    poll_until(lambda: store.refused, DEADLINE_S, "the first try")
    writer.close()
    assert isinstance(reports.get_nowait(), DiskFull)


def test_r21_a_commit_in_the_callers_thread_that_finds_no_room_can_be_submitted(reports: SimpleQueue[object]):
    store = FullStore()
    writer = Writer(store, reports.put, reports.put)
    with pytest.raises(DiskFull):
        writer.commit_here(Batch(1))
    store.room = 1
    writer.submit(Batch(1))
    assert reports.get(timeout=DEADLINE_S) == 1
    writer.close()
