"""How the memory of a node is judged: a limit, a distance between on and off, and what Python keeps without using it."""

from __future__ import annotations

from mesh.storage.footprint import CLEAR, Footprint, resident_bytes, total_bytes

MIB = 1 << 20


class Process:
    """A process whose memory the test decides."""

    def __init__(self, total: int = 8192 * MIB) -> None:
        self.bytes = 50 * MIB
        self.footprint = Footprint(lambda: self.bytes, lambda: total)

    def look(self, taken_mib: int, entries: int = 0, *, limit: int = 1000 * MIB, fraction: float = 1.0) -> bool:
        self.bytes = taken_mib * MIB
        return bool(self.footprint.look(entries, limit, fraction))


def test_above_the_lesser_of_bytes_and_share_memory_is_short() -> None:
    process = Process()
    assert not process.look(1000)
    assert process.look(1001)
    assert not Process().look(4000, limit=5000 * MIB, fraction=0.5)
    assert Process().look(4097, limit=5000 * MIB, fraction=0.5)


def test_it_is_over_below_the_limit_by_some_distance_only() -> None:
    process = Process()
    assert process.look(1001, 1000)
    assert process.look(int(1000 * CLEAR) + 1, 1000)
    assert not process.look(int(1000 * CLEAR) - 1, 1000)
    assert not process.look(int(1000 * CLEAR) + 1, 1000)


def test_memory_that_python_keeps_after_the_entries_have_gone_does_not_count() -> None:
    process = Process()
    assert process.look(1200, 100_000)
    assert process.look(1200, 90_000)  # 1,085 MiB are in use
    assert not process.look(1200, 50_000)
    assert not process.look(1200, 70_000)  # 855 MiB: it is used again
    assert process.look(1250, 100_000)


def test_what_was_there_before_the_first_entry_counts_always() -> None:
    process = Process()
    process.look(2000, 10)
    assert process.look(2000, 0, limit=40 * MIB)
    assert not process.look(2000, 0, limit=60 * MIB)


def test_the_reason_names_both_settings() -> None:
    process = Process()
    process.look(1200, 7)
    assert "7 entries" in process.footprint.high
    assert "(memory_limit_bytes, memory_limit_fraction)" in process.footprint.high


def test_this_process_and_this_machine_are_measured() -> None:
    assert 1 * MIB < resident_bytes() < total_bytes()
