"""How much goes to a slot, and how much is asked for."""

from __future__ import annotations

from collections import deque

import pytest

from mesh.wire.messages import Delivery, Outcome
from mesh.worker.batches import BATCH_S, LONG_S, UNKNOWN_S, Load, RunTimes, capacity, chunks, size_bytes, take


def deliveries(*tasks: str) -> deque[Delivery]:
    return deque(Delivery(id=f"{number}", task=task, body=b"", attempt=0, queue="q") for number, task in enumerate(tasks))


def taken(ready: deque[Delivery], load: Load, by_task: dict[str, float], most: int = 1000) -> list[str]:
    return [delivery.task for delivery, _ in take(ready, load, by_task, most)]


def test_a_task_that_never_ran_goes_alone() -> None:
    assert taken(deliveries("new", "new"), Load(1), {}) == ["new"]


def test_short_tasks_go_together_up_to_ten_milliseconds_of_work() -> None:
    assert len(taken(deliveries(*["short"] * 50), Load(1), {"short": BATCH_S / 10.5})) == 10


def test_a_long_task_goes_alone() -> None:
    assert taken(deliveries("long", "short"), Load(1), {"long": 1.0, "short": 0.001}) == ["long"]


def test_a_short_task_does_not_join_a_long_one_in_a_slot() -> None:
    load = Load(1)
    load.add(1.0)
    assert not load.takes(0.0001)


def test_a_long_task_does_not_join_short_ones_in_a_slot() -> None:
    assert taken(deliveries("short", "long", "short"), Load(1), {"long": 1.0, "short": 0.001}) == ["short"]


def test_a_slot_is_topped_up_as_far_as_its_load_allows() -> None:
    load = Load(1)
    assert len(taken(deliveries(*["short"] * 50), load, {"short": BATCH_S / 10.5})) == 10
    load.remove(BATCH_S / 10.5)
    load.remove(BATCH_S / 10.5)
    assert len(taken(deliveries(*["short"] * 50), load, {"short": BATCH_S / 10.5})) == 2


def test_a_wide_slot_takes_as_many_unknown_tasks_as_it_has_lanes() -> None:
    assert len(taken(deliveries(*["new"] * 9), Load(4), {})) == 4


def test_short_tasks_join_a_wide_slot_only_while_a_lane_is_free_of_long_ones() -> None:
    load = Load(2)
    load.add(UNKNOWN_S)
    assert load.takes(BATCH_S / 2)
    load.add(UNKNOWN_S)
    assert not load.takes(BATCH_S / 2)


def test_an_empty_load_has_no_rounding_left() -> None:
    load = Load(1)
    for _ in range(3):
        load.add(0.1 / 30)
    for _ in range(3):
        load.remove(0.1 / 30)
    assert (load.held, load.slow, load.quick_s) == (0, 0, 0.0)


def test_the_share_of_a_slot_is_respected() -> None:
    ready = deliveries(*["short"] * 50)
    assert len(taken(ready, Load(1), {"short": 0.0001}, most=7)) == 7
    assert len(ready) == 43


def test_the_first_run_of_a_task_is_its_estimate() -> None:
    times = RunTimes()
    times.record("t", 2, 0.004, 0.003)
    assert times.by_task == {"t": 0.002}


def test_a_long_run_moves_the_estimate_at_once_and_short_ones_move_it_back() -> None:
    times = RunTimes()
    times.record("t", 100, 0.01, 0.001)
    times.record("t", 10, 2.001, 2.0)
    assert times.by_task["t"] == 2.0
    times.record("t", 200, 0.02, 0.001)
    assert times.by_task["t"] < BATCH_S


@pytest.mark.parametrize(
    ("overall_s", "expected"),
    [
        (UNKNOWN_S, 2),
        (LONG_S, 2),
        (0.01, 12),
        (0.001, 102),
        (0.000001, 1024),
        (0.0, 1024),
    ],
)
def test_capacity_is_the_lanes_and_what_they_do_in_the_target_time(overall_s: float, expected: int) -> None:
    assert capacity(2, overall_s, target_s=0.05, most=1024) == expected


def test_capacity_is_never_below_the_lanes() -> None:
    assert capacity(64, 0.001, target_s=0.05, most=8) == 64


def test_outcomes_are_cut_into_frames_by_number_and_by_size() -> None:
    outcomes = [Outcome(id=str(number), body=b"x" * 100) for number in range(10)]
    assert [len(chunk) for chunk in chunks(outcomes, 4, 1 << 20)] == [4, 4, 2]
    assert [len(chunk) for chunk in chunks(outcomes, 100, 350)] == [3, 3, 3, 1]
    assert [len(chunk) for chunk in chunks(outcomes, 100, 50)] == [1] * 10
    assert chunks(outcomes, 100, 1 << 20) == [outcomes]
    assert chunks([], 4, 1) == []
    assert size_bytes(outcomes[0]) == 100
