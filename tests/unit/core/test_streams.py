"""Streams to one peer, and the waits for copies that they satisfy."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.cluster.copies import Waits
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.cluster.streams import LAG_S, Stream
from mesh.core.turn import Turn
from mesh.wire.entries import Member, Message, Scope
from mesh.wire.messages import Append, DotSet, Replicate

OWN, SHARED = b"w".ljust(16), b"ws".ljust(16)


class Source:
    """A writer and its stream to one peer."""

    def __init__(self, *, everything: bool = True, window_bytes: int = 1 << 20, batch_bytes: int = 1 << 20) -> None:
        self.turn = Turn()
        self.replica = Replica(self.turn, "w", OWN, SHARED)
        self.stream = Stream("p", 1, {}, everything=everything, id=1)
        self.replica.on_added.append(lambda journal, sequence, entry: self.stream.changed(journal))
        self.replica.on_settled.append(lambda journal, sequence, entry: self.stream.settle(journal, sequence))
        self.window_bytes, self.batch_bytes = window_bytes, batch_bytes

    @property
    def own(self) -> Journal:
        return self.replica.journals[OWN]

    def write(self, count: int = 1, size: int = 0) -> None:
        self.replica.write_many([Message("t", "q", "work", bytes(size)) for _ in range(count)])

    def pump(self, mark: int = 1, now: float = 0.0) -> Replicate | None:
        return self.stream.pump(self.replica, mark, now, window_bytes=self.window_bytes, batch_bytes=self.batch_bytes, deputies=[])


def sequences(batch: Replicate | None) -> list[int]:
    assert batch is not None
    return [s for append in batch.appends for s in append.sequences or range(append.base + 1, append.base + 1 + len(append.entries))]


def test_each_entry_is_sent_once() -> None:
    source = Source()
    source.write(2)
    assert sequences(source.pump()) == [1, 2]
    assert source.pump() is None
    source.write()
    assert sequences(source.pump()) == [3]


def test_the_first_batch_that_leaves_nothing_behind_says_so_even_if_it_is_empty() -> None:
    empty = Source()
    first = empty.pump()
    assert first is not None
    assert first.complete
    assert empty.pump() is None
    long = Source(batch_bytes=300)
    long.write(5, size=100)
    complete = []
    while batch := long.pump():
        complete.append(batch.complete)
    assert complete == [False] * (len(complete) - 1) + [True]
    assert len(complete) > 1


def test_an_entry_that_was_settled_before_it_was_sent_never_travels() -> None:
    source = Source()
    source.write(3)
    source.replica.settle(source.own, 2)
    batch = source.pump()
    assert sequences(batch) == [1, 3]
    assert batch is not None
    assert batch.settled == []
    source.replica.settle(source.own, 1)
    batch = source.pump()
    assert batch is not None
    assert batch.settled == [DotSet(OWN, [1, 1])]


def test_r7_a_settlement_leaves_only_when_all_that_was_decided_before_it_has_left() -> None:
    """Found by a seed: the result was still being read from the disk, and the only disk with the settlement had no result."""
    source = Source(batch_bytes=300)
    source.write()
    source.pump()
    source.write(4, size=100)
    source.replica.settle(source.own, 1)
    batches = []
    while batch := source.pump():
        batches.append(batch)
    assert len(batches) > 1
    assert [batch.settled for batch in batches[:-1]] == [[]] * (len(batches) - 1)
    assert batches[-1].settled == [DotSet(OWN, [1, 1])]


def test_r7_the_own_journal_with_the_results_leaves_before_those_that_say_what_was_settled() -> None:
    source = Source(batch_bytes=300)
    foreign = Append(b"f".ljust(16), "f", Scope.BULK, 0, 2, 0, [])
    source.replica.apply(foreign)
    source.stream.changed(source.replica.journals[foreign.journal])
    source.write(4, size=100)
    journals = []
    while batch := source.pump():
        journals.append([append.journal for append in batch.appends])
    assert len(journals) > 1
    assert all(names[0] == OWN for names in journals[:-1])
    assert [name for names in journals for name in names][-1] == foreign.journal


def test_i2_what_a_peer_sends_does_not_stand_for_what_it_was_not_sent_before() -> None:
    """Found by a seed: the peer had seen entries settled by a third one, and was never sent them, so that it could not say so."""
    source = Source(batch_bytes=300)
    source.write(4, size=100)
    sent = sequences(source.pump())
    assert max(sent) < 4
    source.replica.apply(Append(OWN, "w", Scope.BULK, 4, 5, 0, []))
    source.stream.heard(Append(OWN, "w", Scope.BULK, 4, 5, 0, []))
    while batch := source.pump():
        sent += sequences(batch)
    assert sent == [1, 2, 3, 4]
    source.stream.heard(Append(OWN, "w", Scope.BULK, 5, 6, 0, []))
    source.replica.apply(Append(OWN, "w", Scope.BULK, 5, 6, 0, []))
    assert source.pump() is None


def test_r7_what_is_still_to_be_settled_at_a_former_deputy_is_handed_back() -> None:
    source = Source(batch_bytes=300)
    source.write()
    source.pump()
    source.write(4, size=100)
    source.replica.settle(source.own, 1)
    source.pump()
    assert source.stream.narrow(source.replica.journals.values()) == {OWN: [1]}
    assert not source.stream.settled


def test_i2_a_deputy_that_is_relieved_before_it_was_sent_anything_is_sent_what_all_nodes_need() -> None:
    """Found by a seed: a deputy came back without what it had had in memory, and was relieved in the turn in which it said so."""
    source = Source()
    source.write()
    source.replica.write(Member("w", "w", b"", []), Scope.SHARED)
    source.stream.narrow(source.replica.journals.values())
    batch = source.pump()
    assert batch is not None
    assert [append.journal for append in batch.appends] == [SHARED]


def test_a_member_is_sent_only_what_all_nodes_need() -> None:
    source = Source(everything=False)
    source.write()
    source.replica.write(Member("w", "w", b"", []), Scope.SHARED)
    batch = source.pump()
    assert batch is not None
    assert [append.journal for append in batch.appends] == [SHARED]


def test_a_new_deputy_is_sent_everything_and_is_complete_only_when_it_has_it() -> None:
    source = Source(everything=False)
    source.write(2)
    source.pump()
    source.stream.acknowledge(1)
    assert source.stream.complete
    source.stream.widen(source.replica.journals.values())
    assert not source.stream.complete
    assert sequences(source.pump()) == [1, 2]
    assert not source.stream.complete
    source.stream.acknowledge(2)
    assert source.stream.complete


def test_r15_unacknowledged_bytes_to_a_follower_are_bounded_and_it_catches_up_by_state() -> None:
    source = Source(window_bytes=2_000, batch_bytes=1_000)
    source.write(100, size=100)
    sent = []
    while batch := source.pump():
        sent += sequences(batch)
    assert 0 < len(sent) < 30
    for sequence in range(1, 100):
        source.replica.settle(source.own, sequence)
    for number in range(1, 100):
        source.stream.acknowledge(number)
        while batch := source.pump():
            sent += sequences(batch)
    assert sent[-1] == 100
    assert len(sent) < 40, "what was settled while it was behind is not sent"


def test_r15_a_follower_lags_when_a_batch_is_unacknowledged_for_too_long() -> None:
    source = Source()
    source.write()
    source.pump(now=1.0)
    assert not source.stream.lags(1.0 + LAG_S)
    assert source.stream.lags(1.1 + LAG_S)
    source.stream.acknowledge(1)
    assert not source.stream.lags(99.0)


def test_r2_a_forked_journal_is_not_copied() -> None:
    source = Source()
    source.write()
    source.replica.forks.add(OWN)
    batch = source.pump()
    assert batch is not None
    assert batch.appends == []


def test_r7_a_mark_is_reached_when_the_whole_prefix_is_acknowledged() -> None:
    source = Source(batch_bytes=300)
    source.write(4, size=100)
    batches = []
    while batch := source.pump(mark=7):
        batches.append(batch.number)
    assert len(batches) > 1
    for number in batches[:-1]:
        source.stream.acknowledge(number)
        assert source.stream.idle_mark(9) < 7
    source.stream.acknowledge(batches[-1])
    assert source.stream.idle_mark(9) == 9, "nothing is pending: it has everything"


def test_r7_what_is_decided_after_a_batch_is_not_covered_by_its_acknowledgement() -> None:
    source = Source()
    source.write()
    source.pump(mark=3)
    source.write()
    source.stream.acknowledge(1)
    assert source.stream.idle_mark(4) == 3


# -- waits --------------------


class Waiting:
    def __init__(self, *marks: int) -> None:
        self.waits = Waits()
        self.ran: list[tuple[int, int]] = []
        for mark in marks:
            self.waits.add(mark, lambda copies, mark=mark: self.ran.append((mark, copies)))  # type: ignore[misc]

    def release(self, durable: int, *marks: int, needed: int = 2, short: bool = False) -> list[tuple[int, int]]:
        self.waits.release(durable, [(mark, 1) for mark in marks], needed, short=short)
        return self.ran


def test_r6_a_wait_ends_when_so_many_disks_have_what_was_decided() -> None:
    waiting = Waiting(3)
    assert waiting.release(3, 2) == []
    assert waiting.release(2, 3) == [], "the own disk counts first"
    assert waiting.release(3, 3) == [(3, 2)]


def test_r6_short_of_disks_it_ends_with_what_there_is_but_never_without_the_own() -> None:
    waiting = Waiting(3)
    assert waiting.release(2, short=True) == []
    assert waiting.release(3, short=True) == [(3, 1)]


def test_r6_a_confirm_counts_every_disk_that_has_it() -> None:
    assert Waiting(3).release(3, 3, 4, 2) == [(3, 3)]


@given(st.lists(st.integers(1, 9)).map(sorted), st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=10))
def test_waits_end_in_order_each_once_and_none_too_early(marks: list[int], progress: list[tuple[int, int]]) -> None:
    waiting = Waiting(*marks)
    durable = copy = 0
    for own, other in progress:
        durable, copy = max(durable, own), max(copy, other)
        waiting.release(durable, copy)
        assert [mark for mark, _ in waiting.ran] == [mark for mark in marks if mark <= min(durable, copy)]
    assert len(waiting.waits) == len(marks) - len(waiting.ran)


def test_a_late_word_of_an_earlier_batch_with_more_copies_says_nothing_of_a_later_one() -> None:
    source = Source()
    for _ in range(2):
        source.write()
        assert source.pump()
    source.stream.acknowledge(2, copies=1)
    source.stream.acknowledge(1, copies=2)
    assert source.stream.acked_copies == 1
