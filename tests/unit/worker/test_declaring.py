"""A worker's queues: which it consumes, and that the mesh knows them first."""

from __future__ import annotations

import json

import pytest

from mesh import Mesh
from mesh.config import Settings
from mesh.wire.messages import Answer, Query, SessionRequest
from mesh.worker.declaring import Declaring
from mesh.worker.execute import Executor
from mesh.worker.parent import Worker
from mesh.worker.slot import loaded
from mesh.worker.spec import WorkerSpec
from tests.unit.worker.fakes import FakeLink, Running


class DeclaringLink(FakeLink):
    """A node that answers what is to be declared."""

    def __init__(self, error: str = "") -> None:
        super().__init__()
        self._error = error

    def send(self, message: SessionRequest) -> bool:
        if isinstance(message, Query):
            assert self.offers == []
            self.say(Answer(message.number, b"null" if self._error else b"[]", self._error))
        return super().send(message)


ROUTED = "tests.unit.worker.routed"


def test_a_worker_consumes_the_applications_queues_unless_it_is_told_others() -> None:
    app = Mesh("routed")
    app.conf.task_queues = ["feeds", "emails"]
    assert loaded(app, Executor({}, 1 << 20)).queues == ["feeds", "emails"]
    assert loaded(Mesh("plain"), Executor({}, 1 << 20)).queues == ["default"]
    with Running("thread", 1) as worker:
        assert worker.link.offers[0].queues == ["default"]


def test_a_worker_offers_nothing_before_the_mesh_knows_its_queues() -> None:
    with Running("process", 1, app=ROUTED, link=DeclaringLink()) as worker:
        question = worker.link.sent[0]
        assert isinstance(question, Query)
        assert question.what == "topology-change"
        assert [change["name"] for change in json.loads(question.argument)["changes"]] == ["feeds"]
        assert worker.link.offers[0].queues == ["feeds"]


def test_a_worker_ends_when_its_queues_are_declared_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    link = DeclaringLink("declared-otherwise: the queue 'feeds' has max_length = 1, not 5")
    assert Worker(link, WorkerSpec(ROUTED, concurrency=1), Settings()).run() == 1
    assert "can't be declared: the queue 'feeds' has max_length = 1, not 5" in caplog.text
    assert link.offers == []


def test_a_worker_asks_again_when_there_is_no_coordinator_or_another_node() -> None:
    declaring = Declaring()
    declaring.set("changes")
    first = declaring.question(1, 10.0)
    assert first is not None
    assert declaring.question(1, 10.5) is None
    assert declaring.on_answer(Answer(first.number, b"null", "no-coordinator: none"), 1) == ""
    assert not declaring.is_done(1)
    second = declaring.question(1, 11.5)
    assert second is not None
    assert declaring.on_answer(Answer(second.number, b"[]"), 1) == ""
    assert declaring.is_done(1)
    assert not declaring.is_done(2)
    assert declaring.question(2, 11.6) is not None
