"""The table of ids is a dict in fewer bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.id_table import BUCKETS, IdTable, key_of, text_of
from mesh.ids import task_id

ids = st.one_of(st.uuids().map(str), st.text(min_size=1, max_size=40), st.uuids().map(lambda id: str(id).upper()))
numbers = st.integers(0, (1 << 64) - 1)


@given(
    st.lists(st.tuples(st.sampled_from(["add", "pop"]), st.integers(0, 9), numbers), max_size=60), st.lists(ids, min_size=10, max_size=10)
)
def test_a_table_of_ids_is_a_dict(steps: list[tuple[str, int, int]], names: list[str]) -> None:
    table, model = IdTable(), dict[str, int]()
    for step, index, number in steps:
        id = names[index]
        if step == "add":
            assert (table.add(id, number) is None) == (id in model), "the first stands"
            model.setdefault(id, number)
        else:
            assert table.pop(key_of(id)) == model.pop(id, None)
        assert len(table) == len(model)
    assert all(table.may_have(id) for id in model)
    assert {id: table.get(key_of(id)) for id in names} == {id: model.get(id) for id in names}
    assert sorted(table.items(0, BUCKETS)) == sorted(model.items())
    assert all(table.id_of(key_of(id)) == id for id in model)


@given(st.lists(st.tuples(ids, numbers), max_size=30, unique_by=lambda pair: pair[0]), numbers)
def test_a_round_of_sweeping_forgets_what_is_not_to_be_kept(pairs: list[tuple[str, int]], limit: int) -> None:
    table = IdTable()
    for id, number in pairs:
        table.add(id, number)
    rounds = 0
    while not table.sweep(lambda number: number < limit, BUCKETS // 4):
        rounds += 1
    assert rounds == 3
    assert sorted(table.items(0, BUCKETS)) == sorted(pair for pair in pairs if pair[1] < limit)


def test_the_key_of_a_uuid_is_the_uuid() -> None:
    id = task_id()
    assert text_of(key_of(id)) == id
    assert key_of(id).hex() == id.replace("-", "")
    assert key_of(id.upper()) != key_of(id), "another text is another id"
