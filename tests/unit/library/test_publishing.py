"""What a publish that does not succeed says: accepted, not accepted, or unknown; and with which ids."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import mesh
from mesh import DiskLow, MeshBusy, MeshError, NotAccepted, NotEnoughCopies, PublishError, PublishUnknown, errors
from mesh.wire.messages import Confirm, Held, Submit
from tests.polling import poll_until
from tests.unit.client.fake_node import add
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp

SHORT = "not-enough-copies: accepted and kept here, but fewer disks than `copies` hold it; durability is safe"
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PublishError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_publish_error_says_what_is_known_of_the_message(kind: type[PublishError]) -> None:
    known = {NotEnoughCopies: "accepted", PublishUnknown: "unknown", PublishError: "unknown"}
    assert kind().outcome == known.get(kind, "not accepted")
    assert getattr(mesh, kind.__name__) is kind


def test_too_few_copies_are_an_error_with_the_result_of_the_accepted_task(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    node.confirm = lambda submit: Confirm(submit.number, 1, SHORT)
    with pytest.raises(NotEnoughCopies, match=r"^accepted and kept here") as raised:
        app.send_task("t", (1, 2), task_id="mine")
    error = raised.value
    assert (error.outcome, error.retry, error.copies) == ("accepted", True, 1)
    assert (error.task_id, error.task_ids, error.result.copies) == ("mine", ["mine"], 1)
    assert error.result.get(timeout=5) == 3


def test_of_a_batch_with_too_few_copies_all_results_are_on_the_error(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(add), make_app()
    node.confirm = lambda submit: Confirm(submit.number, *((2, "") if len(submit.messages) == 1000 else (1, SHORT)))
    app.task(name="t")(add)
    with pytest.raises(NotEnoughCopies) as raised:
        app.submit_many(app.tasks["t"].s(n) for n in range(1001))
    assert [one.get(timeout=5) for one in raised.value.results] == list(range(1001))
    assert raised.value.copies == 1


def test_a_result_before_too_few_copies_is_not_lost(place: Place, make_app: MakeApp) -> None:
    """The same id again, after the first try was short: it waits for the copies once more."""
    node, app = place.node(add), make_app()
    answers = iter([(1, SHORT), (2, "")])
    node.confirm = lambda submit: Confirm(submit.number, *next(answers))
    with pytest.raises(NotEnoughCopies):
        app.send_task("t", (1, 2), task_id="mine")
    again = app.send_task("t", (1, 2), task_id="mine")
    assert (again.copies, again.get(timeout=5)) == (2, 3)


def test_a_failed_publish_has_its_ids(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    node.confirm = lambda submit: None
    app.publish_timeout = 0.3
    with pytest.raises(PublishUnknown) as raised:
        app.send_task("t")
    assert [[raised.value.task_id]] == node.submits


@pytest.mark.parametrize(("text", "kind"), [("disk-low: 12 MiB free", DiskLow), ("invalid: no", NotAccepted), ("busy: full", MeshBusy)])
def test_a_refusal_is_an_error_of_its_own_type(place: Place, make_app: MakeApp, text: str, kind: type[PublishError]) -> None:
    node, app = place.node(), make_app()
    node.confirm = lambda submit: Confirm(submit.number, 0, text)
    app.publish_timeout = 0.5
    with pytest.raises(kind) as raised:
        app.send_task("t", task_id="mine")
    assert (raised.value.outcome, raised.value.task_id) == ("not accepted", "mine")


def test_a_publish_says_how_long_it_waits_and_leaves_time_for_the_answer(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    seen: list[int] = []

    def confirm(submit: Submit) -> Confirm:
        seen.append(submit.deadline_ms)
        return Confirm(submit.number, 2)

    node.confirm = confirm
    for app.publish_timeout in (20.0, 5.0):
        app.send_task("t")
    assert 15_000 < seen[0] <= 19_800
    assert 3_000 < seen[1] <= 4_800


def test_a_hasty_publish_does_not_hurry_a_patient_one(place: Place, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two applications share a connection; a node answers all of a frame at once."""
    monkeypatch.setenv("MESH_DISCOVERY_TIMEOUT_S", "10")
    patient, hasty = make_app(), make_app("other")
    patient.publish_timeout, hasty.publish_timeout = 30.0, 8.0
    frames: list[tuple[int, int]] = []

    def confirm(submit: Submit) -> Confirm:
        frames.append((len(submit.messages), submit.deadline_ms))
        return Confirm(submit.number, 2)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(app.send_task, "t") for app in (patient, hasty)]
        poll_until(lambda: len(patient.client._outbox._inbox) == 2, 5, "both are handed over")
        place.node().confirm = confirm
        for call in calls:
            call.result()
    assert [count for count, _ in frames] == [1, 1]
    assert min(ms for _, ms in frames) < 8_000 < 20_000 < max(ms for _, ms in frames)


@pytest.mark.parametrize("fault", ["silent", "held", "never a node", "dies"])
def test_a_publish_never_outlasts_its_deadline_whatever_happens(place: Place, make_app: MakeApp, fault: str) -> None:
    app = make_app()
    app.publish_timeout = 1.0
    if fault != "never a node":
        node = place.node()
        node.confirm = lambda submit: node.tell_all(Held(submit.number, "queue-full: no room")) if fault == "held" else None
    if fault == "silent":
        node.silent = True
    if fault == "dies":
        app.client.greeting(time.monotonic() + 5)
        node.stop()
    began = time.monotonic()
    with pytest.raises(MeshError):
        app.send_task("t", ("x" * 2_000_000,) if fault == "silent" else ())
    assert time.monotonic() - began < app.publish_timeout + 0.5
