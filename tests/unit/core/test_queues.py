"""Queues: by what a worker can run, priority and age, with true counts."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from mesh.config import Settings
from mesh.core.broker.delayed import Delayed
from mesh.core.broker.lanes import Run
from mesh.core.broker.queues import Queue, Record
from mesh.core.broker.selection import SAMPLES_MAX, Ageing, take
from mesh.core.cluster.replica import Journal
from mesh.core.kinds import kind_of
from mesh.core.states import RecordEvent, RecordState
from mesh.wire.entries import Message, Scope
from mesh.wire.topology import Properties

JOURNAL = Journal(b"j" * 16, "a", Scope.BULK)
AGEING_S = 60.0


def record(order: int, task: str = "a", priority: int = 0, target: str = "") -> Record:
    properties = Properties(priority=priority, target=target) if priority or target else None
    return Record(Message(f"t{order}", "q", task, b"", properties=properties), JOURNAL, order, order)


def orders(records: list[Record]) -> list[int]:
    return [item.order for item in records]


def new_queue(name: str = "q") -> Queue:
    return Queue(name, lambda queue, kind: 0)


def take_from(queues: Queue | Iterable[Queue], able: Iterable[str], limit: int, ageing: Ageing | None = None) -> list[Record]:
    queues = [queues] if isinstance(queues, Queue) else queues
    lanes = [lane for queue in queues for lane in queue.lanes.values() if lane.task in set(able)]
    return take(lanes, limit, ageing or Ageing(Settings(priority_ageing_s=0)))


@given(st.lists(st.sampled_from("abc"), max_size=20), st.lists(st.tuples(st.sets(st.sampled_from("abc")), st.integers(0, 6)), max_size=10))
def test_a_worker_is_given_the_oldest_of_what_it_can_run(tasks: list[str], takes: list[tuple[set[str], int]]) -> None:
    queue = new_queue()
    waiting = dict(enumerate(tasks))
    for order, task in waiting.items():
        queue.push(record(order, task))
    for able, limit in takes:
        taken = take_from(queue, able, limit)
        assert orders(taken) == [order for order, task in sorted(waiting.items()) if task in able][:limit]
        for item in taken:
            del waiting[item.order]
            assert item.state is RecordState.LEASED
        assert queue.ready == len(waiting)
        assert queue.unsettled == len(tasks) - len(waiting)
        assert sorted(task for task, _, _ in queue.kinds_waiting()) == sorted(set(waiting.values()))


arrivals = st.lists(st.tuples(st.sampled_from("qr"), st.sampled_from("ab"), st.integers(0, 9), st.integers(0, 400)), max_size=25)
"""(queue, task, priority, seconds since the last one)"""
takes = st.lists(st.tuples(st.sets(st.sampled_from("qr")), st.sets(st.sampled_from("ab")), st.integers(0, 6)), max_size=12)


@given(arrivals, takes, st.sampled_from([0.0, AGEING_S]))
def test_what_is_taken_of_several_queues_are_the_first_of_a_sorted_list(
    arriving: list[tuple[str, str, int, int]], taking: list[tuple[set[str], set[str], int]], ageing_s: float
) -> None:
    ageing = Ageing(Settings(priority_ageing_s=ageing_s))
    queues = {"q": new_queue("q"), "r": new_queue("r")}
    waiting: dict[int, tuple[tuple[float, int], str, str]] = {}
    now = 0
    for order, (name, task, priority, pause_s) in enumerate(arriving):
        now += pause_s
        ageing.came(order, now)
        queues[name].push(record(order, task, priority))
        rank = (now - priority * ageing_s, order) if ageing_s else (-priority, order)
        waiting[order] = (rank, name, task)
    for names, able, limit in taking:
        taken = take_from([queues[name] for name in sorted(names)], able, limit, ageing)
        expected = sorted((rank, order) for order, (rank, name, task) in waiting.items() if name in names and task in able)
        assert orders(taken) == [order for _, order in expected][:limit]
        for item in taken:
            del waiting[item.order]
        assert {name: queue.ready for name, queue in queues.items()} == {
            name: sum(of == name for _, of, _ in waiting.values()) for name in queues
        }


@given(st.permutations(range(6)), st.lists(st.integers(0, 2), min_size=8, max_size=8))
def test_what_is_given_back_stands_again_where_it_was(returned: list[int], priorities: list[int]) -> None:
    queue = new_queue()
    for order, priority in enumerate(priorities):
        queue.push(record(order, priority=priority))
    line = sorted(range(8), key=lambda order: (-priorities[order], order))
    taken = take_from(queue, "a", 6)
    assert orders(taken) == line[:6]
    for place in returned:
        queue.leased -= 1
        taken[place].move(RecordEvent.GIVEN_BACK)
        queue.push_back(taken[place])
    assert orders(take_from(queue, "a", 10)) == line


def test_a_record_that_ended_while_it_waited_is_skipped() -> None:
    queue = new_queue()
    records = [record(order) for order in range(3)]
    for item in records:
        queue.push(item)
    records[0].move(RecordEvent.ENDED)
    queue.ready -= 1
    assert orders(take_from(queue, "a", 1)) == [1]
    assert queue.ready == 1


def test_a_queue_is_empty_only_without_any_record() -> None:
    queue = new_queue()
    assert queue.empty
    queue.push(record(1))
    assert not queue.empty
    take_from(queue, "a", 1)
    assert not queue.empty
    queue.leased = 0
    queue.delayed = 1
    assert not queue.empty


def test_a_lane_that_is_used_up_is_forgotten() -> None:
    queue = new_queue()
    for order in range(100):
        queue.push(record(order, priority=order))
    take_from(queue, "a", 99)
    assert [kind[1] for kind in queue.lanes] == [0]


def test_lanes_for_one_node_or_worker_are_kept_apart_from_what_all_may_take() -> None:
    queue = new_queue()
    for order, target in enumerate(["", "near:n", "node:n", "worker:w", "worker:w"]):
        queue.push(record(order, priority=order, target=target))
    assert sorted(target for _, _, target in queue.shared) == ["", "near:n"]
    assert {target: len(lanes) for target, lanes in queue.aimed.items()} == {"node:n": 1, "worker:w": 2}
    take_from(queue, "a", 4)
    assert (len(queue.lanes), len(queue.shared), queue.aimed) == (1, 1, {})
    take_from(queue, "a", 1)
    assert (queue.lanes, queue.shared) == ({}, {})


def test_a_lane_is_not_forgotten_while_a_part_of_what_is_read_for_it_has_yet_to_come() -> None:
    """Found by a seed: what had come already was in a lane that nobody knew any more."""
    queue = new_queue()
    lane = queue.lane(kind_of(record(0).message))
    journal = SimpleNamespace(name=b"p" * 16, paged=SimpleNamespace(walk=lambda first, last: [(first, 0, 10)]))
    lane.insert_run(Run(0, journal, 1, 1, 0))
    lane.insert_run(Run(5, journal, 2, 2, 0))
    lane.paged = queue.ready = 2
    first, second = lane.next_chunk(1000)
    lane.paged = 0
    lane.arrive([record(5)])
    queue.push(record(9))
    assert take_from(queue, "a", 1) == []
    lane.arrive([record(0)])
    assert orders(take_from(queue, "a", 3)) == [0, 5, 9]
    assert (first.orders, second.orders) == ([0], [5])


def test_nothing_passes_an_urgent_message_that_was_read_while_the_rest_of_its_chunk_was_not() -> None:
    """Found by a seed: of two journals' segments one had come, and counted as in line before it was."""
    queue = new_queue()
    lane = queue.lane(kind_of(record(0, priority=1).message))
    journal = SimpleNamespace(name=b"p" * 16, paged=SimpleNamespace(walk=lambda first, last: [(first, 0, 10)]))
    lane.insert_run(Run(0, journal, 1, 1, 0))
    lane.insert_run(Run(5, journal, 2, 2, 0))
    lane.paged = queue.ready = 2
    lane.next_chunk(1000)
    lane.paged = 0
    lane.arrive([record(5, priority=1)])
    queue.push(record(9))
    assert take_from(queue, "a", 1) == []
    lane.arrive([record(0, priority=1)])
    assert orders(take_from(queue, "a", 3)) == [0, 5, 9]


