"""The table of ids is a dict in fewer bytes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.core import id_table
from mesh.core.id_table import FIRST, IdTable, key_of, keys_of, text_of
from mesh.ids import task_id

ids = st.one_of(st.uuids().map(str), st.text(min_size=1, max_size=40), st.uuids().map(lambda id: str(id).upper()))
numbers = st.integers(0, (1 << 64) - 1)


few = st.integers(0, 1 << 20).map(lambda number: text_of(number.to_bytes(16, "big")))
"""UUIDs that lie close to each other."""


def everything(table: IdTable) -> list[tuple[str, int]]:
    return sorted(table.walk(FIRST, len(table))[0])


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
    assert everything(table) == sorted(model.items())
    assert all(table.id_of(key_of(id)) == id for id in model)


@pytest.fixture(scope="module")
def small_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_table, "BLOCK", 4)
        yield


@pytest.mark.usefixtures("small_blocks")
@given(st.lists(st.tuples(st.sampled_from(["add", "discard"]), st.integers(0, 100), st.integers(1, 30), st.integers(1, 3)), max_size=20))
def test_many_ids_are_added_and_forgotten_at_once(steps: list[tuple[str, int, int, int]]) -> None:
    table, model = IdTable(), dict[str, int]()
    for step, start, count, stride in steps:
        names = [text_of(number.to_bytes(16, "big")) for number in range(start, start + count * stride, stride)]
        if step == "add":
            added = table.add_many(names, range(start, start + count))
            assert (added is None) == any(id in model for id in names)
            if added is not None:
                assert added == keys_of(names)
                model.update(zip(names, range(start, start + count), strict=True))
        else:
            table.discard_many(keys_of(names) or b"")
            for id in names:
                model.pop(id, None)
        assert everything(table) == sorted(model.items())
        assert all(table.get(key_of(id)) == model.get(id) for id in names)
        assert all(map(table.may_have, model))
        assert not any(table.may_have(id) for id in names if id < min(model, default=""))


@given(st.lists(ids | few, max_size=5, unique=True), st.lists(ids | few, min_size=1, max_size=10))
def test_all_ids_of_several_are_added_or_none(before: list[str], names: list[str]) -> None:
    table = IdTable()
    for number, id in enumerate(before):
        table.add(id, number)
    added = table.add_many(names, range(100, 100 + len(names)))
    new = len({*before, *names}) == len(before) + len(names)
    assert added == (b"".join(map(key_of, names)) if new else None)
    left = dict(zip(before, range(len(before)), strict=True))
    assert everything(table) == sorted([*left.items(), *zip(names, range(100, 100 + len(names)), strict=True)] if new else left.items())


@given(st.lists(st.tuples(ids | few, numbers), max_size=30, unique_by=lambda pair: pair[0]), numbers)
def test_a_round_of_sweeping_forgets_what_is_not_to_be_kept(pairs: list[tuple[str, int]], limit: int) -> None:
    table = IdTable()
    for id, number in pairs:
        table.add(id, number)
    rounds = 0
    while not table.sweep(lambda number: number < limit, 4):
        rounds += 1
        assert rounds <= len(pairs)
    assert everything(table) == sorted(pair for pair in pairs if pair[1] < limit)


def test_a_walk_goes_on_where_it_was_though_what_lies_there_has_changed() -> None:
    table = IdTable()
    names = [text_of(number.to_bytes(16, "big")) for number in range(3000)]
    assert table.add_many(names, range(3000)) is not None
    seen: list[str] = []
    after: bytes | None = FIRST
    while after is not None:
        found, after = table.walk(after, 300)
        assert len(found) < 1000, "a piece at a time"
        seen += [id for id, _ in found]
        table.discard_many(keys_of(names[: len(seen) + 100]) or b"")
    assert seen[-1] == names[-1]
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen)
    assert len(table) == 0


def test_the_key_of_a_uuid_is_the_uuid() -> None:
    id = task_id()
    assert text_of(key_of(id)) == id
    assert key_of(id).hex() == id.replace("-", "")
    assert key_of(id.upper()) != key_of(id), "another text is another id"
