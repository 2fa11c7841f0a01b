"""A node's state in one SQLite file: WAL, fsynced at each commit, one process at a time."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mesh.core.cluster.ranges import to_ranges
from mesh.core.effects import Batch, Gap, Restored, Salvage
from mesh.errors import DiskFailed, DiskFull, LocalProtocolError, StateDamaged, StateLocked, StateRefused, StateTooNew
from mesh.storage import schema, wal
from mesh.storage.salvage import Remains, salvaged_crc
from mesh.storage.schema import APPLICATION_ID, DAMAGED_KEY, SCHEMA_KEY, SEQUENCE_BITS, SEQUENCE_MASK, entry_crc, row_crc
from mesh.wire.messages import HeadState

STATEMENT_BYTES_MAX = 64 << 20
"""Most entry bytes in one statement; SQLite refuses values beyond 1e9 bytes, and this bounds the copy that a commit makes."""

READ_ROWS = 1024
"""Most rows that are read by one statement: they are text of twice their size on the way."""

_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    # Darwin's fsync does not reach the platter (fcntl(2), F_FULLFSYNC); other systems ignore both.
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
)


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
_FORGET_SALVAGE: tuple[_Statement, ...] = (
    ("DELETE FROM salvaged", ()),
    ("DELETE FROM gap", ()),
    ("DELETE FROM meta WHERE key = ?", (DAMAGED_KEY,)),
)


def log_of(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log of the file ``path``."""
    return path.with_name(f"{path.name}-wal")


def kept_log_of(path: Path) -> Path:
    """Where a damaged log is kept from SQLite, which would remove it, until it is salvaged."""
    return path.with_name(f"{path.name}-wal.kept")


def _json(rows: list[Any]) -> str | None:
    return msgspec.json.encode(rows).decode() if rows else None


