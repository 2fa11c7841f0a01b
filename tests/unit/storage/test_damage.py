"""R20: a torn tail is truncated; any other damage is put aside, what can be read is kept for later, the rest is named to the entry."""

from __future__ import annotations

import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mesh.core.effects import Batch, Gap, Restored
from mesh.errors import StateDamaged, StateLocked, StateRefused
from mesh.storage import damage, schema, wal
from mesh.storage.healing import HealingStore
from mesh.storage.schema import SEQUENCE_BITS
from mesh.storage.sqlite import SqliteStore
from mesh.wire.entries import Message, Scope
from mesh.wire.frames import encode
from mesh.wire.messages import HeadState
from tests.unit.storage.loading import loaded

JOURNALS = [bytes([number]) * 16 for number in (1, 2, 3)]
NOW_S = 1_700_000_000.0
Dot = tuple[bytes, int]


@dataclass
class Written:
    """What a state directory was made to hold, transaction by transaction."""

    states: list[dict[Dot, bytes]] = field(default_factory=lambda: [{}])
    ever: dict[Dot, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def live(self) -> dict[Dot, bytes]:
        return self.states[-1]


def fill(store: SqliteStore, written: Written, batches: int, rng: random.Random) -> None:
    """Entries small and large in three journals, some of them settled again."""
    upto = {journal: max((s for j, s in written.ever if j == journal), default=0) for journal in JOURNALS}
    for number in range(len(written.states), len(written.states) + batches):
        live, new = dict(written.live), []
        for _ in range(8):
            journal = rng.choice(JOURNALS)
            upto[journal] += 1
            dot = (journal, upto[journal])
            task = Message(f"task-{journal[0]}-{upto[journal]}", "q", "work", rng.randbytes(rng.choice((20, 200, 200, 6000))))
            new.append((*dot, encode(task)))
            live[dot] = written.ever[dot] = encode(task)
        gone = rng.sample(sorted(live), 4)
        for dot in gone:
            del live[dot]
        heads = {journal: HeadState(journal, "node", Scope.BULK, upto[journal], number) for journal in JOURNALS if upto[journal]}
        store.commit(Batch(number, [row for row in new if row[:2] in live], gone, heads, vote=(number, "node")))
        written.states.append(live)


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A node that was stopped: all of it is in the main file."""
    path = tmp_path_factory.mktemp("closed") / "state.db"
    written, store = Written(), SqliteStore(path)
    fill(store, written, 20, random.Random(1))
    store.close()
    written.files = {path.name: path.read_bytes()}
    return written


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """A node that was killed: its last transactions are in the log only."""
    path = tmp_path_factory.mktemp("killed") / "state.db"
    written, store = Written(), SqliteStore(path)
    fill(store, written, 2, random.Random(2))
    store.close()
    store = SqliteStore(path)
    fill(store, written, 12, random.Random(3))
    written.files = {name: path.with_name(name).read_bytes() for name in ("state.db", "state.db-wal")}
    store.close()
    return written


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


def put(folder: Path, files: dict[str, bytes], **changed: bytes) -> Path:
    """A state directory with these files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(changed.get(name, content))
    return folder / "state.db"


def opened(path: Path) -> Restored:
    store = HealingStore(path, clock=lambda: NOW_S)
    try:
        return loaded(store)
    finally:
        store.close()


def entries(restored: Restored) -> dict[Dot, bytes]:
    return {(journal, sequence): data for journal, sequence, data in restored.entries}


def flipped(content: bytes, place: int, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[place] ^= rng.randrange(1, 256)
    return bytes(changed)


def judge(restored: Restored, written: Written, *, stale: bool = False) -> str:
    """Nothing wrong, nothing missing without being named; returns ``sound`` or ``healed``."""
    if restored.salvage is None:
        assert entries(restored) == written.live
        return "sound"
    assert list(restored.entries) == []
    assert all(head.upto == 0 for head in restored.heads)  # nothing of its context is claimed: nothing is deleted on others
    salvaged = {(journal, sequence): data for journal, sequence, data in restored.salvage.entries if journal}
    nameless = {data for journal, _, data in restored.salvage.entries if not journal}
    known = written.ever if stale else written.live
    assert {dot: known.get(dot) for dot in salvaged} == salvaged
    for (journal, sequence), data in written.live.items():
        if (journal, sequence) not in salvaged and data not in nameless:
            assert any(gap.journal in (journal, b"") and gap.first <= sequence <= gap.last for gap in restored.salvage.gaps)
    return "healed"


# -- torn tails ------------------------------------------------------------------------------------------------------------------------


def test_r20_whatever_of_the_log_is_torn_off_what_opens_is_a_prefix_of_the_committed_transactions(killed: Written, folder: Path):
    log = killed.files["state.db-wal"]
    frame = wal.FRAME_HEADER_BYTES + 4096
    edges = range(wal.HEADER_BYTES, len(log) + 1, frame)
    places = {*edges, *(edge + shift for edge in edges for shift in (-1, 1, 23, 25, 2000)), *range(0, 64, 7)}
    before = 0
    for place in sorted(place for place in places if 0 <= place <= len(log)):
        restored = opened(put(folder, killed.files, **{"state.db-wal": log[:place]}))
        assert restored.salvage is None, place
        assert entries(restored) == killed.states[restored.term], place
        assert restored.term >= before, place
        before = restored.term
    assert before == len(killed.states) - 1


def test_r20_garbage_in_the_last_transaction_is_a_torn_tail(killed: Written, folder: Path):
    log = killed.files["state.db-wal"]
    restored = opened(put(folder, killed.files, **{"state.db-wal": log[:-100] + bytes(100)}))
    assert restored.salvage is None
    assert entries(restored) == killed.states[-2]


# -- flipped bytes -----------------------------------------------------------------------------------------------------------------------


def test_r20_a_byte_flipped_anywhere_in_the_file_is_harmless_or_salvaged_and_reported(closed: Written, folder: Path):
    rng = random.Random(4)
    content = closed.files["state.db"]
    verdicts = [
        judge(opened(put(folder, closed.files, **{"state.db": flipped(content, rng.randrange(len(content)), rng)})), closed)
        for _ in range(150)
    ]
    assert {"sound", "healed"} == set(verdicts)


def test_r20_a_byte_flipped_anywhere_in_the_first_page_loses_nothing(closed: Written, folder: Path):
    rng = random.Random(5)
    content = closed.files["state.db"]
    for place in [*range(100), *rng.sample(range(100, 4096), 60)]:
        restored = opened(put(folder, closed.files, **{"state.db": flipped(content, place, rng)}))
        if judge(restored, closed) == "healed":
            assert restored.salvage is not None
            assert len(restored.salvage.entries) == len(closed.live)
            assert restored.term == len(closed.states) - 1


def test_r20_a_byte_flipped_in_the_middle_of_the_log_is_no_torn_tail(killed: Written, folder: Path):
    rng = random.Random(6)
    log = killed.files["state.db-wal"]
    for _ in range(100):
        restored = opened(put(folder, killed.files, **{"state.db-wal": flipped(log, rng.randrange(len(log)), rng)}))
        if restored.salvage is None and entries(restored) != killed.live:
            assert entries(restored) == killed.states[-2]  # in the last transaction: nothing tells it from a torn one
        else:
            judge(restored, killed, stale=True)


def test_r20_several_pages_overwritten_at_once_lose_only_what_was_on_them(closed: Written, folder: Path):
    rng = random.Random(7)
    for _ in range(20):
        content = bytearray(closed.files["state.db"])
        for page in rng.sample(range(1, len(content) // 4096), 5):
            content[page * 4096 : (page + 1) * 4096] = rng.randbytes(4096)
        assert judge(opened(put(folder, closed.files, **{"state.db": bytes(content)})), closed, stale=True) == "healed"


def test_r20_a_file_that_was_cut_off_keeps_what_is_left(closed: Written, folder: Path):
    content = closed.files["state.db"]
    for size in (4096 * 10, len(content) // 2, len(content) - 4096, len(content) - 1):
        restored = opened(put(folder, closed.files, **{"state.db": content[:size]}))
        assert judge(restored, closed) == "healed"
        assert restored.salvage is not None
        assert restored.salvage.entries


def test_r20_a_damaged_row_is_named_by_journal_sequence_and_task(closed: Written, folder: Path):
    dot, data = next((dot, data) for dot, data in sorted(closed.live.items()) if len(data) < 300)
    content = closed.files["state.db"]
    restored = opened(put(folder, closed.files, **{"state.db": flipped(content, content.index(data) + len(data) - 1, random.Random(8))}))
    assert restored.salvage is not None
    assert restored.salvage.gaps == [Gap(*dot, dot[1], f"task-{dot[0][0]}-{dot[1]}")]
    assert len(restored.salvage.entries) == len(closed.live) - 1


# -- what becomes of the file --------------------------------------------------------------------------------------------------------


def damaged(closed: Written, folder: Path) -> Path:
    content = closed.files["state.db"]
    data = next(data for _, data in sorted(closed.live.items()) if len(data) < 300)
    return put(folder, closed.files, **{"state.db": flipped(content, content.index(data) + 40, random.Random(9))})


def test_r20_the_damaged_file_is_put_aside_and_reported_never_deleted(closed: Written, folder: Path):
    path = damaged(closed, folder)
    before = path.read_bytes()
    store = HealingStore(path, clock=lambda: NOW_S)
    loaded(store)
    assert (folder / "state.db.damaged-20231114T221320Z").read_bytes() == before
    [(_, found)] = damage.reports(folder)
    assert found.file == "state.db.damaged-20231114T221320Z"
    assert (found.salvaged, len(found.unreadable), found.whole_at) == (len(closed.live) - 1, 1, 0)
    store.close()
    path.write_bytes(flipped(path.read_bytes(), 20, random.Random(1)))
    opened(path)
    assert len(list(folder.glob("state.db.damaged-*"))) == 2


def test_r20_what_was_salvaged_waits_through_restarts_until_it_is_dealt_with(closed: Written, folder: Path):
    path = damaged(closed, folder)
    salvage = opened(path).salvage
    assert salvage is not None
    store = HealingStore(path)
    assert loaded(store).salvage == salvage
    store.commit(Batch(1, [(JOURNALS[0], 1, b"new")]))
    assert loaded(store).salvage == salvage
    store.commit(Batch(2, recovered=True))
    store.close()
    restored = opened(path)
    assert restored.salvage is None
    assert entries(restored) == {(JOURNALS[0], 1): b"new"}


def test_the_vote_of_a_damaged_file_is_kept(closed: Written, folder: Path):
    restored = opened(damaged(closed, folder))
    assert (restored.term, restored.voted_for) == (len(closed.states) - 1, "node")


def test_what_waits_is_salvaged_once_more_when_the_new_file_is_damaged_too(closed: Written, folder: Path):
    path = damaged(closed, folder)
    first = opened(path).salvage
    path.write_bytes(flipped(path.read_bytes(), 20, random.Random(1)))
    second = opened(path).salvage
    assert first is not None
    assert second is not None
    assert sorted(second.entries) == sorted(first.entries)
    assert second.gaps == first.gaps


@pytest.mark.parametrize("renamed", [False, True])
def test_a_start_that_dies_while_it_heals_is_finished_by_the_next(closed: Written, folder: Path, renamed: bool):
    path = damaged(closed, folder)
    salvage = opened(put(folder.with_name("other"), {"state.db": path.read_bytes()})).salvage
    fresh = folder / "state.db.salvaged"
    if renamed:  # it died between two renames
        shutil.copy(folder.with_name("other") / "state.db", fresh)
        path.rename(folder / "state.db.damaged-before")
        (folder / "state.db-wal").write_bytes(b"a log that belongs to the file that was put aside")
    else:  # or before the first one
        SqliteStore(fresh).close()
    assert opened(path).salvage == salvage
    assert not fresh.exists()
    assert len(list(folder.glob("state.db.damaged-*"))) == 1 + renamed
    if renamed:
        assert b"put aside" in next(folder.glob("state.db.damaged-*-wal")).read_bytes()


def test_two_processes_do_not_heal_one_file_at_once(closed: Written, folder: Path):
    path = damaged(closed, folder)
    other = SqliteStore(folder / "state.db.salvaged")
    with pytest.raises(StateLocked):
        HealingStore(path)
    other.close()
    assert path.exists()


def test_another_programs_file_is_not_put_aside(folder: Path):
    folder.mkdir()
    path = folder / "state.db"
    SqliteStore(path).close()
    store = SqliteStore(path)
    store._db.execute("DROP TABLE meta")
    store._db.execute("PRAGMA application_id = 7")
    store.close()
    with pytest.raises(StateRefused, match="another program"):
        HealingStore(path)
    assert [file.name for file in folder.iterdir()] == ["state.db"]


def test_r20_the_report_says_what_nobody_has_once_the_node_is_whole(closed: Written, folder: Path):
    path = damaged(closed, folder)
    store = HealingStore(path, clock=lambda: NOW_S)
    salvage = loaded(store).salvage
    assert salvage is not None
    assert store.recovered(3, salvage.gaps) == [f"{gap.journal.hex()}:{gap.first} (task {gap.task})" for gap in salvage.gaps]
    store.close()
    [(_, found)] = damage.reports(folder)
    assert (found.whole_at, found.kept, found.lost) == (NOW_S, 3, found.unreadable)


def test_a_changed_trigger_is_noticed_before_it_writes_anything(closed: Written, folder: Path):
    content = closed.files["state.db"]
    place = content.index(b"json_extract(value, '$[3]')") + len(b"json_extract(value, '$[")
    changed = content[:place] + b"4" + content[place + 1 :]
    path = put(folder, closed.files, **{"state.db": changed})
    with pytest.raises(StateDamaged, match="catalogue"):
        SqliteStore(path)


def test_rows_of_other_tables_are_never_taken_for_entries():
    assert schema.entry_crc(1 << SEQUENCE_BITS, b"x") != schema.entry_crc(2 << SEQUENCE_BITS, b"x")
