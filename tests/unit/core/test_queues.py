"""Queues: oldest first, by what a worker can run, with true counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.broker.queues import Queue, Record
from mesh.core.cluster.replica import Journal
from mesh.core.states import RecordEvent, RecordState
from mesh.wire.entries import Message, Scope

JOURNAL = Journal(b"j" * 16, "a", Scope.BULK)


def record(order: int, task: str = "a") -> Record:
    return Record(Message(f"t{order}", "q", task, b""), JOURNAL, order, order)


def orders(records: list[Record]) -> list[int]:
    return [item.order for item in records]


@given(st.lists(st.sampled_from("abc"), max_size=20), st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 6)), max_size=10))
def test_a_worker_is_given_the_oldest_of_what_it_can_run(tasks: list[str], takes: list[tuple[set[str], int]]) -> None:
    queue = Queue("q", lambda queue, task: 0)
    waiting = dict(enumerate(tasks))
    for order, task in waiting.items():
        queue.push(record(order, task))
    for able, limit in takes:
        taken = queue.take(able, limit)
        assert orders(taken) == [order for order, task in sorted(waiting.items()) if task in able][:limit]
        for item in taken:
            del waiting[item.order]
            assert item.state is RecordState.LEASED
        assert queue.ready == len(waiting)
        assert queue.unsettled == len(tasks) - len(waiting)
        assert sorted(queue.tasks_waiting()) == sorted(set(waiting.values()))


@given(st.permutations(range(6)))
def test_what_is_given_back_stands_again_where_it_was(returned: list[int]) -> None:
    queue = Queue("q", lambda queue, task: 0)
    for order in range(8):
        queue.push(record(order))
    taken = {item.order: item for item in queue.take("a", 6)}
    for order in returned:
        queue.leased -= 1
        taken[order].move(RecordEvent.GIVEN_BACK)
        queue.push_back(taken[order])
    assert orders(queue.take("a", 10)) == list(range(8))


def test_a_record_that_ended_while_it_waited_is_skipped() -> None:
    queue = Queue("q", lambda queue, task: 0)
    records = [record(order) for order in range(3)]
    for item in records:
        queue.push(item)
    records[0].move(RecordEvent.ENDED)
    queue.ready -= 1
    assert orders(queue.take("a", 1)) == [1]
    assert queue.ready == 1


def test_a_queue_is_empty_only_without_any_record() -> None:
    queue = Queue("q", lambda queue, task: 0)
    assert queue.empty
    queue.push(record(1))
    assert not queue.empty
    queue.take("a", 1)
    assert not queue.empty
    queue.leased = 0
    queue.delayed = 1
    assert not queue.empty
