"""Identifiers: well formed, unique, in order."""

from __future__ import annotations

import threading
import time
from uuid import UUID

import pytest

from mesh import ids


def test_a_task_id_is_a_uuid_of_version_7_made_now() -> None:
    before_ms = time.time_ns() // 1_000_000
    parsed = UUID(ids.task_id())
    assert (parsed.version, parsed.variant) == (7, "specified in RFC 4122")
    assert 0 <= (parsed.int >> 80) - before_ms < 10_000


def test_task_ids_of_one_process_ascend_also_within_a_millisecond() -> None:
    made = [ids.task_id() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_task_ids_of_many_threads_are_distinct_and_ascend_in_each() -> None:
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into += [ids.task_id() for _ in range(2_000)]

    threads = [threading.Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(into == sorted(into) for into in made)
    assert len({id for into in made for id in into}) == 8_000


def test_task_ids_ascend_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ids.task_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    later = [ids.task_id() for _ in range(5_000)]
    assert [first, *later] == sorted({first, *later})


@pytest.mark.parametrize(("make", "size"), [(ids.journal_name, 16), (ids.session_id, 16)])
def test_r1_journals_and_sessions_are_named_by_128_random_bits(make: object, size: int) -> None:
    made = {make() for _ in range(100)}  # type: ignore[operator]
    assert len(made) == 100
    assert {len(name) for name in made} == {size}


def test_a_worker_id_is_short_text() -> None:
    assert len({ids.worker_id() for _ in range(100)}) == 100
    assert int(ids.worker_id(), 16) < 1 << 64


def test_a_node_id_follows_from_its_key() -> None:
    assert ids.node_id(b"k" * 32) == ids.node_id(b"k" * 32) != ids.node_id(b"l" * 32)
    assert len(ids.node_id(b"k" * 32)) == 16
    assert set(ids.node_id(b"k" * 32)) <= set("abcdefghijklmnopqrstuvwxyz234567")
