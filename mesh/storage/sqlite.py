"""A node's state in one SQLite file: WAL, fsynced at each commit, one process at a time."""

from __future__ import annotations

import sqlite3
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mesh.core.effects import Batch, Restored
from mesh.errors import DiskFailed, LocalProtocolError, StateDamaged, StateLocked, StateRefused, StateTooNew
from mesh.wire.messages import HeadState

APPLICATION_ID = 0x4D455348
"""``MESH`` in ASCII, at offset 68 of the file: tells ours from another program's database."""
SEQUENCE_BITS = 40
"""An entry's row is journal number << 40 | sequence: 2^40 entries a journal, 2^23 journals a file, appended in key order."""
STATEMENT_BYTES_MAX = 64 << 20
"""Most entry bytes in one statement; SQLite refuses values beyond 1e9 bytes, and this bounds the copy that a commit makes."""

_SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1

_VERSION_1 = (
    "CREATE TABLE journal(no INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, owner TEXT, scope INTEGER, upto INTEGER, digest INTEGER,"
    " crc INTEGER NOT NULL)",
    "CREATE TABLE entry(id INTEGER PRIMARY KEY, crc INTEGER NOT NULL, data BLOB NOT NULL)",
    "CREATE TABLE vote(one INTEGER PRIMARY KEY CHECK (one = 1), term INTEGER NOT NULL, node TEXT NOT NULL, crc INTEGER NOT NULL)",
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    # sqlite3 gives up the GIL for each step of a statement and has to win it back: executemany() does so for each row, and beside
    # a busy main thread (switch interval 5 ms) 1000 rows took 261 ms; one statement for each table 24 ms; all as one row inserted
    # into this view, whose triggers do the rest, 8 ms. JSON carries the numbers, one blob all the bytes.
    "CREATE VIEW batch AS SELECT NULL AS heads, NULL AS entries, NULL AS settled, NULL AS data, NULL AS term, NULL AS node, NULL AS crc",
    "CREATE TRIGGER batch_heads INSTEAD OF INSERT ON batch WHEN NEW.heads IS NOT NULL BEGIN"
    " INSERT OR REPLACE INTO journal SELECT json_extract(value, '$[0]'),"
    " substr(NEW.data, json_extract(value, '$[1]'), json_extract(value, '$[2]')), json_extract(value, '$[3]'),"
    " json_extract(value, '$[4]'), json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]')"
    " FROM json_each(NEW.heads); END",
    "CREATE TRIGGER batch_entries INSTEAD OF INSERT ON batch WHEN NEW.entries IS NOT NULL BEGIN"
    " INSERT OR REPLACE INTO entry SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'),"
    " substr(NEW.data, json_extract(value, '$[2]'), json_extract(value, '$[3]')) FROM json_each(NEW.entries); END",
    "CREATE TRIGGER batch_settled INSTEAD OF INSERT ON batch WHEN NEW.settled IS NOT NULL BEGIN"
    " DELETE FROM entry WHERE id IN (SELECT value FROM json_each(NEW.settled)); END",
    "CREATE TRIGGER batch_vote INSTEAD OF INSERT ON batch WHEN NEW.term IS NOT NULL BEGIN"
    " INSERT OR REPLACE INTO vote VALUES (1, NEW.term, NEW.node, NEW.crc); END",
)
_MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1,)
"""Statements that take a file from the version of their index to the next; an empty file is version 0."""
SCHEMA_VERSION = len(_MIGRATIONS)

_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    # Darwin's fsync does not reach the platter (fcntl(2), F_FULLFSYNC); other systems ignore both.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)


def _row_crc(*values: object) -> int:
    """Checksum of a small row: of its values' text."""
    return zlib.crc32(repr(values).encode())


def _entry_crc(row: int, data: bytes) -> int:
    """Checksum of an entry that counts its place in, so that a row under a wrong id is noticed too."""
    return zlib.crc32(data, row & 0xFFFFFFFF ^ row >> 32)


class _Blob:
    """The bytes of one statement, concatenated; ``add`` says where, counted from 1 as SQL's substr does."""

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []

    def add(self, piece: bytes) -> int:
        start = self.size + 1
        self.size += len(piece)
        self._pieces.append(piece)
        return start

    def joined(self) -> bytes:
        return b"".join(self._pieces)


_Statement = tuple[str, tuple[Any, ...]]


def _json(rows: list[Any]) -> str | None:
    return msgspec.json.encode(rows).decode() if rows else None


