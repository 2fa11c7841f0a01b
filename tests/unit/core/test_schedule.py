"""When which messages are due is known in a few bytes for each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.cluster.schedule import Schedule

instants = st.integers(1, 200_000) | st.integers(1, 1 << 60)
steps = st.one_of(st.tuples(st.just("add"), instants), st.tuples(st.just("take"), instants))


@given(st.lists(steps, max_size=60), st.integers(1, 5))
def test_what_is_due_is_taken_earliest_first_and_nothing_else(taken: list[tuple[str, int]], limit: int) -> None:
    schedule, model = Schedule(), list[tuple[int, int]]()
    for sequence, (step, at_ms) in enumerate(taken, 1):
        if step == "add":
            schedule.add(sequence, at_ms)
            model = sorted([*model, (at_ms, sequence)])
        else:
            due = [pair for pair in model if pair[0] <= at_ms][:limit]
            model = model[len(due) :]
            assert schedule.take(at_ms, limit) == [sequence for _, sequence in due]
        assert bool(schedule) == bool(model)
    schedule.clear()
    assert schedule.take(1 << 61, 100) == []
