"""The replicated set: replicas that saw the same journals hold the same, in whatever order they saw them (DESIGN 4)."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.core.cluster.ranges import expand, intersection, subtract, to_ranges, union
from mesh.core.cluster.replica import SEQUENCE_LIMIT, Journal, Replica
from mesh.core.effects import Restored
from mesh.core.turn import Turn
from mesh.errors import RemoteProtocolError
from mesh.wire.entries import Member, Message, Scope
from mesh.wire.frames import encode
from mesh.wire.messages import Append, DotSet
from tests.simulation.parts import Disk

some = settings(max_examples=40)
"""A history is expensive to make."""
OWN, SHARED = b"w".ljust(16), b"ws".ljust(16)


class Holder:
    """A replica with its disk, to which ``keep`` writes what was decided."""

    def __init__(self, name: str = "w", disk: Disk | None = None) -> None:
        self.turn = Turn()
        self.disk = disk or Disk()
        own = name.encode()
        self.replica = Replica(self.turn, name, own.ljust(16), own.ljust(15) + b"s")
        self.added: list[tuple[bytes, int]] = []
        self.settled: list[tuple[bytes, int]] = []
        self.replica.on_added.append(lambda journal, sequence, entry: self.added.append((journal.name, sequence)))
        self.replica.on_settled.append(lambda journal, sequence, entry: self.settled.append((journal.name, sequence)))

    @property
    def own(self) -> Journal:
        return next(iter(self.replica.journals.values()))

    def write(self, *ids: str) -> None:
        self.replica.write_many([message(id) for id in ids])

    def keep(self) -> None:
        batch = self.turn.take_batch()
        if batch is not None:
            self.disk.apply(batch)
            self.turn.committed(batch.number)

    def cut(self, base: int = 0, budget_bytes: int = 1 << 30) -> Append:
        return self.replica.cut(self.own, base, budget_bytes, {})[0]

    def state(self) -> dict[bytes, tuple[int, list[int]]]:
        return {name: (journal.upto, sorted(journal.live)) for name, journal in self.replica.journals.items() if journal.upto}


def message(id: str) -> Message:
    return Message(id, "q", "work", b"body")


def apply_all(holder: Holder, appends: Sequence[Append]) -> None:
    """Apply until all joined on: what comes too early is refused, and sent again."""
    waiting = list(appends)
    while waiting:
        refused = []
        for append in waiting:
            try:
                holder.replica.apply(append)
            except RemoteProtocolError:
                refused.append(append)
        assert len(refused) < len(waiting), "nothing joins on"
        waiting = refused


@st.composite
def histories(draw: st.DrawFn) -> list[Append]:
    """Stretches of one journal, as its writer cut them at different times while it wrote and settled."""
    writer = Holder()
    appends: list[Append] = []
    for _ in range(draw(st.integers(1, 8))):
        for _ in range(draw(st.integers(0, 4))):
            writer.write(f"t{writer.own.upto + 1}")
        live = sorted(writer.own.live)
        for sequence in draw(st.sets(st.sampled_from(live))) if live else ():
            writer.replica.settle(writer.own, sequence)
        appends.append(writer.cut(draw(st.integers(0, writer.own.upto)), draw(st.sampled_from([1, 300, 1 << 30]))))
    appends.append(writer.cut())
    return appends


# -- merge --------------------


@some
@given(histories(), st.data())
def test_merging_is_commutative_and_idempotent(appends: list[Append], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(appends))
    repeats = data.draw(st.lists(st.sampled_from(appends), max_size=5))
    one, other = Holder("one"), Holder("other")
    apply_all(one, appends)
    apply_all(other, [*shuffled, *repeats])
    assert one.state() == other.state()
    assert not one.replica.forks
    assert not other.replica.forks


@some
@given(histories(), st.data())
def test_what_a_replica_holds_is_what_every_stretch_that_it_saw_has_live(appends: list[Append], data: st.DataObject) -> None:
    holder = Holder("h")
    apply_all(holder, data.draw(st.permutations(appends)))
    everything = range(1, max(append.upto for append in appends) + 1)
    live = set(everything)
    for append in appends:
        sequences = append.sequences or range(append.base + 1, append.base + 1 + len(append.entries))
        live -= set(range(append.base + 1, append.upto + 1)) - set(sequences)
    expected = {OWN: (len(everything), sorted(live))} if everything else {}
    assert holder.state() == expected


@some
@given(histories(), st.data())
def test_settled_never_resurrects(appends: list[Append], data: st.DataObject) -> None:
    holder = Holder("h")
    gone: set[tuple[bytes, int]] = set()
    for append in data.draw(st.permutations([*appends, *appends])):
        try:
            holder.replica.apply(append)
        except RemoteProtocolError:
            continue
        gone |= set(holder.settled)
        live = {(name, sequence) for name, journal in holder.replica.journals.items() for sequence in journal.live}
        assert not gone & live
    assert len(holder.added) == len(set(holder.added)), "no dot is added twice"
    assert len(holder.settled) == len(set(holder.settled))


@some
@given(histories(), st.data())
def test_the_disk_holds_what_the_memory_holds(appends: list[Append], data: st.DataObject) -> None:
    holder = Holder("h")
    for append in data.draw(st.permutations(appends)):
        try:
            holder.replica.apply(append)
        except RemoteProtocolError:
            continue
        if data.draw(st.booleans()):
            holder.keep()
    holder.keep()
    reborn = Holder("r")
    reborn.replica.restore(holder.disk.restored())
    assert reborn.state() == holder.state()


@some
@given(histories())
def test_a_second_application_writes_nothing(appends: list[Append]) -> None:
    holder = Holder("h")
    apply_all(holder, appends)
    holder.keep()
    for append in appends:
        if append.upto == holder.replica.journals.get(append.journal, Journal(b"", "", 0)).upto:
            holder.replica.apply(append)
    batch = holder.turn.take_batch()
    assert batch is None or not (batch.entries or batch.settled)


@given(st.sets(st.integers(1, 12)), st.sets(st.integers(1, 12)), st.integers(0, 12))
def test_two_that_compare_their_contexts_know_what_each_has_settled(here: set[int], there: set[int], seen: int) -> None:
    """Reconciliation: the peer has seen the journal up to ``seen``; each side has settled entries of its own accord."""
    holder, peer = Holder(), Holder("p")
    holder.write(*(f"t{number}" for number in range(1, 13)))
    if seen:
        peer.replica.apply(Append(OWN, "w", Scope.BULK, 0, seen, 0, [message(f"t{number}") for number in range(1, seen + 1)]))
    copy = peer.replica.journals.get(OWN, Journal(OWN, "w", Scope.BULK))
    for sequence in here:
        holder.replica.settle(holder.own, sequence)
    for sequence in there & set(copy.live):
        peer.replica.settle(copy, sequence)
    settled_there, settled_here = holder.replica.compare(copy.head(), copy.live_dots() if copy.live else None)
    assert set(settled_there) == {number for number in there if number <= seen} - here
    assert set(settled_here) == {number for number in here if number <= seen} - there
    for sequence in settled_there:
        holder.replica.settle(holder.own, sequence)
    peer.replica.settle_dots(DotSet(OWN, to_ranges(settled_here)))
    peer.replica.apply(holder.cut(copy.upto))
    assert peer.state() == holder.state()


@given(st.integers(0, 20), st.sets(st.integers(1, 20)), st.integers(1, 2000))
def test_a_journal_in_pieces_is_the_journal(size: int, settled: set[int], budget_bytes: int) -> None:
    writer, holder = Holder(), Holder("h")
    writer.write(*(f"t{number}" for number in range(1, size + 1)))
    for sequence in settled:
        writer.replica.settle(writer.own, sequence)
    base, pieces = 0, 0
    while base < writer.own.upto:
        append = writer.cut(base, budget_bytes)
        assert append.upto > base, "each piece makes progress"
        assert not holder.replica.apply(append)
        base, pieces = append.upto, pieces + 1
    assert holder.state() == writer.state()
    assert not pieces or holder.replica.journals[OWN].digest == writer.own.digest


def test_what_this_side_settled_is_returned_so_that_the_sender_can_be_told() -> None:
    writer, holder = Holder(), Holder("h")
    writer.write("t1", "t2")
    holder.replica.apply(writer.cut())
    holder.replica.settle_dots(DotSet(OWN, [1, 1]))
    writer.write("t3")
    assert holder.replica.apply(writer.cut()) == [1]
    assert sorted(holder.replica.journals[OWN].live) == [2, 3]


# -- what is refused --------------------

ENTRIES = [message("t1"), message("t2")]
BAD = {
    "a gap": Append(OWN, "w", 0, 3, 5, 0, ENTRIES),
    "a negative base": Append(OWN, "w", 0, -1, 1, 0, ENTRIES),
    "fewer sequences than entries": Append(OWN, "w", 0, 0, 2, 0, ENTRIES, [1]),
    "more entries than the stretch has": Append(OWN, "w", 0, 0, 1, 0, ENTRIES),
    "a sequence before the stretch": Append(OWN, "w", 0, 2, 4, 0, ENTRIES, [2, 3]),
    "a sequence behind the stretch": Append(OWN, "w", 0, 2, 4, 0, ENTRIES, [4, 5]),
    "sequences that do not ascend": Append(OWN, "w", 0, 2, 4, 0, ENTRIES, [4, 3]),
    "a sequence twice": Append(OWN, "w", 0, 2, 4, 0, ENTRIES, [3, 3]),
    "a sequence in the middle out of range": Append(OWN, "w", 0, 2, 5, 0, [*ENTRIES, message("t3")], [3, 9, 5]),
    "a sequence beyond the limit": Append(OWN, "w", 0, 2, SEQUENCE_LIMIT, 0, ENTRIES, [3, 4]),
}


@pytest.mark.parametrize("append", BAD.values(), ids=BAD.keys())
def test_a_stretch_that_does_not_join_on_or_is_not_well_formed_changes_nothing(append: Append) -> None:
    holder = Holder("h")
    holder.replica.apply(Append(OWN, "w", 0, 0, 2, 0, ENTRIES))
    before = holder.state()
    with pytest.raises(RemoteProtocolError):
        holder.replica.apply(append)
    assert holder.state() == before


def test_r2_two_contents_for_one_stretch_are_noticed_and_not_copied() -> None:
    """A disk that was copied or restored behind our back: the same journal, written twice from one point."""
    writer, double, holder = Holder(), Holder(), Holder("h")
    writer.write("t1", "t2")
    double.write("t1", "another")
    holder.replica.apply(writer.cut())
    before = holder.state()
    assert holder.replica.apply(double.cut()) == []
    assert holder.replica.forks == {OWN}
    assert holder.state() == before
    assert holder.replica.compare(double.own.head(), double.own.live_dots()) == ([], []), "neither side is picked silently"


# -- dropping --------------------


def test_r18b_dropping_what_was_held_for_others_takes_entries_and_context_in_one_transaction() -> None:
    writer, holder = Holder(), Holder("h")
    writer.write("t1")
    holder.replica.apply(writer.cut())
    holder.write("own")
    holder.keep()
    holder.replica.drop_foreign()
    batch = holder.turn.take_batch()
    assert batch is not None
    holder.disk.apply(batch)
    assert (set(holder.replica.journals), set(holder.disk.heads)) == (holder.replica.written(), {holder.own.name})
    assert {key[0] for key in holder.disk.entries} == {holder.own.name}


def test_r18b_journals_of_former_processes_and_shared_ones_are_kept() -> None:
    holder = Holder("h")
    holder.replica.apply(Append(b"old".ljust(16), "h", Scope.BULK, 0, 1, 0, [message("t1")]))
    holder.replica.apply(Append(SHARED, "w", Scope.SHARED, 0, 1, 0, [Member("w", "w", b"", [])]))
    holder.replica.drop_foreign()
    assert {b"old".ljust(16), SHARED} <= set(holder.replica.journals)


def test_r18b_what_was_dropped_can_be_held_again() -> None:
    """A context that outlived its entries would claim that they were settled."""
    writer, holder = Holder(), Holder("h")
    writer.write("t1")
    holder.replica.apply(writer.cut())
    holder.replica.drop_foreign()
    holder.replica.apply(writer.cut())
    assert holder.state() == writer.state()


def test_restoring_calls_no_listeners() -> None:
    writer, holder = Holder(), Holder("h")
    writer.write("t1")
    restored = Restored(heads=[writer.own.head()], entries=[(OWN, 1, encode(message("t1")))])
    holder.replica.restore(restored)
    assert holder.state() == writer.state()
    assert holder.added == []


# -- ranges --------------------

numbers = st.sets(st.integers(1, 200))


@given(numbers)
def test_ranges_are_the_numbers(chosen: set[int]) -> None:
    ranges = to_ranges(sorted(chosen))
    assert list(expand(ranges)) == sorted(chosen)
    assert len(ranges) % 2 == 0
    assert ranges == sorted(ranges)


@given(numbers, numbers)
def test_ranges_are_sets(a: set[int], b: set[int]) -> None:
    one, other = to_ranges(sorted(a)), to_ranges(sorted(b))
    assert union(one, other) == to_ranges(sorted(a | b))
    assert intersection(one, other) == to_ranges(sorted(a & b))
    assert subtract(one, other) == to_ranges(sorted(a - b))


@given(numbers, numbers)
def test_keys_within_ranges(chosen: set[int], keys: set[int]) -> None:
    assert sorted(journal_of(keys).within(to_ranges(sorted(chosen)))) == sorted(chosen & keys)


def test_a_range_is_not_walked_when_it_is_longer_than_what_is_live() -> None:
    began = time.perf_counter()
    assert journal_of({7}).within([1, 1 << 39]) == [7]
    assert subtract([1, 1 << 39], [3, 1 << 39]) == [1, 2]
    assert time.perf_counter() - began < 1


def journal_of(keys: set[int]) -> Journal:
    journal = Journal(OWN, "w", Scope.BULK)
    journal.live = {key: message("t") for key in keys}
    return journal
