"""The index of messages whose bodies are on the disk only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.cluster.paged import Paged, Place
from mesh.core.cluster.ranges import to_ranges
from mesh.core.id_table import KEY_BYTES

sequences = st.integers(1, 3000)


def place(sequence: int) -> Place:
    return Place(sequence.to_bytes(KEY_BYTES, "big"), sequence % 3, sequence * 2)


@given(st.lists(st.tuples(st.booleans(), sequences), max_size=80), sequences, sequences)
def test_what_is_paged_is_a_dict_by_sequence(steps: list[tuple[bool, int]], first: int, last: int) -> None:
    paged, model = Paged(), dict[int, Place]()
    for add, sequence in steps:
        if add and sequence not in model:
            paged.add(sequence, *place(sequence))
            model[sequence] = place(sequence)
        elif not add:
            assert paged.pop(sequence) == model.pop(sequence, None)
        assert len(paged) == len(model)
        assert (sequence in paged) == (sequence in model)
        assert paged.get(sequence) == model.get(sequence)
    within = [key for key in sorted(model) if first <= key <= last]
    assert list(paged.walk(first, last)) == [(key, model[key].lane, model[key].size) for key in within]
    assert list(paged.sequences(first, last)) == within
    assert paged.ranges() == to_ranges(sorted(model))


@given(st.lists(st.sets(sequences, min_size=1).map(sorted), max_size=4), st.lists(st.sets(sequences).map(sorted), max_size=4))
def test_many_are_noted_and_forgotten_at_once(added: list[list[int]], taken: list[list[int]]) -> None:
    paged, model = Paged(), dict[int, Place]()
    for part in added:
        new = [sequence for sequence in part if sequence > max(model, default=0)]
        places = [place(sequence) for sequence in new]
        paged.extend(new, b"".join(one.key for one in places), [one.lane for one in places], [one.size for one in places])
        model.update(zip(new, places, strict=True))
    for part in [*taken, *added]:
        here = [sequence for sequence in part if sequence in model]
        assert paged.take(part) == (here, b"".join(model[sequence].key for sequence in here))
        for sequence in here:
            del model[sequence]
        assert {sequence: paged.get(sequence) for sequence in paged.sequences(1, 3000)} == model
        assert len(paged) == len(model)


@given(st.sets(sequences))
def test_runs_are_all_that_is_paged_by_lane(chosen: set[int]) -> None:
    paged = Paged()
    for sequence in sorted(chosen):
        paged.add(sequence, *place(sequence))
    found: list[int] = []
    for stretch in paged.runs():
        run = [sequence for sequence, lane, _ in paged.walk(stretch.first, stretch.last) if lane == stretch.lane]
        assert (run[0], len(run), 2 * sum(run), stretch.key) == (stretch.first, stretch.messages, stretch.size, place(stretch.first).key)
        found += run
    assert sorted(found) == sorted(chosen)
