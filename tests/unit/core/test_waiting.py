"""Who waits for which result, in a dict and beyond it in a table: nobody can tell which."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mesh.core.edge.waiting as waiting_module
from mesh.core.edge.waiting import Waiting
from mesh.core.id_table import BLOCK
from mesh.ids import task_id

IDS = ["t1", "t2", *(str(UUID(int=number << 70)) for number in range(4))]
steps = st.lists(st.tuples(st.sampled_from(["add", "add", "add", "pop", "close"]), st.sampled_from(IDS), st.integers(0, 2)))


@given(steps, st.integers(0, 7))
def test_waits_are_sets_of_sessions_that_are_there(taken: list[tuple[str, str, int]], few_max: int) -> None:
    sessions = [f"{number}".encode() for number in range(3)]
    live = dict.fromkeys(sessions)
    waiting, model = Waiting(live, few_max), dict[str, set[bytes]]()
    for step, id, number in taken:
        session = sessions[number]
        if step == "close":
            sessions[number] = session + b"+"  # a session's id is never used again
            del live[session]
            live[sessions[number]] = None
            waiting.closed(session)
            waiting.tick()
            model = {id: left for id, those in model.items() if (left := those - {session})}
        elif step == "add":
            waiting.add(id, session)
            model.setdefault(id, set()).add(session)
        else:
            assert {one for one in waiting.pop(id) if one in live} == model.pop(id, set())
    assert {id: {one for one in waiting.get(id) if one in live} for id in IDS} == {id: model.get(id, set()) for id in IDS}
    assert sorted(waiting.ids()) == sorted(model)


def test_a_new_coordinator_is_told_all_that_is_waited_for_little_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting_module, "IDS_A_TICK", 100)
    live = {b"a": None, b"gone": None}
    waiting = Waiting(live, few_max=10)
    ids = [task_id() for _ in range(3000)]
    for id in ids:
        waiting.add(id, b"a")
    waiting.add("for nobody", b"gone")
    del live[b"gone"]
    waiting.closed(b"gone")
    told = waiting.tell_again()
    assert told == ids[:10]
    while more := waiting.tick():
        assert len(more) < 100 + 2 * BLOCK, "to the end of a block"
        told += more
    assert sorted(told) == sorted(ids)


def test_a_new_coordinator_is_told_of_a_few_more_at_the_next_tick() -> None:
    """Not in as many ticks as the table has blocks: of what got lost with the old coordinator somebody waits for the answer."""
    waiting = Waiting({b"a": None}, few_max=10)
    ids = [task_id() for _ in range(1000)]
    for id in ids:
        waiting.add(id, b"a")
    assert sorted(waiting.tell_again() + waiting.tick()) == sorted(ids)
    assert waiting.tick() == []
