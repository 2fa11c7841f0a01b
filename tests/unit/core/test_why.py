"""`mesh why`: a table of situations, each planted, and what is said of the task ``t``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mesh.core.broker.purge import AT_ONCE
from mesh.wire.calls import Flow, When
from mesh.wire.entries import Message
from mesh.wire.messages import Submit
from tests.unit.core.cluster import WALL_S, Cluster
from tests.unit.core.declaring import delete_queue, queue, rows
from tests.unit.core.programs import Client


class Scene:
    """A mesh with a client."""

    def __init__(self, names: str = "a", **settings: Any) -> None:
        self.cluster = Cluster(**settings)
        for name in names:
            self.cluster.start(name)
        self.cluster.until(self.cluster.agreed)
        self.client: Client = self.cluster.client(names[0])

    def submit(self, **flows: Flow | None) -> None:
        messages = [Message(id, "q", "" if flow and flow.gathers >= 0 else "work", b"", flow=flow) for id, flow in flows.items()]
        self.client.number += 1
        self.client.send(Submit(self.client.number, messages))
        self.cluster.calm()

    def why(self, id: str) -> dict[str, Any]:
        answer = self.client.ask("why", id)
        assert not answer.error
        found: dict[str, Any] = json.loads(answer.body)
        return found


Situation = Callable[[], Scene]
TABLE: dict[str, tuple[str, list[str], Situation]] = {}


def situation(state: str, *codes: str) -> Callable[[Situation], Situation]:
    """What ``why`` says of ``t``: its state and the codes of its reasons."""

    def note(planted: Situation) -> Situation:
        TABLE[planted.__name__] = (state, list(codes), planted)
        return planted

    return note


@situation("UNKNOWN", "unknown")
def nobody_has_heard_of_it() -> Scene:
    return Scene()


@situation("PENDING", "no-consumer")
def its_queue_has_no_consumer() -> Scene:
    scene = Scene()
    scene.submit(t=None)
    return scene


@situation("PENDING", "no-capable-worker")
def no_worker_of_its_queue_has_the_task() -> Scene:
    scene = Scene()
    scene.cluster.worker("a", tasks=["other"])
    scene.submit(t=None)
    return scene


@situation("PENDING", "no-target")
def its_target_is_absent() -> Scene:
    scene = Scene()
    scene.cluster.worker("a")
    scene.client.submit("t", target="node:gone")
    return scene


@situation("PENDING", "busy")
def all_workers_are_busy() -> Scene:
    scene = Scene()
    scene.cluster.worker("a")
    scene.submit(first=None, t=None)
    return scene


@situation("PENDING", "no-capacity")
def its_worker_takes_nothing_new() -> Scene:
    scene = Scene()
    scene.cluster.worker("a", capacity=0)
    scene.submit(t=None)
    return scene


@situation("STARTED", "running")
def a_worker_has_it() -> Scene:
    scene = Scene()
    scene.cluster.worker("a")
    scene.submit(t=None)
    return scene


@situation("STARTED", "worker-away")
def the_node_of_its_worker_is_lost() -> Scene:
    scene = Scene("abc", takeover_patience_s=60.0, orphan_grace_s=60.0)
    other = next(name for name in "cb" if name != scene.cluster.coordinator)
    scene.cluster.worker(other)
    scene.submit(t=None)
    scene.cluster.crash(other, vanish=True)
    scene.cluster.run(2.0)
    return scene


@situation("PENDING", "not-due")
def it_is_not_due() -> Scene:
    scene = Scene()
    scene.cluster.worker("a")
    scene.client.submit("t", eta_ms=int((WALL_S + 3600) * 1000))
    return scene


@situation("PENDING", "no-authority")
def nothing_is_handed_out_without_a_majority() -> Scene:
    scene = Scene("abc", takeover_patience_s=60.0)
    scene.cluster.split("a", "bc")
    scene.cluster.run(3.0)
    scene.cluster.worker("a")
    scene.submit(t=None)
    return scene


@situation("PENDING", "purge")
def its_queue_is_being_emptied() -> Scene:
    scene = Scene()
    scene.client.submit(*(f"o{number:05}" for number in range(2 * AT_ONCE)), "t")
    scene.cluster["a"].broker.purge.drop("q", "purged")
    return scene


@situation("PENDING", "withheld")
def its_queue_may_be_gone() -> Scene:
    scene = Scene()
    rows(scene.client.change(queue("q")))
    scene.cluster.worker("a", capacity=0)
    scene.submit(t=None)
    scene.cluster["a"].broker.lost_and_found.tick = lambda: None  # type: ignore[method-assign]
    scene.cluster.turn(scene.cluster.nodes["a"], scene.cluster["a"].topology.remove, ("queue", "q"))
    return scene


@situation("DEAD", "lost+found")
def its_queue_was_deleted_elsewhere() -> Scene:
    scene = Scene()
    rows(scene.client.change(queue("q")))
    scene.submit(t=None)
    scene.cluster.turn(scene.cluster.nodes["a"], scene.cluster["a"].topology.remove, ("queue", "q"))
    scene.cluster.run(2.0)
    return scene


@situation("FAILURE", "dropped")
def its_queue_was_deleted() -> Scene:
    scene = Scene()
    rows(scene.client.change(queue("q")))
    scene.submit(t=None)
    rows(scene.client.change(delete_queue("q")))
    return scene


@situation("FAILURE", "deliveries-exhausted", "dead-letter")
def it_was_lost_too_often() -> Scene:
    scene = Scene(max_deliveries=2)
    worker = scene.cluster.worker("a")
    scene.submit(t=None)
    worker.lose("t")
    worker.lose("t")
    return scene


@situation("REVOKED", "expired")
def it_was_not_begun_in_time() -> Scene:
    scene = Scene()
    scene.client.publish("t", queue="q", task="work", expires_ms=scene.cluster["a"].wall_ms + 500)
    scene.cluster.run(1.0)
    return scene


@situation("SUCCESS", "done")
def it_has_ended() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=None)
    worker.finish("t")
    return scene


@situation("FAILURE", "failed")
def it_has_failed() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=None)
    worker.fail("t")
    return scene


@situation("REMOVED", "removed")
def its_result_was_removed() -> Scene:
    scene = it_has_ended()
    scene.cluster["a"].broker.results.take_back("t")
    return scene


@situation("WAITING", "predecessor", "running")
def what_it_comes_after_runs() -> Scene:
    scene = Scene()
    scene.cluster.worker("a")
    scene.submit(t=Flow(after="before"), before=None)
    return scene


@situation("WAITING", "predecessor", "unknown")
def what_it_comes_after_was_never_submitted() -> Scene:
    scene = Scene()
    scene.submit(t=Flow(after="before"))
    return scene


@situation("WAITING", "predecessor", "members", "no-consumer")
def it_is_the_body_of_a_chord_whose_member_has_no_consumer() -> Scene:
    scene = Scene()
    scene.submit(t=Flow(after="gather"), gather=Flow(gathers=1), member=Flow(into="gather"))
    return scene


@situation("WAITING", "members", "running")
def it_gathers_what_still_runs() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a", slots=2)
    scene.submit(t=Flow(gathers=2), x=Flow(into="t", place=0), y=Flow(into="t", place=1))
    worker.finish("x")
    return scene


@situation("FAILURE", "skipped")
def what_it_came_after_has_failed() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=Flow(after="before"), before=None)
    worker.fail("before")
    return scene


@situation("REVOKED", "skipped")
def it_is_an_error_callback_that_is_not_needed() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=Flow(after="before", when=When.FAILURE), before=None)
    worker.finish("before")
    return scene


@situation("FAILURE", "member-failed")
def it_gathers_and_a_member_has_failed() -> Scene:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=Flow(gathers=1), x=Flow(into="t"))
    worker.fail("x")
    return scene


@situation("PENDING", "no-consumer", "on-disk")
def it_is_far_behind_in_a_long_queue() -> Scene:
    scene = Scene(window_bytes=4000)
    for number in range(40):
        scene.client.submit(f"o{number:02}", body=b"x" * 100)
    scene.client.submit("t")
    return scene


@pytest.mark.parametrize("name", TABLE)
def test_why_is_right_about_each_planted_situation(name: str) -> None:
    state, codes, planted = TABLE[name]
    found = planted().why("t")
    assert (found["state"], [reason["code"] for reason in found["reasons"]]) == (state, codes), found
    assert all(reason["text"] for reason in found["reasons"])


def test_the_table_has_twenty_situations_and_more() -> None:
    assert len(TABLE) >= 20


def test_why_tells_what_has_happened_so_far() -> None:
    scene = Scene()
    worker = scene.cluster.worker("a")
    scene.submit(t=None)
    worker.lose("t")
    (attempt,) = scene.why("t")["attempts"]
    assert (attempt["node"], attempt["worker"]) == ("a", worker.name)
    worker.finish("t")
    assert scene.why("t")["result"]["worker"] == worker.name


def test_what_holds_up_a_chain_is_named_with_its_reason() -> None:
    scene = Scene()
    scene.submit(t=Flow(after="b"), b=Flow(after="a"), a=None)
    texts = [reason["text"] for reason in scene.why("t")["reasons"]]
    assert texts[0] == "it waits until work[b] has ended"
    assert texts[2].startswith("work[a]: no worker consumes the queue 'q'")


# -- the whole workflow --------------------


def test_a_workflow_is_shown_whole_from_any_of_its_steps() -> None:
    scene = Scene()
    worker = scene.cluster.worker("a", slots=4)
    scene.submit(
        body=Flow(after="gather"),
        gather=Flow(gathers=2),
        x=Flow(after="first", into="gather", place=0),
        y=Flow(after="first", into="gather", place=1),
        first=None,
        stranger=None,
    )
    worker.finish("first")
    worker.finish("x")
    answers = [json.loads(scene.client.ask("workflow", id).body) for id in ("body", "gather", "x", "first")]
    assert [answer["steps"] for answer in answers[1:]] == [answers[0]["steps"]] * 3
    steps = {step["id"]: step for step in answers[0]["steps"]}
    assert {id: step["state"] for id, step in steps.items()} == {
        "body": "WAITING",
        "first": "SUCCESS",
        "gather": "WAITING",
        "x": "SUCCESS",
        "y": "STARTED",
    }
    assert steps["gather"]["lacks"] == 1
    assert json.loads(scene.client.ask("workflow", "nothing").body)["steps"] == []
