"""What a worker gives back when an idle slot elsewhere could run it, and the queues that it consumes by order of a person."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.wire.messages import Consume, Deliver, Delivery, OutcomeKind, Recall
from mesh.worker import parent
from tests.polling import poll_until
from tests.unit.worker.fakes import Running, delivery


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker gives nothing back by itself."""
    monkeypatch.setattr(parent, "STUCK_S", 1e6)


def returned(worker: Running) -> list[str]:
    return [outcome.id for outcome in worker.link.outcomes if outcome.kind == OutcomeKind.RETURNED]


def hold(worker: Running, path: Path, *ids: str, queue: str = "default") -> None:
    """One long task of a name that was short so far, so that these are handed over behind it."""
    worker.deliver(delivery("long", "maybe_wait_for", str(path)))
    poll_until(lambda: path.with_name(f"{path.name}.started").exists(), 10, "the long task")
    calls = [delivery(id, "maybe_wait_for", "") for id in ids]
    worker.link.say(Deliver(worker.worker.id, [Delivery(c.id, c.task, c.body, 1, queue) for c in calls]))
    poll_until(lambda: set(ids) <= set(worker.worker.holdings.held), 5, "the deliveries")


@pytest.mark.parametrize("pool", ["process", "thread", "async"])
@pytest.mark.parametrize("short", [True, False])
def test_what_no_slot_has_begun_goes_back_as_far_as_it_is_wanted(pool: str, short: bool, tmp_path: Path) -> None:
    ids = [f"t{number}" for number in range(6)]
    with Running(pool, 1) as worker:
        for _ in range(5 if short else 0):  # else its length is not known, and all wait in the parent
            worker.result("maybe_wait_for", "")
        hold(worker, tmp_path / "go", *ids)
        worker.link.say(Recall(worker.worker.id, ["t5", "t4", "t3", "long", "never heard of"], 2))
        poll_until(lambda: len(returned(worker)) == 2, 5, "what goes back")
        assert sorted(returned(worker)) == ["t4", "t5"]
        (tmp_path / "go").touch()
        ends = worker.outcomes(["long", "t0", "t1", "t2", "t3"])
        assert {end.kind for end in ends.values()} == {OutcomeKind.DONE}
        assert sorted(returned(worker)) == ["t4", "t5"]


def test_what_runs_is_not_given_back(tmp_path: Path) -> None:
    with Running("process", 1) as worker:
        hold(worker, tmp_path / "go")
        worker.link.say(Recall(worker.worker.id, ["long"], 1))
        (tmp_path / "go").touch()
        assert worker.outcome("long").kind == OutcomeKind.DONE


def test_a_worker_offers_its_queues_anew_when_they_are_changed(tmp_path: Path) -> None:
    with Running("process", 1) as worker:
        assert worker.link.offers[-1].queues == ["default"]
        worker.link.say(Consume(worker.worker.id, ["a", "b", "a", "default"]))
        poll_until(lambda: worker.link.offers[-1].queues == ["default", "a", "b"], 5, "the offer")
        worker.link.say(Consume(worker.worker.id, [], ["default", "b", "c"]))
        poll_until(lambda: worker.link.offers[-1].queues == ["a"], 5, "the offer")
        worker.link.attached, worker.link.generation = worker.link.attached, 2
        poll_until(lambda: worker.link.offers[-1].generation == 2, 5, "the report to another node")
        assert worker.link.offers[-1].queues == ["a"]


def test_what_waits_of_a_cancelled_queue_goes_back(tmp_path: Path) -> None:
    with Running("process", 1) as worker:
        hold(worker, tmp_path / "go", "t1", "t2")
        worker.link.say(Consume(worker.worker.id, ["r"], ["default"]))
        poll_until(lambda: sorted(returned(worker)) == ["t1", "t2"], 5, "what goes back")
        assert worker.link.offers[-1].queues == ["r"]
        (tmp_path / "go").touch()
        assert worker.outcome("long").kind == OutcomeKind.DONE
