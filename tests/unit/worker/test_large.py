"""Large arguments and values of a worker's tasks, in chunks from and to its node; the test is the node."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import pytest

from mesh.wire import bodies
from mesh.wire.calls import Flow, Input
from mesh.wire.entries import Chunks
from mesh.wire.messages import CancelUpload, Delivery, OutcomeKind
from mesh.worker.spool import make
from tests.polling import poll_until
from tests.unit.worker.fakes import FakeLink, Running


def large_delivery(link: FakeLink, id: str, task: str, argument: object) -> Delivery:
    body = bodies.encode_call([argument], {})
    pieces = [body[start : start + 100_000] for start in range(0, len(body), 100_000)]
    name = id.encode().ljust(16)
    link.stored[name] = pieces
    chunks = Chunks(name, len(pieces), len(body), zlib.crc32(body))
    return Delivery(id=id, task=task, body=b"", attempt=0, queue="default", chunks=chunks)


def cancelled(link: FakeLink) -> list[bytes]:
    return [sent.body for sent in list(link.sent) if isinstance(sent, CancelUpload)]


def spools(folder: Path) -> list[Path]:
    return [file for spool in folder.glob("mesh-spool-*") for file in spool.iterdir()]


@pytest.mark.parametrize("pool", ["process", "thread"])
def test_large_arguments_and_values_go_through_files_that_are_gone_when_the_outcome_is_kept(
    pool: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    argument = os.urandom(1_000_000)
    with Running(pool, 1) as worker:
        worker.deliver(large_delivery(worker.link, "large", "echo", argument))
        assert worker.link.value(worker.outcome("large")) == argument
        poll_until(lambda: not spools(tmp_path), 5, "the files are gone")
        poll_until(lambda: cancelled(worker.link) == list(worker.link.uploaded), 5, "the node hears that it can forget the value")
    assert not list(tmp_path.glob("mesh-spool-*"))


@pytest.mark.parametrize("size", [10, 300_000])
def test_a_step_gets_a_large_value_of_the_one_before_it(size: int) -> None:
    link = FakeLink()
    with Running("thread", 1, link=link) as worker:
        given = large_delivery(link, "given", "echo", None)
        value = bodies.encode(bytes(300_000))
        link.stored[b"given".ljust(16)] = [value]
        given.chunks = Chunks(b"given".ljust(16), 1, len(value), zlib.crc32(value))
        step = large_delivery(link, "step", "both", bytes(size))
        step.flow, step.input = Flow(after="given"), Input("given", chunks=given.chunks)
        worker.deliver(step)
        assert link.value(worker.outcome("step")) == [300_000, size]


def test_a_large_value_is_sent_again_to_another_node() -> None:
    link = FakeLink(keeps=False)
    with Running("thread", 1, link=link) as worker:
        worker.deliver(large_delivery(link, "large", "echo", bytes(300_000)))
        first = worker.outcome("large")
        assert first.chunks is not None
        link.sent.clear()
        link.generation += 1
        link.say()
        again = worker.outcome("large")
        assert again.chunks is not None
        assert again.chunks.body in link.uploaded
        assert len(link.uploaded) == 2
        assert link.value(again) == bytes(300_000)


def test_arguments_that_are_not_what_was_sent_fail_the_task_with_body_lost() -> None:
    link = FakeLink()
    with Running("thread", 1, link=link) as worker:
        delivery_ = large_delivery(link, "large", "echo", bytes(300_000))
        link.stored[b"large".ljust(16)][1] = b"?" * 100_000
        worker.deliver(delivery_)
        outcome = worker.outcome("large")
        assert outcome.failure is not None
        assert outcome.failure.type_name == "mesh.errors.BodyLost"


def test_a_task_whose_arguments_are_lost_goes_back_to_the_coordinator_which_knows_whether_it_was_submitted_again() -> None:
    link = FakeLink()
    with Running("thread", 1, link=link) as worker:
        delivery = large_delivery(link, "large", "echo", bytes(300_000))
        pieces = link.stored.pop(delivery.id.encode().ljust(16))
        worker.deliver(delivery)
        assert worker.outcome("large").kind == OutcomeKind.RETURNED
        link.stored[delivery.id.encode().ljust(16)] = pieces
        link.sent.clear()
        worker.deliver(delivery)
        assert link.value(worker.outcome("large")) == bytes(300_000)


def test_the_spool_of_a_worker_that_was_killed_goes_when_another_makes_its_own(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    dead, alive = tmp_path / f"mesh-spool-{process.pid}-0", tmp_path / f"mesh-spool-{os.getpid()}-1"
    dead.mkdir()
    alive.mkdir()
    make(tmp_path / f"mesh-spool-{os.getpid()}-2")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"mesh-spool-{os.getpid()}-1", f"mesh-spool-{os.getpid()}-2"]
