"""The tables of a state file, their versions, and the checksums of their rows."""

from __future__ import annotations

import sqlite3
import zlib
from functools import cache

APPLICATION_ID = 0x4D455348
"""``MESH`` in ASCII, at offset 68 of the file: tells ours from another program's database."""
SEQUENCE_BITS = 40
"""An entry's row is journal number << 40 | sequence: 2^40 entries a journal, 2^23 journals a file, appended in key order."""
SEQUENCE_MASK = (1 << SEQUENCE_BITS) - 1

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
# What was salvaged from a damaged file lies aside until the mesh has judged it (R20): readable entries, and the dots that were not.
_VERSION_2 = (
    "CREATE TABLE salvaged(no INTEGER PRIMARY KEY, journal BLOB NOT NULL, sequence INTEGER NOT NULL, data BLOB NOT NULL,"
    " crc INTEGER NOT NULL)",
    "CREATE TABLE gap(no INTEGER PRIMARY KEY, journal BLOB NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, task TEXT NOT NULL,"
    " crc INTEGER NOT NULL)",
)
MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2)
"""Statements that take a file from the version of their index to the next; an empty file is version 0.

To change the schema: append a version, never edit an old one; keep a file of the version before as a fixture (tests/unit/storage/fixtures).
"""
SCHEMA_VERSION = len(MIGRATIONS)

SMALL_BATCH = (
    "PRAGMA temp_store = MEMORY",
    "CREATE TEMP VIEW small_batch AS SELECT NULL AS no, NULL AS name, NULL AS owner, NULL AS scope, NULL AS upto, NULL AS digest,"
    " NULL AS head_crc, NULL AS id, NULL AS crc, NULL AS data, NULL AS settled",
    # An upsert leaves the index of names alone, so one page less goes to the log.
    "CREATE TEMP TRIGGER small_batch_rows INSTEAD OF INSERT ON small_batch BEGIN"
    " INSERT INTO journal VALUES (NEW.no, NEW.name, NEW.owner, NEW.scope, NEW.upto, NEW.digest, NEW.head_crc) ON CONFLICT (no) DO UPDATE"
    " SET owner = excluded.owner, scope = excluded.scope, upto = excluded.upto, digest = excluded.digest, crc = excluded.crc;"
    " INSERT OR REPLACE INTO entry VALUES (NEW.id, NEW.crc, NEW.data);"
    " DELETE FROM entry WHERE id = NEW.settled; END",
)
"""For each connection, as it is no part of the file: the commit of one entry and at most one settlement without any JSON, still as one
statement (docs/decisions/042)."""

SCHEMA_KEY = "schema"
"""The small value that repeats the version, as the header that says it first has no checksum."""
DAMAGED_KEY = "damaged"
"""The small value that says that a file replaces a damaged one, until the node is whole; its text says what was found."""


def row_crc(*values: object) -> int:
    """Checksum of a small row: of its values' text."""
    return zlib.crc32(repr(values).encode())


def entry_crc(row: int, data: bytes) -> int:
    """Checksum of an entry that counts its place in, so that a row under a wrong id is noticed too."""
    return zlib.crc32(data, row & 0xFFFFFFFF ^ row >> 32)


@cache
def objects(version: int) -> tuple[tuple[str, str, str, str | None], ...]:
    """What SQLite's own catalogue says in a sound file of that version. Nothing but a comparison protects it: it has no checksum."""
    with_all = sqlite3.connect(":memory:")
    try:
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                with_all.execute(statement)
        return catalogue(with_all)
    finally:
        with_all.close()


def catalogue(database: sqlite3.Connection) -> tuple[tuple[str, str, str, str | None], ...]:
    """All tables, indexes, views and triggers: type, name, table, the statement that made them."""
    return tuple(database.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"))
