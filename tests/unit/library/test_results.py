"""Results: waiting, states, errors, event loops, forks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import traceback

import pytest

from mesh import AsyncResult, DeliveriesExhausted, Mesh, ResultTimeout, TaskError
from mesh.wire.entries import Message, Result, Status
from tests.polling import poll_until
from tests.unit.client.fake_node import add, failure, success
from tests.unit.client.places import Place
from tests.unit.library.conftest import MakeApp


def failing(type_name: str, text: str, arguments: object = None):
    def run(message: Message) -> Result:
        return failure(message.id, type_name, text, arguments)

    return run


def call(app: Mesh) -> AsyncResult[object]:
    return app.send_task("t", (1, 2))


# -- values --------------------


def test_get_returns_the_value(place: Place, make_app: MakeApp) -> None:
    place.node(add)
    result = call(make_app())
    assert result.get(timeout=5) == 3
    assert result.get() == result.result == 3
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert (result.state, result.status, result.traceback, result.node, result.worker) == ("SUCCESS", "SUCCESS", None, "server", "w1")


def test_get_waits_until_the_result_comes(place: Place, make_app: MakeApp) -> None:
    node = place.node()
    result = call(make_app())
    threading.Timer(0.05, lambda: node.finish(success(result.id, "late"))).start()
    assert result.get(timeout=5) == "late"


def test_a_timeout_is_a_timeout_error_and_the_task_goes_on(place: Place, make_app: MakeApp) -> None:
    node = place.node()
    result = call(make_app())
    with pytest.raises(TimeoutError, match=r"no result after 0.05 s; it is PENDING") as caught:
        result.get(timeout=0.05)
    assert isinstance(caught.value, ResultTimeout)
    node.finish(success(result.id, 1))
    assert result.get(timeout=5) == 1


def test_a_node_restart_while_get_waits_is_a_pause(place: Place, make_app: MakeApp) -> None:
    node = place.node()
    result = call(make_app())
    node.stop()
    node.start()
    node.finish(success(result.id, 1))
    assert result.get(timeout=5) == 1


def test_a_task_without_a_worker_is_not_ready(place: Place, make_app: MakeApp) -> None:
    place.node()
    result = call(make_app())
    assert (result.ready(), result.successful(), result.failed(), result.result, result.traceback, result.node) == (
        False,
        False,
        False,
        None,
        None,
        None,
    )
    assert result.state == "PENDING"


def test_results_are_equal_and_hashed_by_id(place: Place, make_app: MakeApp) -> None:
    place.node(add)
    app = make_app()
    result = call(app)
    assert result == app.AsyncResult(result.id)
    assert len({result, app.AsyncResult(result.id)}) == 1
    assert result != result.id
    result.get(timeout=5)
    assert repr(result) == f"<AsyncResult {result.id} SUCCESS>"


# -- by id --------------------


def test_the_result_of_another_program_is_known_by_its_id(place: Place, make_app: MakeApp) -> None:
    node = place.node()
    node.results["theirs"] = success("theirs", 5)
    result = make_app().AsyncResult("theirs")
    assert result.ready()
    assert (result.get(timeout=5), result.copies) == (5, None)


def test_an_id_that_the_mesh_has_never_seen_is_unknown(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    node.messages["waiting"] = Message("waiting", "default", "t", b"")
    assert app.AsyncResult("never").state == "UNKNOWN"
    assert app.AsyncResult("waiting").state == "PENDING"
    assert not app.AsyncResult("never").ready()
    with pytest.raises(ResultTimeout, match="it is UNKNOWN"):
        app.AsyncResult("never").get(timeout=0.2)


def test_a_state_of_a_newer_node_is_pending(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    result = app.AsyncResult("x")
    result.ready()
    result._pending.status = 99
    assert result._pending_status() is Status.PENDING
    assert node.watched


def test_a_mesh_that_does_not_answer_is_a_timeout(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    app.client.greeting(time.monotonic() + 5)
    node._watch = lambda session, watch: None
    app.publish_timeout = 0.1
    with pytest.raises(ResultTimeout, match=r"did not say within 0.1 s how task x stands"):
        _ = app.AsyncResult("x").state


# -- errors --------------------


def test_a_builtin_error_comes_back_as_itself_with_where_and_how(place: Place, make_app: MakeApp) -> None:
    place.node(failing("builtins.ZeroDivisionError", "division by zero", ["division by zero"]))
    result = call(make_app())
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        result.get(timeout=5)
    error = caught.value
    assert (error.node, error.worker) == ("server", "w1")
    assert "Traceback (most recent call last)" in error.remote_traceback
    shown = "".join(traceback.format_exception(error))
    assert f"task {result.id} failed on node server in worker w1" in shown
    assert error.remote_traceback.strip() in shown
    assert (result.state, result.failed(), result.successful()) == ("FAILURE", True, False)
    assert result.traceback == error.remote_traceback
    assert isinstance(result.result, ZeroDivisionError)


def test_each_get_raises_a_fresh_error(place: Place, make_app: MakeApp) -> None:
    place.node(failing("builtins.ValueError", "x", ["x"]))
    result = call(make_app())
    errors = [result.get(timeout=5, propagate=False) for _ in range(2)]
    assert errors[0] is not errors[1]
    assert all(isinstance(error, ValueError) and len(error.__notes__) == 1 for error in errors)


def test_arguments_of_an_error_survive(place: Place, make_app: MakeApp) -> None:
    place.node(failing("builtins.FileNotFoundError", "[Errno 2] gone: 'x'", [2, "gone", "x"]))
    with pytest.raises(FileNotFoundError) as caught:
        call(make_app()).get(timeout=5)
    assert (caught.value.errno, caught.value.filename) == (2, "x")


def test_an_error_without_arguments_has_its_message(place: Place, make_app: MakeApp) -> None:
    place.node(failing("builtins.RuntimeError", "boom"))
    with pytest.raises(RuntimeError, match="boom"):
        call(make_app()).get(timeout=5)


class Refused(Exception):
    pass


class Odd(Exception):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a}{b}")


def test_a_registered_error_comes_back_as_itself(place: Place, make_app: MakeApp) -> None:
    place.node(failing(f"{__name__}.Refused", "no", ["no"]))
    app = make_app()
    assert app.register_error(Refused) is Refused
    with pytest.raises(Refused, match="no"):
        call(app).get(timeout=5)


def test_an_error_that_is_not_registered_is_a_task_error(place: Place, make_app: MakeApp) -> None:
    place.node(failing(f"{__name__}.Refused", "no", ["no"]))
    with pytest.raises(TaskError, match="Refused: no") as caught:
        call(make_app()).get(timeout=5)
    assert (caught.value.type_name, caught.value.node) == (f"{__name__}.Refused", "server")


def test_an_error_that_can_not_be_made_again_is_a_task_error(place: Place, make_app: MakeApp) -> None:
    place.node(failing(f"{__name__}.Odd", "12", ["12"]))
    app = make_app()
    app.register_error(Odd)
    with pytest.raises(TaskError, match="Odd: 12"):
        call(app).get(timeout=5)


@pytest.mark.parametrize("name", ["builtins.SystemExit", "builtins.KeyboardInterrupt", "builtins.eval", "os.system", "subprocess.Popen"])
def test_nothing_but_exceptions_is_ever_made_from_a_name(place: Place, make_app: MakeApp, name: str) -> None:
    place.node(failing(name, "x", ["x"]))
    with pytest.raises(TaskError) as caught:
        call(make_app()).get(timeout=5)
    assert caught.value.type_name == name


def test_exhausted_deliveries_are_told_apart(place: Place, make_app: MakeApp) -> None:
    place.node(failing("mesh.errors.DeliveriesExhausted", "lost its worker 5 times"))
    with pytest.raises(DeliveriesExhausted, match="lost its worker 5 times"):
        call(make_app()).get(timeout=5)


def test_only_exceptions_can_be_registered(make_app: MakeApp) -> None:
    with pytest.raises(TypeError, match="exception class"):
        make_app().register_error(int)


# -- event loops --------------------


def test_await_gives_the_value(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()

    async def main() -> object:
        result = call(app)
        asyncio.get_running_loop().call_later(0.05, lambda: node.finish(success(result.id, 7)))
        first = await result
        return first, await result

    assert asyncio.run(main()) == (7, 7)


def test_many_are_awaited_at_once_while_the_loop_lives(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()

    async def main() -> list[object]:
        results = [call(app) for _ in range(50)]
        gathered = asyncio.gather(*results)
        beats = 0
        while not gathered.done():
            beats += 1
            await asyncio.sleep(0.01)
            if beats == 3:
                for n, result in enumerate(results):
                    node.finish(success(result.id, n))
        return await gathered

    assert asyncio.run(main()) == list(range(50))


def test_await_raises_the_tasks_error(place: Place, make_app: MakeApp) -> None:
    place.node(failing("builtins.ValueError", "x", ["x"]))
    app = make_app()

    async def main() -> None:
        with pytest.raises(ValueError, match="x"):
            await call(app)

    asyncio.run(main())


def test_a_cancelled_await_leaves_nothing_behind(place: Place, make_app: MakeApp) -> None:
    place.node()
    app = make_app()

    async def main() -> None:
        result = call(app)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(result, 0.05)
        assert not result._pending.waiters

    asyncio.run(main())


# -- threads and forks --------------------


def test_sixteen_threads_call_and_wait(place: Place, make_app: MakeApp) -> None:
    place.node(add)
    app, sums = make_app(), []

    def work() -> None:
        sums.append(sum(app.send_task("t", (n, 1)).get(timeout=20) for n in range(20)))

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sums == [210] * 16


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_its_parents_result_and_calls_on_its_own(place: Place, make_app: MakeApp) -> None:
    node, app = place.node(), make_app()
    result = call(app)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            node.run = add  # without effect: the parent's thread serves
            code = 0 if result.get(timeout=10) == "done" and call(app).get(timeout=10) == "too" else 2
        finally:
            os._exit(code)
    node.finish(success(result.id, "done"))
    new = poll_until(lambda: [id for id in list(node.messages) if id != result.id], 10, "the child's own call")
    node.finish(success(new[0], "too"))
    assert os.waitpid(child, 0)[1] == 0
    assert result.get(timeout=5) == "done"