def _batch_row(heads: list[Any], entries: list[Any], settled: list[int], data: _Blob, vote: tuple[int, str] | None = None) -> _Statement:
    """The row for the view ``batch`` that does all of this; its triggers skip what is null."""
    ballot = (*vote, _row_crc(*vote)) if vote is not None else (None, None, None)
    return "INSERT INTO batch VALUES (?, ?, ?, ?, ?, ?, ?)", (_json(heads), _json(entries), _json(settled), data.joined(), *ballot)


class SqliteStore:
    """Implements :class:`mesh.storage.base.Store` on the file ``path``, which is made when missing.

    The lock on the state directory is SQLite's exclusive lock on this file: held from the constructor to ``close``, and released by
    the operating system when the process dies.

    Raises StateLocked, StateTooNew, StateDamaged, StateRefused (not ours, or not writable), DiskFailed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # set_meta in one thread must not slip into the transaction of another
        self._failed = False
        self._numbers: dict[bytes, int] = {}
        self._next_number = 1
        try:
            path.touch(mode=0o600)  # SQLite would use the umask; its -wal file takes the mode of this one
            self._db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StateRefused(f"{path} can't be opened: {error}") from error
        try:
            self._open()
        except sqlite3.Error as error:
            self._db.close()
            self._refuse(error)
        except BaseException:
            self._db.close()
            raise

    # -- opening ------------------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        # Set before the first read, EXCLUSIVE makes that read take the lock for good, and WAL works without shared memory.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = self._check_version()
        for pragma in _PRAGMAS:
            self._db.execute(pragma)
        mode = self._value("PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise StateRefused(f"{self._path}: the file system can't keep a write-ahead log (SQLite answered {mode!r})")
        self._db.execute("BEGIN EXCLUSIVE")
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                self._db.execute(statement)
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")
        # After a failed fsync the log may be readable from the page cache and yet not be on the disk, and a second fsync
        # reports success (Rebello et al., 2020). So what the log holds is written again, to the main file, before it counts.
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._numbers = dict(self._db.execute("SELECT name, no FROM journal"))
        self._next_number = max(self._numbers.values(), default=0) + 1

    def _check_version(self) -> int:
        """The file's schema version; touches nothing in a file that is not ours."""
        version: int = self._value("PRAGMA user_version")
        application = self._value("PRAGMA application_id")
        tables = self._value("SELECT count(*) FROM sqlite_master")
        if application != APPLICATION_ID and (application or version or tables):
            raise StateRefused(f"{self._path} is another program's SQLite file; move it away or choose another MESH_HOME")
        if version > SCHEMA_VERSION:
            raise StateTooNew(
                f"{self._path} was written by a newer version of mesh (schema {version}, this one knows {SCHEMA_VERSION}); upgrade mesh"
            )
        return version

    def _value(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]

    def _refuse(self, error: sqlite3.Error) -> NoReturn:
        """Raise what an error while opening or loading means."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code, without its extension
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StateLocked(f"another node process uses {self._path.parent}; stop it with `mesh down`") from error
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
            raise DiskFailed(f"{self._path}: {error}") from error
        if code in (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise StateRefused(f"{self._path} can't be written: {error}") from error
        raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> StateDamaged:
        return StateDamaged(
            f"{self._path} is damaged ({what}); move it away and start again: the node gets back from the others what they hold"
        )

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def load(self) -> Restored:
        """All that was committed; the entries of one journal lie together, ascending. Raises StateDamaged, DiskFailed."""
        try:
            return self._load()
        except sqlite3.Error as error:
            self._refuse(error)

    def _load(self) -> Restored:
        # A damaged page can hide rows without any error, and a hidden entry would count as settled, everywhere.
        verdict = self._value("PRAGMA quick_check(1)")
        if verdict != "ok":
            raise self._damaged(verdict)
        restored = Restored()
        for term, node, crc in self._db.execute("SELECT term, node, crc FROM vote"):
            if crc != _row_crc(term, node):
                raise self._damaged("the vote")
            restored.term, restored.voted_for = term, node
        names = {}
        for number, *row, crc in self._db.execute("SELECT no, name, owner, scope, upto, digest, crc FROM journal ORDER BY no"):
            if crc != _row_crc(number, *row):
                raise self._damaged(f"the context of journal number {number}")
            names[number] = row[0]
            if row[1] is not None:
                restored.heads.append(HeadState(*row))
        for row_id, crc, data in self._db.execute("SELECT id, crc, data FROM entry ORDER BY id"):
            journal, sequence = names.get(row_id >> SEQUENCE_BITS), row_id & _SEQUENCE_MASK
            if journal is None:
                raise self._damaged(f"entry {sequence} of a journal that is not listed")
            if crc != _entry_crc(row_id, data):
                raise self._damaged(f"journal {journal.hex()}, sequence {sequence}")
            restored.entries.append((journal, sequence, data))
        return restored

    # -- writing ------------------------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Make the batch durable as one transaction; returns after fsync. Applying a batch again changes nothing.

        Journals in ``dropped`` go first: what the batch holds of them beside that is new.

        Raises DiskFailed; the store then refuses every further commit with the same.
        """
        with self._lock, self._fatal():
            drops = [self._numbers.pop(journal) for journal in batch.dropped if journal in self._numbers]
            statements = [*self._deletes(drops), *self._inserts(batch)]
            self._transact(statements)

    def _transact(self, statements: list[_Statement]) -> None:
        # A single statement is a transaction of its own: BEGIN and COMMIT would be two more waits for the GIL.
        if len(statements) == 1:
            self._db.execute(*statements[0])
            return
        self._db.execute("BEGIN")
        for statement in statements:
            self._db.execute(*statement)
        self._db.execute("COMMIT")

    def _deletes(self, numbers: list[int]) -> Iterator[_Statement]:
        for number in numbers:
            yield "DELETE FROM entry WHERE id BETWEEN ? AND ?", (number << SEQUENCE_BITS, number << SEQUENCE_BITS | _SEQUENCE_MASK)
            yield "DELETE FROM journal WHERE no = ?", (number,)

    def _inserts(self, batch: Batch) -> Iterator[_Statement]:
        """Rows for the view ``batch``: one, unless the entries are too large for one statement."""
        data = _Blob()
        entries: list[tuple[int, int, int, int]] = []
        numbers = self._numbers
        heads = [self._head_row(data, journal, head) for journal, head in batch.heads.items()]
        for journal, sequence, blob in batch.entries:
            if journal not in numbers:
                heads.append(self._head_row(data, journal, None))
            if data.size + len(blob) > STATEMENT_BYTES_MAX and entries:
                yield _batch_row(heads, entries, [], data)
                data, heads, entries = _Blob(), [], []
            if sequence > _SEQUENCE_MASK:
                raise LocalProtocolError(f"sequence {sequence} of a journal does not fit into {SEQUENCE_BITS} bits")
            row = numbers[journal] << SEQUENCE_BITS | sequence
            entries.append((row, _entry_crc(row, blob), data.add(blob), len(blob)))
        settled = [numbers[journal] << SEQUENCE_BITS | sequence for journal, sequence in batch.settled if journal in numbers]
        yield _batch_row(heads, entries, settled, data, batch.vote)

    def _head_row(self, data: _Blob, journal: bytes, head: HeadState | None) -> tuple[Any, ...]:
        """A journal's row; one without a context has nulls and is not reported as a head."""
        number = self._numbers.get(journal)
        if number is None:
            number = self._numbers[journal] = self._next_number
            self._next_number += 1
        # int(): the checksum is of the text, which for an IntEnum differs from what is read back
        row = (head.owner, int(head.scope), head.upto, head.digest) if head is not None else (None, None, None, None)
        return (number, data.add(journal), len(journal), *row, _row_crc(number, journal, *row))

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Around each write: whatever fails in it ends the store."""
        if self._failed:
            raise DiskFailed(f"{self._path} is closed, or failed before; this process can't use it any more")
        self._failed = True
        try:
            yield
        except sqlite3.Error as error:
            raise DiskFailed(f"{self._path}: {error}; the node stops (rule R7)") from error
        self._failed = False

    # -- small values -------------------------------------------------------------------------------------------------------------

    def get_meta(self, key: str) -> bytes | None:
        """A small value kept beside the entries, or None. Raises StateDamaged, DiskFailed."""
        with self._lock:
            try:
                row = self._db.execute("SELECT value, crc FROM meta WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                self._refuse(error)
        if row is None:
            return None
        value: bytes
        value, crc = row
        if crc != _row_crc(key, value):
            raise self._damaged(f"the value {key!r}")
        return value

    def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small value; durable on return. Raises DiskFailed, like ``commit``."""
        with self._lock, self._fatal():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, _row_crc(key, value)))

    def close(self) -> None:
        """Give the state directory free. Nothing more can be read or written."""
        with self._lock:
            self._failed = True
            self._db.close()