def _batch_row(heads: list[Any], entries: list[Any], settled: list[int], data: _Blob, vote: tuple[int, str] | None = None) -> _Statement:
    """The row for the view ``batch`` that does all of this; its triggers skip what is null."""
    ballot = (*vote, row_crc(*vote)) if vote is not None else (None, None, None)
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
        except (sqlite3.Error, UnicodeDecodeError) as error:
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
        self._check_log()
        self._migrate(version)
        # After a failed fsync the log may be readable from the page cache and yet not be on the disk, and a second fsync
        # reports success (Rebello et al., 2020). So what the log holds is written again, to the main file, before it counts.
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for statement in schema.SMALL_BATCH:
            self._db.execute(statement)
        self._read_numbers()

    def _read_numbers(self) -> None:
        self._numbers = dict(self._db.execute("SELECT name, no FROM journal"))
        self._next_number = max(self._numbers.values(), default=0) + 1

    def _check_version(self) -> int:
        """The file's schema version; touches nothing in a file that is not ours."""
        version: int = self._value("PRAGMA user_version")
        application = self._value("PRAGMA application_id")
        found = schema.catalogue(self._db)
        ours = {name for _, name, _, _ in schema.objects(1)} <= {name for _, name, _, _ in found}
        if application != APPLICATION_ID and (application or version or found):
            if ours:
                raise self._damaged("its header")
            raise StateRefused(f"{self._path} is another program's SQLite file; move it away or choose another MESH_HOME")
        if version > schema.SCHEMA_VERSION:
            if ours and 0 < self._repeated_version() <= schema.SCHEMA_VERSION:
                raise self._damaged("its header")
            known = schema.SCHEMA_VERSION
            raise StateTooNew(
                f"{self._path} was written by a newer version of mesh (schema {version}, this one knows {known}); upgrade mesh"
            )
        if found != schema.objects(version):
            raise self._damaged("its catalogue of tables")
        return version

    def _repeated_version(self) -> int:
        """The schema version as the table of small values has it; 0 when it has none that can be trusted."""
        row = self._db.execute("SELECT value, crc FROM meta WHERE key = ?", (SCHEMA_KEY,)).fetchone()
        return int(row[0]) if row is not None and row[1] == row_crc(SCHEMA_KEY, row[0]) else 0

    def _check_log(self) -> None:
        """Raise StateDamaged when the log holds transactions that SQLite has left out (R20: damage is not a torn tail)."""
        log_path, kept = log_of(self._path), kept_log_of(self._path)
        log = wal.look(log_path)
        _, valid, _ = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if log is not None and log.is_damaged(valid):
            # Closing the connection writes back what SQLite made of the log, and removes it.
            shutil.copyfile(log_path, kept)
        if kept.exists():
            raise self._damaged("its write-ahead log")

    def _migrate(self, version: int) -> None:
        if version == schema.SCHEMA_VERSION:
            return  # nothing is written: a node may have to start on a full disk
        self._db.execute("BEGIN EXCLUSIVE")
        for statements in schema.MIGRATIONS[version:]:
            for statement in statements:
                self._db.execute(statement)
        value = str(schema.SCHEMA_VERSION).encode()
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (SCHEMA_KEY, value, row_crc(SCHEMA_KEY, value)))
        self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        self._db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def _value(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]

    def _refuse(self, error: sqlite3.Error | UnicodeDecodeError) -> NoReturn:
        """Raise what an error while opening or loading means."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the primary code, without its extension
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StateLocked(f"another node process uses {self._path.parent}; stop it with `mesh down`") from error
        if code == sqlite3.SQLITE_FULL:
            raise DiskFull(f"{self._path}: {error}; make room and start again") from error
        if code == sqlite3.SQLITE_IOERR:
            raise DiskFailed(f"{self._path}: {error}") from error
        if code in (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise StateRefused(f"{self._path} can't be written: {error}") from error
        raise self._damaged(str(error)) from error

    def _damaged(self, what: str) -> StateDamaged:
        return StateDamaged(f"{self._path} is damaged ({what})")

    # -- reading ------------------------------------------------------------------------------------------------------------------

    def load(self) -> Restored:
        """All that was committed; the entries of one journal lie together, ascending. Raises StateDamaged, DiskFailed.

        So may the going through the entries, which are read one by one: a long queue is larger than the memory.
        """
        try:
            return self._load()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            self._refuse(error)

    def _load(self) -> Restored:
        # A damaged page can hide rows without any error, and a hidden entry would count as settled, everywhere.
        for check in ("PRAGMA quick_check(1)", "PRAGMA integrity_check('journal')"):  # the latter reads the index of names too
            verdict = self._value(check)
            if verdict != "ok":
                raise self._damaged(" ".join(verdict.removeprefix("*** in database main ***").split()))
        restored = Restored(salvage=self._load_salvage())
        for term, node, crc in self._db.execute("SELECT term, node, crc FROM vote"):
            if crc != row_crc(term, node):
                raise self._damaged("the vote")
            restored.term, restored.voted_for = term, node
        names = {}
        for number, *row, crc in self._db.execute("SELECT no, name, owner, scope, upto, digest, crc FROM journal ORDER BY no"):
            if crc != row_crc(number, *row):
                raise self._damaged(f"the context of journal number {number}")
            names[number] = row[0]
            if row[1] is not None:
                restored.heads.append(HeadState(*row))
        restored.entries = self._entries(names)
        return restored

    def _entries(self, names: dict[int, bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        try:
            yield from self._rows(names)
        except sqlite3.Error as error:
            self._refuse(error)

    def _rows(self, names: dict[int, bytes]) -> Iterator[tuple[bytes, int, bytes]]:
        for row_id, crc, data in self._db.execute("SELECT id, crc, data FROM entry ORDER BY id"):
            journal, sequence = names.get(row_id >> SEQUENCE_BITS), row_id & SEQUENCE_MASK
            if journal is None:
                raise self._damaged(f"entry {sequence} of a journal that is not listed")
            if crc != entry_crc(row_id, data):
                raise self._damaged(f"journal {journal.hex()}, sequence {sequence}")
            yield journal, sequence, data

    def _load_salvage(self) -> Salvage | None:
        """What lies aside of a damaged file that this one replaces, None for any other file."""
        if self.get_meta(DAMAGED_KEY) is None:
            return None
        salvage = Salvage()
        for number, journal, sequence, data, crc in self._db.execute("SELECT no, journal, sequence, data, crc FROM salvaged ORDER BY no"):
            if crc != salvaged_crc(number, journal, sequence, data):
                raise self._damaged(f"salvaged entry {number}")
            salvage.entries.append((journal, sequence, data))
        for number, *row, crc in self._db.execute("SELECT no, journal, first, last, task, crc FROM gap ORDER BY no"):
            if crc != row_crc(number, *row):
                raise self._damaged(f"gap {number}")
            salvage.gaps.append(Gap(*row))
        return salvage

    def read(self, journal: bytes, sequences: Sequence[int]) -> list[bytes | None]:
        """The rows of committed entries, asked for in ascending order, None for one that is not there. Raises StateDamaged, DiskFailed."""
        with self._lock:
            number = self._numbers.get(journal)
            if number is None:
                return [None] * len(sequences)
            rows = [number << SEQUENCE_BITS | sequence for sequence in sequences]
            found: dict[int, bytes] = {}
            try:
                for start in range(0, len(rows), READ_ROWS):
                    found.update(self._read(rows[start : start + READ_ROWS]))
            except sqlite3.Error as error:
                self._refuse(error)
        return [found.get(row) for row in rows]

    def _read(self, rows: list[int]) -> Iterator[tuple[int, bytes]]:
        one = len(rows) == 1
        for row, crc, data in self._db.execute("SELECT id, crc, data FROM entry WHERE id = ?", rows) if one else self._read_ranges(rows):
            if crc != entry_crc(row, data):
                raise self._damaged(f"row {row}")
            yield row, data

    def _read_ranges(self, rows: list[int]) -> Iterator[tuple[int, int, bytes]]:
        # As one row of text: the GIL is given up and won back for each row that a statement yields (see schema.py).
        statement = (
            "SELECT group_concat(entry.id), group_concat(crc), group_concat(length(data)), group_concat(hex(data), '')"
            " FROM json_each(?) AS range CROSS JOIN entry"
            " WHERE entry.id BETWEEN json_extract(range.value, '$[0]') AND json_extract(range.value, '$[1]')"
        )
        ranges = to_ranges(rows)
        pairs = list(zip(ranges[::2], ranges[1::2], strict=True))
        ids, crcs, sizes, text = self._db.execute(statement, (_json(pairs),)).fetchone()
        if ids is None:
            return
        data, end = bytes.fromhex(text), 0
        for row, crc, size in zip(map(int, ids.split(",")), map(int, crcs.split(",")), map(int, sizes.split(",")), strict=True):
            start, end = end, end + size
            yield row, crc, data[start:end]

    # -- writing ------------------------------------------------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """Make the batch durable as one transaction; returns after fsync. Applying a batch again changes nothing.

        Journals in ``dropped`` go first: what the batch holds of them beside that is new.

        Raises DiskFull when there is no room: nothing of the batch was written, and it may be committed again. Raises DiskFailed for all
        else; the store then refuses every further commit with the same.
        """
        with self._lock, self._fatal():
            small = self._small(batch)
            if small is not None:
                self._db.execute(*small)
                return
            drops = [self._numbers.pop(journal) for journal in batch.dropped if journal in self._numbers]
            statements = [*self._deletes(drops), *self._inserts(batch)]
            if batch.recovered:
                statements += _FORGET_SALVAGE
            self._transact(statements)

    def seed(self, remains: Remains, found: str) -> None:
        """Begin a file that replaces a damaged one: its vote, the names of its journals without how far they had come, and its readable
        entries set aside. ``found`` says what was damaged. Raises DiskFull, DiskFailed.
        """
        journals = {head.journal: HeadState(head.journal, head.owner, head.scope, 0, 0) for head in remains.heads if head.owner}
        entries = [(number, *entry, salvaged_crc(number, *entry)) for number, entry in enumerate(remains.salvage.entries, 1)]
        gaps = [(gap.journal, gap.first, gap.last, gap.task) for gap in remains.salvage.gaps]
        value = found.encode()
        with self._lock, self._fatal():
            self._db.execute("BEGIN")
            for statement in self._inserts(Batch(0, heads=journals, vote=remains.vote)):
                self._db.execute(*statement)
            self._db.executemany("INSERT INTO salvaged VALUES (?, ?, ?, ?, ?)", entries)
            self._db.executemany(
                "INSERT INTO gap VALUES (?, ?, ?, ?, ?, ?)", [(no, *row, row_crc(no, *row)) for no, row in enumerate(gaps, 1)]
            )
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (DAMAGED_KEY, value, row_crc(DAMAGED_KEY, value)))
            self._db.execute("COMMIT")

    def _transact(self, statements: list[_Statement]) -> None:
        # A single statement is a transaction of its own: BEGIN and COMMIT would be two more waits for the GIL.
        if len(statements) == 1:
            self._db.execute(*statements[0])
            return
        self._db.execute("BEGIN")
        for statement in statements:
            self._db.execute(*statement)
        self._db.execute("COMMIT")

    def _roll_back(self) -> None:
        """After a statement found no room: SQLite has undone it, and perhaps the whole transaction."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self._read_numbers()

    def _deletes(self, numbers: list[int]) -> Iterator[_Statement]:
        for number in numbers:
            yield "DELETE FROM entry WHERE id BETWEEN ? AND ?", (number << SEQUENCE_BITS, number << SEQUENCE_BITS | SEQUENCE_MASK)
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
            if sequence > SEQUENCE_MASK:
                raise LocalProtocolError(f"sequence {sequence} of a journal does not fit into {SEQUENCE_BITS} bits")
            row = numbers[journal] << SEQUENCE_BITS | sequence
            entries.append((row, entry_crc(row, blob), data.add(blob), len(blob)))
        settled = [numbers[journal] << SEQUENCE_BITS | sequence for journal, sequence in batch.settled if journal in numbers]
        yield _batch_row(heads, entries, settled, data, batch.vote)

    def _small(self, batch: Batch) -> _Statement | None:
        """The statement for one entry, at most one settlement and one context, of journals that the file knows; else None."""
        if len(batch.entries) != 1 or len(batch.settled) > 1 or len(batch.heads) != 1 or batch.special:
            return None
        (journal, sequence, blob), ((name, head),) = batch.entries[0], batch.heads.items()
        numbers = self._numbers
        if journal not in numbers or name not in numbers or sequence > SEQUENCE_MASK:
            return None
        settled = [numbers[settled] << SEQUENCE_BITS | sequence for settled, sequence in batch.settled if settled in numbers]
        row = numbers[journal] << SEQUENCE_BITS | sequence
        context = (numbers[name], name, head.owner, int(head.scope), head.upto, head.digest)
        values = (*context, row_crc(*context), row, entry_crc(row, blob), blob, settled[0] if settled else None)
        return "INSERT INTO small_batch VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values

    def _head_row(self, data: _Blob, journal: bytes, head: HeadState | None) -> tuple[Any, ...]:
        """A journal's row; one without a context has nulls and is not reported as a head."""
        number = self._numbers.get(journal)
        if number is None:
            number = self._numbers[journal] = self._next_number
            self._next_number += 1
        # int(): the checksum is of the text, which for an IntEnum differs from what is read back
        row = (head.owner, int(head.scope), head.upto, head.digest) if head is not None else (None, None, None, None)
        return (number, data.add(journal), len(journal), *row, row_crc(number, journal, *row))

    @contextmanager
    def _fatal(self) -> Iterator[None]:
        """Around each write: whatever fails in it ends the store, but for a lack of room that SQLite met before it synced anything."""
        if self._failed:
            raise DiskFailed(f"{self._path} is closed, or failed before; this process can't use it any more")
        self._failed = True
        try:
            yield
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF != sqlite3.SQLITE_FULL:
                raise DiskFailed(f"{self._path}: {error}; the node stops (rule R7)") from error
            self._roll_back()
            self._failed = False
            raise DiskFull(f"{self._path}: {error}") from error
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
        if crc != row_crc(key, value):
            raise self._damaged(f"the value {key!r}")
        return value

    def set_meta(self, key: str, value: bytes) -> None:
        """Keep a small value; durable on return. Raises DiskFull and DiskFailed, like ``commit``."""
        with self._lock, self._fatal():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, value, row_crc(key, value)))

    def close(self) -> None:
        """Give the state directory free. Nothing more can be read or written."""
        with self._lock:
            self._failed = True
            self._db.close()
