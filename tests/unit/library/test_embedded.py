"""A whole mesh in this process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh import Mesh, MeshError
from mesh.errors import NotFound


@pytest.fixture
def app() -> Iterator[Mesh]:
    with Mesh("embedded", embedded=True) as app:
        yield app


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("mesh")]


def test_tasks_of_all_queues_run(app: Mesh) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(queue="slow")
    def spell(number: int) -> str:
        return str(number)

    @app.task
    async def double(number: int) -> int:
        return 2 * number

    assert (add.delay(1, 2).get(timeout=10), spell.delay(3).get(timeout=10), double.delay(4).get(timeout=10)) == (3, "3", 8)


def test_a_task_that_is_defined_later_runs_as_well(app: Mesh) -> None:
    @app.task
    def first() -> int:
        return 1

    assert first.delay().get(timeout=10) == 1

    @app.task(queue="another")
    def second() -> int:
        return 2

    assert second.delay().get(timeout=10) == 2


def test_errors_and_states_are_as_in_a_real_mesh(app: Mesh) -> None:
    @app.task
    def fail(key: str) -> None:
        raise KeyError(key)

    result = fail.delay("x")
    with pytest.raises(KeyError, match="x") as caught:
        result.get(timeout=10)
    assert "fail" in caught.value.remote_traceback
    assert (result.state, app.AsyncResult("never").state) == ("FAILURE", "UNKNOWN")


def test_a_task_that_says_so_may_wait_for_another(app: Mesh) -> None:
    @app.task
    def inner(x: int) -> int:
        return x + 1

    @app.task
    def outer(x: int) -> int:
        return inner.delay(x).get(timeout=10, disable_sync_subtasks=False) * 2

    assert outer.delay(1).get(timeout=10) == 4


def test_close_ends_every_thread_and_removes_the_socket() -> None:
    app = Mesh("embedded", embedded=True)

    @app.task
    def one() -> int:
        return 1

    assert one.delay().get(timeout=10) == 1
    assert app._embedded is not None
    directory = Path(app._embedded._directory)
    assert directory.stat().st_mode & 0o077 == 0
    app.close()
    assert not directory.exists()
    assert [name for name in threads() if name.startswith("mesh-embedded") or name == "mesh-client"] == []


def test_with_a_directory_results_outlast_the_process(tmp_path: Path) -> None:
    def start() -> Mesh:
        app = Mesh("embedded", embedded=True, home=tmp_path)
        app.task(name="one")(lambda: 1)
        return app

    with start() as app:
        kept = app.tasks["one"].delay()
        assert kept.get(timeout=10) == 1
    with start() as app:
        assert app.AsyncResult(kept.id).get(timeout=10) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_that_the_mesh_is_its_parents(app: Mesh) -> None:
    app.task(name="one")(lambda: 1)
    assert app.tasks["one"].delay().get(timeout=10) == 1
    child = os.fork()
    if child == 0:
        code = 1
        try:
            app.tasks["one"].delay()
        except MeshError as error:
            code = 0 if "forked" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_a_worker_consumes_other_queues_by_order_of_a_program(app: Mesh) -> None:
    @app.task
    def first() -> int:
        return 1

    assert first.delay().get(timeout=10) == 1
    (told,) = app.control.add_consumer("extra", destination="embedded")
    assert (told["name"], told["queues"]) == ("embedded", ["default", "extra"])
    (told,) = app.control.cancel_consumer("extra")
    assert told["queues"] == ["default"]
    with pytest.raises(NotFound, match="the mesh has no worker 'nobody'"):
        app.control.add_consumer("extra", destination=["embedded", "nobody"])
