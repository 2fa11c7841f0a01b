"""The file of SqliteStore: crashes, locks, versions, damage, failing disks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.core.effects import Batch
from mesh.errors import DiskFailed, DiskFull, LocalProtocolError, StateDamaged, StateLocked, StateRefused, StateTooNew
from mesh.storage import schema, sqlite
from mesh.storage.schema import SCHEMA_VERSION
from mesh.storage.sqlite import SqliteStore, log_of
from mesh.wire.messages import HeadState
from tests.unit.storage import committer

JOURNAL = b"j" * 16
OTHER = b"o" * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def plain(path: Path) -> Iterator[sqlite3.Connection]:
    """The file of a store that held three entries and was closed, as any SQLite program sees it."""
    store = SqliteStore(path)
    entries = [(JOURNAL, sequence, b"entry %d" % sequence) for sequence in (1, 2, 3)]
    store.commit(Batch(1, entries, heads={JOURNAL: HeadState(JOURNAL, "node", 0, 3, 9)}, vote=(2, "node")))
    store.set_meta("key", b"value")
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    yield connection
    connection.close()


def open_and_load(path: Path) -> None:
    store = SqliteStore(path)
    try:
        list(store.load().entries)
    finally:
        store.close()


def refusal(path: Path, error: type[StateRefused]) -> str:
    """The text with which the file is refused when opened or loaded."""
    with pytest.raises(error) as raised:
        open_and_load(path)
    assert type(raised.value) is error
    assert str(path.parent) in str(raised.value)
    return str(raised.value)


# -- crashes -------------------------------------------------------------------------------------------------------------------------


def test_r7_a_killed_process_leaves_every_batch_that_was_reported_done(path: Path):
    process = subprocess.Popen([sys.executable, "-m", "tests.unit.storage.committer", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        lines = [process.stdout.readline() for _ in range(40)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    reported = int([line for line in lines if line.endswith("\n")][-1])
    store = SqliteStore(path)
    restored = store.load()
    entries = list(restored.entries)
    store.close()
    assert reported >= 40
    assert reported <= restored.term <= reported + 1  # the batch under way is there as a whole or not at all
    last = committer.batch(restored.term)
    half = committer.ROWS // 2
    left = [first * committer.ROWS + half + i for first in range(1, restored.term) for i in range(half)]
    assert [sequence for _, sequence, _ in entries] == left + [sequence for _, sequence, _ in last.entries]
    assert all(blob == committer.blob(sequence) for _, sequence, blob in entries)
    assert restored.heads == list(last.heads.values())


def test_the_log_is_written_to_the_main_file_before_it_counts(path: Path):
    process = subprocess.Popen([sys.executable, "-m", "tests.unit.storage.committer", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    log = path.with_name("state.db-wal")
    assert log.stat().st_size > 0
    store = SqliteStore(path)
    assert log.stat().st_size == 0
    store.close()


# -- the lock ----------------------------------------------------------------------------------------------------------------------


def test_a_second_opener_in_this_process_is_refused_at_once(path: Path):
    store = SqliteStore(path)
    assert "mesh down" in refusal(path, StateLocked)
    store.close()
    SqliteStore(path).close()


def test_r3_a_second_process_is_refused_until_the_first_is_dead(path: Path):
    process = subprocess.Popen([sys.executable, "-m", "tests.unit.storage.committer", str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        process.stdout.readline()
        refusal(path, StateLocked)
        process.kill()
    SqliteStore(path).close()


def test_a_store_that_was_only_opened_is_locked(path: Path):
    code = "import sys, pathlib, mesh.storage.sqlite as s; store = s.SqliteStore(pathlib.Path(sys.argv[1])); print(1, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        refusal(path, StateLocked)
        process.kill()


# -- whose file it is ----------------------------------------------------------------------------------------------------------------


def test_a_file_of_a_newer_schema_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as newer:
        newer.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later(key TEXT)",)))
        newer.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
        SqliteStore(path).close()
    assert "upgrade mesh" in refusal(path, StateTooNew)


def test_a_file_of_an_older_schema_is_migrated(plain: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch):
    plain.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ("CREATE TABLE later(key TEXT)",)))
    monkeypatch.setattr(schema, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    store = SqliteStore(path)
    assert store.get_meta("key") == b"value"
    assert len(list(store.load().entries)) == 3
    store.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION + 1,)
        assert connection.execute("SELECT * FROM later").fetchall() == []
    connection.close()


def test_another_programs_database_is_refused_and_untouched(path: Path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE bookmarks(url)")
    connection.close()
    before = path.read_bytes()
    assert "another program" in refusal(path, StateRefused)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_damaged(path: Path):
    path.write_bytes(b"not a database at all" * 100)
    assert "not a database" in refusal(path, StateDamaged)


def test_a_file_in_a_missing_directory_is_refused(tmp_path: Path):
    with pytest.raises(StateRefused, match="can't be opened"):
        SqliteStore(tmp_path / "missing" / "state.db")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_only_the_owner_can_read_the_file_and_its_log(path: Path):
    store = SqliteStore(path)
    store.set_meta("key", b"value")
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    store.close()


# -- damage ------------------------------------------------------------------------------------------------------------------------


def test_r2_a_flipped_byte_in_an_entry_is_noticed_and_named(plain: sqlite3.Connection, path: Path):
    plain.close()
    content = bytearray(path.read_bytes())
    content[content.index(b"entry 2")] ^= 1
    path.write_bytes(content)
    text = refusal(path, StateDamaged)
    assert JOURNAL.hex() in text
    assert "sequence 2" in text


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE entry SET id = id + 10 WHERE data = CAST('entry 3' AS BLOB)", "sequence 13"),
        ("UPDATE journal SET upto = upto + 1", "the context of journal number 1"),
        ("UPDATE vote SET term = 1", "the vote"),
        ("DELETE FROM journal", "a journal that is not listed"),
    ],
)
def test_r2_a_row_that_was_changed_from_outside_is_noticed(plain: sqlite3.Connection, path: Path, statement: str, named: str):
    plain.execute(statement)
    plain.close()
    assert named in refusal(path, StateDamaged)


def test_a_small_value_that_was_changed_from_outside_is_noticed(plain: sqlite3.Connection, path: Path):
    plain.execute("UPDATE meta SET value = CAST('other' AS BLOB)")
    plain.close()
    store = SqliteStore(path)
    with pytest.raises(StateDamaged, match="key"):
        store.get_meta("key")
    store.close()


def test_r2_a_page_that_hides_its_rows_is_noticed(path: Path):
    store = SqliteStore(path)
    store.commit(Batch(1, [(JOURNAL, sequence, os.urandom(500)) for sequence in range(200)]))
    store.close()
    connection = sqlite3.connect(path)
    root, page_bytes = connection.execute(
        "SELECT rootpage, (SELECT page_size FROM pragma_page_size) FROM sqlite_master WHERE name = 'entry'"
    ).fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    cells = (root - 1) * page_bytes + 3  # the b-tree page header's number of cells (SQLite file format, 1.6)
    count = int.from_bytes(content[cells : cells + 2], "big")
    content[cells : cells + 2] = (count - 1).to_bytes(2, "big")
    path.write_bytes(content)
    refusal(path, StateDamaged)


# -- failing disks ----------------------------------------------------------------------------------------------------------------


def test_without_room_nothing_of_a_batch_is_written_and_it_may_be_committed_again(path: Path):
    store = SqliteStore(path)
    store.commit(Batch(1, [(JOURNAL, 1, b"kept")]))
    store._db.execute(f"PRAGMA max_page_count = {store._value('PRAGMA page_count')}")
    large = Batch(2, [(JOURNAL, 2, b"small"), (b"other journal 16", 1, bytes(100_000))], settled=[(JOURNAL, 1)])
    for _ in range(2):
        with pytest.raises(DiskFull, match="full"):
            store.commit(large)
        assert list(store.load().entries) == [(JOURNAL, 1, b"kept")]
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.commit(large)
    store.close()
    store = SqliteStore(path)
    assert list(store.load().entries) == [(JOURNAL, 2, b"small"), (b"other journal 16", 1, bytes(100_000))]
    store.close()


def test_r7_after_any_other_failure_the_store_takes_nothing_more(path: Path):
    store = SqliteStore(path)
    store.commit(Batch(1, [(JOURNAL, 1, b"kept")]))
    store._db.execute("PRAGMA query_only = ON")
    with pytest.raises(DiskFailed):
        store.commit(Batch(2, [(JOURNAL, 2, b"lost")]))
    store._db.execute("PRAGMA query_only = OFF")
    for again in (lambda: store.commit(Batch(3, [(JOURNAL, 3, b"later")])), lambda: store.set_meta("key", b"")):
        with pytest.raises(DiskFailed):
            again()
    store.close()
    store = SqliteStore(path)
    assert list(store.load().entries) == [(JOURNAL, 1, b"kept")]
    store.close()


def test_a_closed_store_takes_nothing_more(path: Path):
    store = SqliteStore(path)
    store.close()
    with pytest.raises(DiskFailed):
        store.commit(Batch(1))


def test_a_batch_larger_than_a_statement_is_still_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sqlite, "STATEMENT_BYTES_MAX", 1000)
    entries = [(bytes([journal]) * 16, sequence, os.urandom(300)) for journal in (1, 2, 3) for sequence in (1, 2, 3)]
    store = SqliteStore(path)
    store.commit(Batch(1, entries, vote=(1, "node")))
    with pytest.raises(LocalProtocolError):
        store.commit(Batch(2, [*((JOURNAL, sequence, bytes(600)) for sequence in (1, 2, 3)), (JOURNAL, 1 << 40, b"")]))
    store.close()
    store = SqliteStore(path)
    assert list(store.load().entries) == entries
    assert store.load().term == 1
    store.close()


def context(journal: bytes, upto: int) -> dict[bytes, HeadState]:
    return {journal: HeadState(journal, "node", 0, upto, upto)}


def test_a_batch_of_one_entry_does_what_its_larger_kin_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    batches = [Batch(1, [(JOURNAL, 1, b"a"), (OTHER, 1, b"b")], heads=context(OTHER, 1))]
    batches += [Batch(n, [(JOURNAL, n, b"%d" % n)], [(JOURNAL, n - 1)], context(JOURNAL, n)) for n in range(2, 9)]
    batches += [Batch(9, [(OTHER, 2, b"c")], heads=context(OTHER, 2)), Batch(10, [(OTHER, 2, b"c")], [(OTHER, 1)], context(OTHER, 2))]
    found = []
    for number, small in enumerate((True, False)):
        store = SqliteStore(tmp_path / f"{number}.db")
        if not small:
            monkeypatch.setattr(store, "_small", lambda batch: None)
        for batch in batches:
            store.commit(batch)
        store.close()
        again = SqliteStore(tmp_path / f"{number}.db")
        restored = again.load()
        found.append((list(restored.entries), restored.heads, restored.term))
        again.close()
    assert found[0] == found[1]
    assert found[0][0] == [(OTHER, 2, b"c"), (JOURNAL, 8, b"8")]


def test_a_batch_of_one_entry_is_two_pages_in_the_log(path: Path):
    store = SqliteStore(path)
    store.commit(Batch(1, [(JOURNAL, 1, b"a")], heads=context(JOURNAL, 1)))
    before = log_of(path).stat().st_size
    for number in range(2, 12):
        store.commit(Batch(number, [(JOURNAL, number, b"a")], [(JOURNAL, number - 1)], context(JOURNAL, number)))
    assert log_of(path).stat().st_size - before == 10 * 2 * (4096 + 24)
    store.close()
