"""A whole worker with real slots; the test is its node."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from mesh.errors import MeshNotFound
from mesh.wire.entries import Status
from mesh.wire.messages import (
    Attached,
    Deliver,
    NewCoordinator,
    Notice,
    Offer,
    OutcomeKind,
    Outcomes,
    OutcomesKept,
    SessionRequest,
)
from mesh.worker.processes import ProcessSlots
from mesh.worker.threads import InProcessSlots
from tests.polling import poll_until
from tests.unit.worker import sample
from tests.unit.worker.fakes import GREETING, SAMPLE, FakeLink, Running, delivery

POOLS = ("process", "thread", "async")
SHORT_WAIT_S = 0.3
"""How long a short task may wait behind a long one."""


def running(pool: str, concurrency: int = 2) -> Running:
    if pool == "embedded":
        return Running("thread", concurrency, slots=InProcessSlots(sample.app, concurrency, 1 << 20))
    return Running(pool, concurrency)


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has reaped yet counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("pool", [*POOLS, "embedded"])
def test_every_pool_runs_functions_and_coroutines_and_reports_how_they_end(pool: str) -> None:
    with running(pool) as worker:
        assert worker.result("add", 2, y=3) == 5
        assert worker.result("add_later", 2, 3, pause=0.001) == 5
        for task, type_name in {
            "fail": "builtins.ValueError",
            "fail_later": "builtins.LookupError",
            "leave_later": "builtins.SystemExit",
            "interrupt": "builtins.KeyboardInterrupt",
            "unencodable": "mesh.errors.NotEncodable",
        }.items():
            outcome = worker.outcome(worker.call(task))
            assert outcome.status == Status.FAILURE
            assert outcome.failure is not None
            assert outcome.failure.type_name == type_name
        assert worker.outcome(worker.call("leave", 3)).status == Status.FAILURE
        assert worker.outcome(worker.call("big", 2 << 20)).status == Status.FAILURE
        assert worker.result("add", 1, 1) == 2


@pytest.mark.parametrize("pool", [*POOLS, "embedded"])
def test_many_tasks_all_run_once(pool: str, tmp_path: Path) -> None:
    with running(pool) as worker:
        calls = [delivery(f"{number}", "append", str(tmp_path / "lines"), f"{number}") for number in range(300)]
        worker.deliver(*calls)
        outcomes = worker.outcomes(call.id for call in calls)
        ends = [outcome.id for outcome in worker.link.outcomes if outcome.kind == OutcomeKind.DONE]
        again = [outcome.id for outcome in worker.link.outcomes if outcome.kind == OutcomeKind.RETURNED]
    assert set(outcomes) == {call.id for call in calls}
    assert len(ends) + len(again) == 300
    assert sorted((tmp_path / "lines").read_text().split()) == sorted(ends)


def test_a_slot_survives_what_a_background_coroutine_raises() -> None:
    with running("async") as worker:
        pid = worker.result("pid")
        assert worker.result("leave_in_background") == "left"
        assert worker.result("add_later", 1, 2) == 3
        assert worker.result("pid") == pid


def test_coroutines_of_the_async_pool_run_at_once() -> None:
    with running("async", 50) as worker:
        calls = [delivery(f"{number}", "add_later", number, 1, pause=0.2) for number in range(50)]
        begun_s = time.monotonic()
        worker.deliver(*calls)
        worker.outcomes(call.id for call in calls)
        assert time.monotonic() - begun_s < 5  # one after another: 10 s


def test_the_loop_of_a_process_slot_is_kept_between_tasks() -> None:
    with running("process", 1) as worker:
        assert worker.result("loop_id") == worker.result("loop_id")


def test_the_offer_says_what_the_worker_takes() -> None:
    with running("process", 2) as worker:
        poll_until(lambda: worker.link.offers[-1].capacity == 2, 10, "both slots")
        first, last = worker.link.offers[0], worker.link.offers[-1]
        assert (first.active, first.generation, first.slots) == ([], 1, 2)
        assert last.tasks == sorted(sample.app.tasks)
        assert (last.queues, last.name, last.pid) == (["default"], "w", os.getpid())


def test_short_tasks_make_the_worker_ask_for_more_and_a_long_one_for_no_more_than_its_slots(tmp_path: Path) -> None:
    with running("process", 1) as worker:
        for _ in range(3):
            worker.result("maybe_wait_for", "")
        assert [message.capacity for message in worker.link.sent if isinstance(message, Outcomes)][-1] > 1
        long = worker.call("maybe_wait_for", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the long task")
        time.sleep(0.06)
        (tmp_path / "go").touch()
        worker.outcome(long)
        assert [message.capacity for message in worker.link.sent if isinstance(message, Outcomes)][-1] == 1


# -- what dies ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("task", ["abort", "kill_self"])
def test_a_task_that_kills_its_slot_is_lost_and_the_slot_replaced(pool: str, task: str) -> None:
    with running(pool, 1) as worker:
        before = worker.result("pid")
        offers = len(worker.link.offers)
        assert worker.outcome(worker.call(task), 5).kind == OutcomeKind.LOST
        poll_until(lambda: [offer for offer in worker.link.offers[offers:] if offer.capacity], 10, "another slot")
        assert worker.result("pid") != before


def test_only_the_running_task_of_a_batch_is_lost_with_its_slot(tmp_path: Path) -> None:
    with running("process", 1) as worker:
        for _ in range(3):
            worker.result("maybe_wait_for", "")
        pid = worker.result("pid")
        calls = [delivery(f"before-{number}", "maybe_wait_for", "") for number in range(5)]
        calls.append(delivery("running", "maybe_wait_for", str(tmp_path / "go")))
        calls += [delivery(f"after-{number}", "maybe_wait_for", "") for number in range(5)]
        worker.deliver(*calls)
        poll_until((tmp_path / "go.started").exists, 10, "the long task", pause_s=0.001)
        os.kill(pid, 9)
        outcomes = worker.outcomes(call.id for call in calls)
        assert [id for id, outcome in outcomes.items() if outcome.kind == OutcomeKind.LOST] == ["running"]
        assert {outcomes[f"before-{number}"].kind for number in range(5)} <= {OutcomeKind.DONE, OutcomeKind.RETURNED}


def test_the_other_slot_goes_on_when_one_is_killed(tmp_path: Path) -> None:
    with running("process", 2) as worker:
        poll_until(lambda: worker.link.offers[-1].capacity == 2, 10, "both slots")
        long = worker.call("wait_for", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the long task")
        assert worker.outcome(worker.call("abort")).kind == OutcomeKind.LOST
        (tmp_path / "go").touch()
        assert worker.outcome(long).kind == OutcomeKind.DONE


def test_what_a_task_started_ends_with_its_slot(tmp_path: Path) -> None:
    child = tmp_path / "child"
    with running("process", 1) as worker:
        slot = worker.result("pid")
        worker.call("start_child", str(child))
        pid = int(poll_until(lambda: child.exists() and child.read_text(), 10, "the child"))
        os.kill(slot, 9)
        poll_until(lambda: gone(pid), 5, "the end of the child")


def test_a_slot_shares_its_marks_without_leaving_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    slots = ProcessSlots(SAMPLE, "process", 1, 1 << 20)
    slot = slots.launch(0)
    try:
        assert list(tmp_path.iterdir()) == [], "a worker that is killed now leaves nothing behind"
    finally:
        slot.close()
        slot.host.kill()


# -- what waits -----------------------------------------------------------------------------------------------------------------


def test_a_short_task_does_not_wait_behind_a_long_one_in_a_slot(tmp_path: Path) -> None:
    """The task name was short so far, so that it travels in a batch; then one run is long."""
    with running("process", 2) as worker:
        poll_until(lambda: worker.link.offers[-1].capacity == 2, 10, "both slots")
        for _ in range(5):
            worker.result("maybe_wait_for", "")
        calls = [delivery(f"{number}", "maybe_wait_for", "") for number in range(20)]
        worker.deliver(delivery("long", "maybe_wait_for", str(tmp_path / "go")), *calls)
        begun_s = time.monotonic()
        outcomes = worker.outcomes(call.id for call in calls)
        assert time.monotonic() - begun_s < SHORT_WAIT_S
        assert {outcome.kind for outcome in outcomes.values()} == {OutcomeKind.DONE}
        (tmp_path / "go").touch()
        assert worker.outcome("long").kind == OutcomeKind.DONE


@pytest.mark.parametrize("pool", ["thread", "async"])
def test_what_waits_while_every_lane_is_busy_goes_back_to_the_mesh(pool: str, tmp_path: Path) -> None:
    with running(pool, 2) as worker:
        for _ in range(5):
            worker.result("maybe_wait_for", "")
        worker.deliver(*(delivery(f"long-{number}", "maybe_wait_for", str(tmp_path / "go")) for number in range(2)))
        worker.deliver(*(delivery(f"short-{number}", "maybe_wait_for", "") for number in range(20)))
        begun_s = time.monotonic()
        outcomes = worker.outcomes(f"short-{number}" for number in range(20))
        assert time.monotonic() - begun_s < 2 * SHORT_WAIT_S
        assert OutcomeKind.RETURNED in {outcome.kind for outcome in outcomes.values()}
        assert [message.capacity for message in worker.link.sent if isinstance(message, Outcomes)][-1] == 2
        (tmp_path / "go").touch()
        worker.outcomes(["long-0", "long-1"])


def test_a_task_that_never_ran_does_not_wait_in_a_busy_slot(tmp_path: Path) -> None:
    with running("process", 1) as worker:
        long = worker.call("wait_for", str(tmp_path / "go"))
        short = worker.call("noop")
        assert worker.outcome(short, 1).kind == OutcomeKind.RETURNED
        (tmp_path / "go").touch()
        assert worker.outcome(long).kind == OutcomeKind.DONE


def test_the_link_is_ticked_while_a_task_holds_the_interpreter(tmp_path: Path) -> None:
    with running("process", 1) as worker:
        worker.call("hold_interpreter", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the task")
        before, begun_s = worker.link.ticks, time.monotonic()
        worker.deliver(*(delivery(f"{number}", "big", 1) for number in range(3)))
        worker.deliver(*(delivery(f"large-{number}", "noop", "x" * 900_000) for number in range(3)))
        worker.outcomes(["large-2"], 2)
        poll_until(lambda: worker.link.ticks > before + 3, 2, "ticks")
        assert time.monotonic() - begun_s < 2


# -- what is said, and said again ---------------------------------------------------------------------------------------------------


def test_a_second_delivery_of_a_running_or_finished_task_does_not_run_it_again(tmp_path: Path) -> None:
    with Running("process", 1, link=FakeLink(keeps=False)) as worker:
        call = delivery("one", "append", str(tmp_path / "lines"), "x")
        worker.deliver(call, call)
        worker.outcome("one")
        worker.deliver(call)
        poll_until(lambda: sum(outcome.id == "one" for outcome in worker.link.outcomes) == 2, 5, "the outcome again")
        worker.result("noop")
    assert (tmp_path / "lines").read_text() == "x\n"


def full_offers(link: FakeLink) -> list[tuple[int, Offer]]:
    return [(place, message) for place, message in enumerate(list(link.sent)) if isinstance(message, Offer) and message.active is not None]


@pytest.mark.parametrize("event", ["new coordinator", "new attachment"])
def test_a_new_listener_gets_a_full_report_and_then_the_whole_outbox(event: str, tmp_path: Path) -> None:
    link = FakeLink(keeps=False)
    with Running("process", 2, link=link) as worker:
        poll_until(lambda: link.offers[-1].capacity == 2, 10, "both slots")
        done = worker.call("add", 1, 2)
        kept = worker.call("add", 3, 4)
        long = worker.call("wait_for", str(tmp_path / "go"))
        worker.outcomes([done, kept])
        poll_until((tmp_path / "go.started").exists, 10, "the long task")
        link.say(OutcomesKept(worker.worker.id, [kept], [OutcomeKind.DONE]))
        if event == "new coordinator":
            link.say(NewCoordinator(name="n2", term=2))
        else:
            link.generation += 1
        place, offer = poll_until(lambda: full_offers(link)[1:], 5, "a full report")[0]
        assert sorted(offer.active or []) == sorted([done, long])
        assert offer.generation == link.generation
        again = poll_until(lambda: [m for m in list(link.sent)[place:] if isinstance(m, Outcomes)], 5, "the outbox")
        assert [outcome.id for outcome in again[0].outcomes] == [done]
        (tmp_path / "go").touch()
        worker.outcome(long)


class BusyLink(FakeLink):
    """Takes nothing for a while."""

    def send(self, message: SessionRequest) -> bool:
        self.takes = not isinstance(message, Outcomes) or getattr(self, "open", False)
        return super().send(message)


def test_outcomes_wait_while_the_node_takes_nothing() -> None:
    link = BusyLink()
    with Running("process", 1, link=link) as worker:
        calls = [delivery(f"{number}", "noop") for number in range(20)]
        worker.deliver(*calls)
        poll_until(lambda: not link.takes, 5, "a refused frame")
        link.open = True  # type: ignore[attr-defined]
        assert len(worker.outcomes(call.id for call in calls)) == 20


def test_a_task_that_the_application_lacks_goes_back_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with running("process", 1) as worker:
        for _ in range(2):
            assert worker.outcome(worker.call("nowhere")).kind == OutcomeKind.RETURNED
        worker.link.say(Notice(worker=worker.worker.id, text="nobody has task x"))
        worker.result("noop")
    assert sum("has no task 'nowhere'" in record.getMessage() for record in caplog.records) == 1
    assert "nobody has task x" in caplog.text


def test_a_failure_is_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with running("process", 1) as worker:
        worker.outcome(worker.call("fail", "two\nlines"))
    assert [r.getMessage() for r in caplog.records if "raised" in r.getMessage()] == [
        "task fail[fail-0] raised builtins.ValueError: two lines"
    ]


def test_tasks_that_an_embedded_application_gets_later_are_announced() -> None:
    app = sample.SampleApp()
    app.task(sample.add)
    with Running("thread", 1, slots=InProcessSlots(app, 1, 1 << 20)) as worker:
        assert worker.link.offers[-1].tasks == ["add"]
        app.task(sample.noop)
        poll_until(lambda: worker.link.offers[-1].tasks == ["add", "noop"], 5, "the new task")
        assert worker.result("noop") is None


# -- the end ------------------------------------------------------------------------------------------------------------------------


def test_a_first_stop_finishes_what_runs_and_gives_back_the_rest(tmp_path: Path) -> None:
    link = FakeLink(keeps=False)
    with Running("process", 1, link=link) as worker:
        for _ in range(3):
            worker.result("maybe_wait_for", "")
        long = worker.call("maybe_wait_for", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the long task")
        waiting = [worker.call("maybe_wait_for", "") for _ in range(5)]
        worker.worker.stop()
        assert {outcome.kind for outcome in worker.outcomes(waiting, 1).values()} == {OutcomeKind.RETURNED}
        late = worker.call("noop")
        assert worker.outcome(late, 1).kind == OutcomeKind.RETURNED
        (tmp_path / "go").touch()
        assert worker.outcome(long).kind == OutcomeKind.DONE
        assert not link.closed, "the outbox is not confirmed yet"
        link.say(OutcomesKept(worker.worker.id, [outcome.id for outcome in link.outcomes], [outcome.kind for outcome in link.outcomes]))
        assert worker.join() == 0
        assert link.closed
        assert [message.capacity for message in link.sent if isinstance(message, (Offer, Outcomes))][-1] == 0


def test_a_second_stop_ends_the_slots_and_gives_everything_back(tmp_path: Path) -> None:
    with running("process", 1) as worker:
        pid = worker.result("pid")
        long = worker.call("hold_interpreter", str(tmp_path / "go"))
        poll_until((tmp_path / "go.started").exists, 10, "the long task")
        worker.worker.stop()
        worker.worker.stop()
        assert worker.join(3) == 1
        assert worker.outcome(long).kind == OutcomeKind.RETURNED
        assert gone(pid)


def test_an_idle_worker_leaves_at_once() -> None:
    with running("process", 2) as worker:
        begun_s = time.monotonic()
        worker.worker.stop()
        assert worker.join() == 0
        assert time.monotonic() - begun_s < 1


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        ("tests.unit.worker.nowhere", "there is no module 'tests.unit.worker.nowhere'"),
        ("tests.unit.worker.broken", "RuntimeError: not today ("),
        ("tests.unit.worker.deadly", "ended with status 7 while it loaded tests.unit.worker.deadly"),
    ],
)
def test_an_application_that_cannot_be_loaded_ends_the_worker_with_one_line(
    app: str, expected: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Running("process", 2, app=app)
    worker._thread.start()
    assert worker.join() == 1
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == 1
    assert expected in lines[0]
    assert "\n" not in lines[0]


def test_without_a_node_the_worker_ends_with_what_the_search_found() -> None:
    class Lonely(FakeLink):
        def __init__(self) -> None:
            super().__init__()
            self.attached: Attached | None = None

        def tick(self, now_s: float) -> None:
            super().tick(now_s)
            if self.ticks > 3:
                raise MeshNotFound

    worker = Running("process", 1, app=SAMPLE, link=Lonely())
    worker._thread.start()
    worker.join()
    assert isinstance(worker.error, MeshNotFound)
    assert worker.link.sent == []


def test_the_greeting_of_the_node_is_what_the_banner_shows() -> None:
    infos = []
    worker = running("thread", 3)
    worker.worker._telling._on_ready = lambda info: (infos.append(info), worker.ready.set())  # type: ignore[assignment,func-returns-value]
    with worker:
        pass
    assert [(info.mesh, info.node, info.coordinator, info.slots, info.pool) for info in infos] == [
        (GREETING.mesh, GREETING.node, GREETING.coordinator, 3, "thread")
    ]


def test_bodies_that_a_slot_has_no_time_to_read_do_not_stop_the_worker() -> None:
    with Running("thread", 1) as worker:
        worker.link.say(Deliver(worker=worker.worker.id, deliveries=[delivery(f"{n}", "noop_of", "x" * 500_000) for n in range(3)]))
        assert worker.outcome("2").kind == OutcomeKind.RETURNED
        worker.deliver(*(delivery(f"big-{n}", "big", 500_000) for n in range(10)))
        outcomes = worker.outcomes(f"big-{n}" for n in range(10))
        done = [outcome for outcome in outcomes.values() if outcome.kind == OutcomeKind.DONE]
        assert done
        assert all(len(worker.link.value(outcome)) == 500_000 for outcome in done)
