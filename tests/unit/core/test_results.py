"""Kept results: one for each task, the oldest go first, never more bytes than allowed (promise 7, R28)."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import Settings
from mesh.core.broker.results import OVERHEAD_BYTES, Results
from mesh.core.cluster.replica import Journal
from mesh.wire.entries import Result, Scope, Status

JOURNALS = [Journal(name, "a", Scope.BULK) for name in (b"x" * 16, b"y" * 16)]
EXPIRES_S = 10.0


@dataclass
class Kept:
    """Results with what they settled."""

    max_bytes: int = 1 << 20
    settled: list[tuple[bytes, int]] = field(default_factory=list)
    results: Results = field(init=False)

    def __post_init__(self) -> None:
        limits = Settings(result_expires_s=EXPIRES_S)
        limits.max_results_bytes = self.max_bytes
        self.results = Results(limits, lambda journal, sequence: self.settled.append((journal.name, sequence)))

    def add(self, id: str, at_ms: int, sequence: int, journal: int = 0, body: bytes = b"") -> None:
        self.results.add(Result(id, Status.SUCCESS, body, at_ms=at_ms), JOURNALS[journal], sequence)

    def ids(self) -> set[str]:
        return {id for id in map(str, range(100)) if id in self.results}


@given(st.permutations([(5, 1, 0), (5, 1, 1), (5, 2, 0), (7, 3, 0), (9, 4, 1)]))
def test_r28_of_several_results_for_one_task_the_earliest_stands_whatever_the_order(order: list[tuple[int, int, int]]) -> None:
    kept = Kept()
    for at_ms, sequence, journal in order:
        kept.add("1", at_ms, sequence, journal)
    stands = kept.results.get("1")
    assert stands is not None
    assert stands.at_ms == 5
    everything = {(JOURNALS[journal].name, sequence) for _, sequence, journal in order}
    assert everything - set(kept.settled) == {(JOURNALS[0].name, 1)}
    assert len(kept.settled) == len(set(kept.settled)) == 4
    assert (len(kept.results), kept.results.bytes) == (1, OVERHEAD_BYTES)


times = st.lists(st.integers(0, 30_000), max_size=30)


@settings(max_examples=50)
@given(times, st.integers(0, 40_000))
def test_results_go_when_they_are_older_than_result_expires_in_whatever_order_they_came(ages: list[int], now_ms: int) -> None:
    kept = Kept()
    for number, at_ms in enumerate(ages):
        kept.add(str(number), at_ms, number + 1)
    kept.results.expire(now_ms)
    assert kept.ids() == {str(number) for number, at_ms in enumerate(ages) if at_ms + EXPIRES_S * 1000 > now_ms}
    assert kept.results.evicted == 0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 500)), max_size=30))
def test_over_the_limit_the_oldest_go_first_and_are_counted(items: list[tuple[int, int]]) -> None:
    kept = Kept(max_bytes=3000)
    for number, (at_ms, size) in enumerate(items):
        kept.add(str(number), at_ms, number + 1, body=b"x" * size)
    kept.results.expire(0)
    assert kept.results.bytes <= 3000
    left = kept.ids()
    assert kept.results.evicted == len(items) - len(left)
    oldest_kept = min((items[int(id)][0] for id in left), default=None)
    assert all(oldest_kept is None or at_ms <= oldest_kept for number, (at_ms, _) in enumerate(items) if str(number) not in left)


actions = st.lists(st.tuples(st.sampled_from(["add", "forget", "lost", "expire"]), st.integers(0, 9), st.integers(0, 20_000)), max_size=60)


@given(actions)
def test_the_bytes_are_those_of_what_is_kept(steps: list[tuple[str, int, int]]) -> None:
    kept = Kept(max_bytes=4000)
    dots: dict[str, int] = {}
    for sequence, (action, number, at_ms) in enumerate(steps, 1):
        id = str(number)
        if action == "add":
            kept.add(id, at_ms, sequence, body=bytes(number * 50))
            dots[id] = sequence
        elif action == "forget":
            kept.results.forget(id)
        elif action == "lost":
            kept.results.lost(JOURNALS[0], dots.get(id, 0), id)
        else:
            kept.results.expire(at_ms)
    assert kept.results.bytes == sum(OVERHEAD_BYTES + int(id) * 50 for id in kept.ids())
    assert len(kept.results) == len(kept.ids())
    assert len(kept.settled) == len(set(kept.settled))


def test_a_result_that_was_settled_elsewhere_is_forgotten_only_if_it_is_the_one_that_stands() -> None:
    kept = Kept()
    kept.add("1", 5, 1)
    kept.results.lost(JOURNALS[1], 1, "1")
    assert "1" in kept.results
    kept.results.lost(JOURNALS[0], 1, "1")
    assert "1" not in kept.results
    assert not kept.results.forget("1")