def test_a_level_of_priority_is_worth_a_head_start() -> None:
    ageing = Ageing(Settings(priority_ageing_s=AGEING_S))
    for order, came_at in enumerate([0.0, 59.0, 121.0]):
        ageing.came(order, came_at)
    assert ageing.rank(1, 1) < ageing.rank(0, 0), "less than a minute later and one level higher"
    assert ageing.rank(0, 0) < ageing.rank(2, 2), "more than two minutes later and two levels higher"


def test_when_messages_came_is_remembered_in_few_samples_the_older_the_coarser() -> None:
    ageing = Ageing(Settings(priority_ageing_s=AGEING_S))
    for second in range(4 * SAMPLES_MAX):
        ageing.came(second, float(second))
    assert len(ageing._orders) <= SAMPLES_MAX
    errors = [second - (ageing.rank(0, second)[0]) for second in range(4 * SAMPLES_MAX)]
    assert all(error >= 0 for error in errors)
    assert max(errors[-SAMPLES_MAX // 2 :]) < 1
    assert max(errors) < SAMPLES_MAX


def test_of_messages_that_come_after_a_pause_the_pause_does_not_count_as_waiting() -> None:
    ageing = Ageing(Settings(priority_ageing_s=AGEING_S))
    ageing.came(0, 0.0)
    for tick in range(1000):
        ageing.came(1, float(tick))  # nothing more has come
    assert ageing.rank(0, 1)[0] == 999.0


def test_two_records_of_one_place_and_one_instant_are_both_due() -> None:
    """One took the place of the other: a message that was written anew keeps its order (found by a seed of the simulation)."""
    clocks = SimpleNamespace(skew_ms=lambda owner: 0, knows_clock_of=lambda owner: True, now=0.0)
    delayed = Delayed(clocks, Settings())  # type: ignore[arg-type]
    both = [Record(Message(id, "q", "a", b"", eta_ms=1000), JOURNAL, 1, 7) for id in ("t1", "t2")]
    for item in both:
        item.state = RecordState.DELAYED
        delayed.add(item)
    assert delayed.take_due(999) == []
    assert delayed.take_due(1000) == both
