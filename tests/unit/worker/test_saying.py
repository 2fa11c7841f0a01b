"""States that tasks say of themselves leave at once, ten in a second at most, and the last one always."""

from __future__ import annotations

import threading
import time

from mesh.request import Context
from mesh.wire import bodies
from mesh.wire.calls import States, TaskState
from mesh.wire.working import Delivery
from mesh.worker.limits import Timekeeper
from mesh.worker.saying import PAUSE_S, Saying
from tests.polling import poll_until
from tests.unit.worker.fakes import Running

CONTEXT = Context(Delivery("i", "t", b"", 1, "q"))


def test_of_many_states_ten_in_a_second_leave_and_the_last_one() -> None:
    told: list[TaskState] = []
    saying = Saying(Timekeeper(), told.append)
    begun_s = time.monotonic()
    count = 0
    while time.monotonic() - begun_s < 0.45:
        count += 1
        saying(CONTEXT, "PROGRESS", count)
        time.sleep(0.001)
    poll_until(lambda: bodies.decode(told[-1].meta) == count, 5, "the last state")
    assert bodies.decode(told[0].meta) == 1
    assert len(told) <= 2 + (time.monotonic() - begun_s) / 0.1


def test_two_tasks_do_not_wait_for_each_other() -> None:
    told: list[TaskState] = []
    saying = Saying(Timekeeper(), told.append)
    for id in ("a", "b"):
        saying(Context(Delivery(id, "t", b"", 1, "q")), "PROGRESS", None)
    assert [state.id for state in told] == ["a", "b"]


def test_what_has_ended_says_nothing_any_more() -> None:
    told: list[TaskState] = []
    keeper, later = Timekeeper(), threading.Event()
    saying = Saying(keeper, told.append)
    for number in range(3):
        saying(CONTEXT, "PROGRESS", number)
    saying.forget("i")
    saying(Context(Delivery("j", "t", b"", 1, "q")), "PROGRESS", None)
    keeper.set(PAUSE_S * 1.5, later.set)  # longer than a state ever waits
    assert later.wait(10)
    assert [state.id for state in told] == ["i", "j"]


def test_states_of_tasks_go_from_the_slot_to_the_node_and_again_to_a_new_coordinator() -> None:
    with Running("process") as worker:
        id = worker.call("say_states", 0.6)

        def said() -> list[str]:
            return [state.state for message in list(worker.link.sent) if isinstance(message, States) for state in message.states]

        poll_until(lambda: "HALF" in said(), 10, "the state")
        worker.link.generation += 1
        poll_until(lambda: said().count("HALF") > 1, 10, "the state again")
        worker.outcome(id)
