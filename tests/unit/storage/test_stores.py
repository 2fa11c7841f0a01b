"""What every Store does, on a disk or in memory (mesh/storage/base.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mesh.core.effects import Batch
from mesh.storage.base import Store
from mesh.storage.memory import MemoryStore
from mesh.storage.sqlite import SqliteStore
from mesh.wire.entries import Scope
from mesh.wire.messages import HeadState

ONE, TWO = b"1" * 16, b"2" * 16


class Reopening:
    """A store that can be closed and opened again."""

    def __init__(self, make: Callable[[], Store]) -> None:
        self._make = make
        self.store = make()

    def again(self) -> Store:
        self.store.close()
        self.store = self._make()
        return self.store


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reopening]:
    memory = MemoryStore()
    reopening = Reopening(lambda: memory if request.param == "memory" else SqliteStore(tmp_path / "state.db"))
    yield reopening
    reopening.store.close()


def head(journal: bytes, upto: int, digest: int = 0xFFFFFFFF) -> HeadState:
    return HeadState(journal, "node-a", Scope.BULK, upto, digest)


def test_a_new_store_holds_nothing(opened: Reopening):
    restored = opened.store.load()
    assert (restored.term, restored.voted_for, restored.heads, list(restored.entries)) == (0, "", [], [])


def test_what_was_committed_is_there_after_reopening(opened: Reopening):
    batch = Batch(
        1, [(ONE, 1, b"first"), (ONE, 2, b"second"), (TWO, 7, b"\x00\xff")], heads={ONE: head(ONE, 2), TWO: head(TWO, 7)}, vote=(3, "b")
    )
    opened.store.commit(batch)
    restored = opened.again().load()
    assert list(restored.entries) == batch.entries
    assert restored.heads == [head(ONE, 2), head(TWO, 7)]
    assert (restored.term, restored.voted_for) == (3, "b")


def test_entries_of_a_journal_are_loaded_in_ascending_order(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 300, b"c"), (ONE, 2, b"a")], heads={ONE: head(ONE, 300)}))
    opened.store.commit(Batch(2, [(ONE, 45, b"b")]))
    assert list(opened.again().load().entries) == [(ONE, 2, b"a"), (ONE, 45, b"b"), (ONE, 300, b"c")]


def test_settling_removes_an_entry_and_leaves_the_context(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"a"), (ONE, 2, b"b")], heads={ONE: head(ONE, 2)}))
    opened.store.commit(Batch(2, settled=[(ONE, 1), (ONE, 99), (TWO, 1)]))
    restored = opened.again().load()
    assert (list(restored.entries), restored.heads) == ([(ONE, 2, b"b")], [head(ONE, 2)])


def test_settling_after_reopening_finds_the_journal_again(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"a"), (TWO, 1, b"b")], heads={ONE: head(ONE, 1), TWO: head(TWO, 1)}))
    opened.again().commit(Batch(2, [(TWO, 2, b"c")], settled=[(TWO, 1)]))
    assert list(opened.again().load().entries) == [(ONE, 1, b"a"), (TWO, 2, b"c")]


def test_a_batch_applied_twice_changes_nothing(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"a"), (ONE, 2, b"b")], heads={ONE: head(ONE, 2)}))
    batch = Batch(2, [(ONE, 3, b"c")], settled=[(ONE, 1)], heads={ONE: head(ONE, 3)}, vote=(1, "a"))
    opened.store.commit(batch)
    once = replace(opened.again().load(), entries=list(opened.store.load().entries))
    opened.store.commit(batch)
    assert replace(opened.again().load(), entries=list(opened.store.load().entries)) == once


def test_a_dropped_journal_is_forgotten_with_its_context(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"a"), (TWO, 1, b"b")], heads={ONE: head(ONE, 1), TWO: head(TWO, 1)}))
    opened.store.commit(Batch(2, dropped=[ONE, b"?" * 16]))
    restored = opened.again().load()
    assert (list(restored.entries), restored.heads) == ([(TWO, 1, b"b")], [head(TWO, 1)])


def test_what_a_batch_holds_of_a_journal_that_it_drops_is_new(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"old"), (ONE, 2, b"old")], heads={ONE: head(ONE, 2)}))
    opened.store.commit(Batch(2, [(ONE, 2, b"new")], heads={ONE: head(ONE, 5)}, dropped=[ONE]))
    restored = opened.again().load()
    assert (list(restored.entries), restored.heads) == ([(ONE, 2, b"new")], [head(ONE, 5)])


def test_entries_without_a_context_are_kept_and_no_context_is_invented(opened: Reopening):
    opened.store.commit(Batch(1, [(ONE, 1, b"a")]))
    restored = opened.again().load()
    assert (list(restored.entries), restored.heads) == ([(ONE, 1, b"a")], [])
    opened.store.commit(Batch(2, heads={ONE: head(ONE, 1)}))
    assert opened.again().load().heads == [head(ONE, 1)]


def test_a_context_and_a_vote_are_replaced_by_later_ones(opened: Reopening):
    for upto in (1, 2, (1 << 40) - 1):
        opened.store.commit(Batch(upto, heads={ONE: head(ONE, upto, digest=upto & 7)}, vote=(upto, f"node-{upto}")))
    restored = opened.again().load()
    assert restored.heads == [head(ONE, (1 << 40) - 1, digest=7)]
    assert (restored.term, restored.voted_for) == ((1 << 40) - 1, f"node-{(1 << 40) - 1}")


def test_an_empty_batch_commits(opened: Reopening):
    opened.store.commit(Batch(1))
    assert list(opened.again().load().entries) == []


def test_small_values_are_kept_beside_the_entries(opened: Reopening):
    assert opened.store.get_meta("mesh id") is None
    opened.store.set_meta("mesh id", b"\x00one")
    opened.store.set_meta("mesh id", b"\x00two")
    assert opened.again().get_meta("mesh id") == b"\x00two"


def test_rows_are_read_in_the_order_in_which_they_were_asked_for(opened: Reopening):
    rows = {sequence: bytes([sequence % 256]) * (sequence % 7) + b"\x00" for sequence in range(1, 3001)}
    opened.store.commit(Batch(1, [(TWO, 5, b"another's"), *((ONE, sequence, row) for sequence, row in rows.items())]))
    opened.store.commit(Batch(2, settled=[(ONE, sequence) for sequence in range(100, 200)]))
    for gone in range(100, 200):
        del rows[gone]
    for sequences in ([7], [150], range(1, 3001), range(90, 210), [1, 3, 4, 5, 9, 2999, 3000, 3001], range(5000, 5003)):
        assert opened.store.read(ONE, sequences) == [rows.get(sequence) for sequence in sequences]
    assert opened.store.read(b"3" * 16, [1, 2]) == [None, None]
