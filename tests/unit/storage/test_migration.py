"""Upgrade: a state directory that the previous schema version left opens, migrates and keeps all that it held."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from mesh.core.effects import Gap
from mesh.storage import salvage, schema
from mesh.storage.healing import HealingStore
from mesh.storage.sqlite import SqliteStore
from mesh.wire.frames import decode_entry, encode
from tests.unit.storage.fixtures import make_version_1 as version_1
from tests.unit.storage.loading import loaded

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The state file of a node of version 1 that was killed."""
    path = tmp_path / "state.db"
    for suffix in ("", "-wal"):
        shutil.copyfile(FIXTURES / f"version_1.db{suffix}", path.with_name(path.name + suffix))
    return path


def user_version(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return version


EXPECTED = {
    (version_1.SHARED, 1): version_1.MEMBER,
    **{(version_1.BULK, number): message for number, message in enumerate(version_1.MESSAGES, 1) if number > 11},
    **{(version_1.BULK, 30 + number): result for number, result in enumerate([*version_1.RESULTS, version_1.FAILED], 1)},
    (version_1.FOREIGN, 7): version_1.MESSAGES[0],
    (version_1.FOREIGN, 9): version_1.MESSAGES[1],
}


def test_a_directory_of_version_1_keeps_its_entries_contexts_vote_and_values(path: Path):
    for _ in ("migrated", "opened again"):
        store = HealingStore(path)
        restored = store.load()
        assert {(journal, sequence): decode_entry(data) for journal, sequence, data in restored.entries} == EXPECTED
        assert {(head.journal, head.upto, head.digest) for head in restored.heads} == {
            (version_1.SHARED, 1, 11),
            (version_1.BULK, 41, 44),
            (version_1.FOREIGN, 12, 33),
        }
        assert (restored.term, restored.voted_for) == (4, "node-a")
        assert restored.salvage is None
        assert store.get_meta("key") == b"value"
        store.close()
        assert user_version(path) == schema.SCHEMA_VERSION


def test_a_migrated_file_takes_new_batches(path: Path):
    store = SqliteStore(path)
    store.commit(version_1.second())
    assert len(list(store.load().entries)) == len(EXPECTED)
    store.close()


def test_a_migration_that_dies_has_changed_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as broken:
        broken.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:1], (schema.MIGRATIONS[1][0], "no statement")))
        broken.setattr(schema, "SCHEMA_VERSION", 2)
        with pytest.raises(Exception, match="damaged"):
            SqliteStore(path)
    assert user_version(path) == 1
    store = SqliteStore(path)
    assert len(list(store.load().entries)) == len(EXPECTED)
    store.close()


def test_a_damaged_directory_of_version_1_is_salvaged(path: Path):
    SqliteStore(path).close()  # migrated; its log is in the main file now
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 1")
        connection.execute("DROP TABLE gap")
        connection.execute("DROP TABLE salvaged")
    connection.close()
    content = bytearray(path.read_bytes())
    content[content.rindex(b"task-20") + 20] ^= 1
    path.write_bytes(content)
    store = HealingStore(path)
    remains = loaded(store).salvage
    assert remains is not None
    assert len(remains.entries) == len(EXPECTED) - 1
    assert remains.gaps == [Gap(version_1.BULK, 20, 20, "task-20")]
    store.close()
    assert user_version(path) == schema.SCHEMA_VERSION


def test_every_older_version_has_a_fixture():
    assert {f"version_{number}.db" for number in range(1, schema.SCHEMA_VERSION)} == {file.name for file in FIXTURES.glob("*.db")}


@pytest.mark.parametrize("entry", [version_1.MESSAGES[0], version_1.RESULTS[0]])
def test_a_tasks_id_is_read_although_the_rest_of_its_entry_is_damaged(entry: object):
    data = encode(entry)
    assert salvage.task_of(data[:15] + bytes(len(data) - 15)) == "task-01"


def test_an_entry_without_a_task_has_no_tasks_id():
    assert salvage.task_of(encode(version_1.MEMBER)) == ""
    assert salvage.task_of(b"") == ""
