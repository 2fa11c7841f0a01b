"""What a task may know about the call that it runs for."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import Any

from mesh import request
from mesh.wire import bodies
from mesh.wire.calls import Call
from mesh.wire.topology import Properties
from mesh.wire.working import Delivery, Outcome
from mesh.worker.coroutines import waited, waited_elsewhere
from mesh.worker.execute import Executor
from tests.unit.worker.sample import SampleApp

app = SampleApp()


@app.task
def who(*_: Any) -> tuple[str | None, str | None]:
    context = request.current()
    assert context is not None
    return context.id, context.root_id


@app.task
async def who_later(*_: Any) -> tuple[str | None, str | None]:
    await asyncio.sleep(0)
    return who()


@app.task
def submit_three() -> None:
    context = request.current()
    assert context is not None
    context.submitted(["a"])
    context.submitted(["b", "c"])


def delivery(id: str, task: str, call: Call | None = None, **fields: Any) -> Delivery:
    return Delivery(id, task, bodies.encode_call((), {}), 1, "default", call=call, **fields)


def run(sent: Delivery) -> Outcome:
    loop = asyncio.new_event_loop()
    try:
        return Executor(app.tasks, 1 << 20).run(sent, partial(waited, loop))
    finally:
        loop.close()


def test_a_task_knows_its_own_id_and_that_of_the_root() -> None:
    assert bodies.decode(run(delivery("i", "who")).body) == ("i", "i")
    assert bodies.decode(run(delivery("i", "who", Call(root="r"))).body) == ("i", "r")


def test_outside_of_tasks_there_is_no_request() -> None:
    run(delivery("i", "who"))
    assert request.current() is None
    assert request.of("who").called_directly
    assert request.of("who").id is None


def test_coroutines_have_a_request_each_wherever_they_run() -> None:
    executor = Executor(app.tasks, 1 << 20)
    ids = [f"i{number}" for number in range(20)]

    async def all_at_once() -> list[Outcome]:
        here = [executor.run_async(delivery(id, "who_later")) for id in ids]
        wait = partial(waited_elsewhere, asyncio.get_running_loop())
        with ThreadPoolExecutor(4) as threads:
            loop = asyncio.get_running_loop()
            there = [loop.run_in_executor(threads, executor.run, delivery(id, "who_later"), wait) for id in ids]
            return await asyncio.gather(*here, *there)

    outcomes = asyncio.run(all_at_once())
    assert [bodies.decode(outcome.body)[0] for outcome in outcomes] == ids + ids


def test_the_tasks_that_a_task_submits_are_its_children_in_order() -> None:
    assert run(delivery("i", "submit_three")).children == ("a", "b", "c")


def test_a_request_has_what_the_call_said_under_celerys_names() -> None:
    call = Call(
        root="r", parent="p", retries=2, soft_limit_ms=500, hard_limit_ms=2000, group="g", group_index=3, shadow="s", stamps={"k": "v"}
    )
    properties = Properties(exchange="e", routing_key="k", priority=3, headers={"h": 1}, expires_ms=2_000)
    context = request.Context(Delivery("i", "t", b"", 2, "q", properties=properties, call=call, eta_ms=1_000))
    assert (context.id, context.correlation_id, context.root_id, context.parent_id, context.retries) == ("i", "i", "r", "p", 2)
    assert (context.group, context.group_index, context.shadow, context.stamps) == ("g", 3, "s", {"k": "v"})
    assert context.timelimit == (2.0, 0.5)
    assert (context.eta, context.expires) == (datetime.fromtimestamp(1, UTC), datetime.fromtimestamp(2, UTC))
    assert context.headers == {"h": 1}
    wanted = {"exchange": "e", "routing_key": "k", "priority": 3, "queue": "q", "attempt": 2, "redelivered": True}
    assert context.delivery_info == wanted
    assert context.get("retries") == 2
    assert context.get("no such name", 7) == 7


def test_a_task_that_another_task_calls_as_a_function_has_no_request_of_its_own() -> None:
    token = request.enter(request.Context(Delivery("i", "outer", b"", 1, "q")))
    try:
        assert request.of("outer").id == "i"
        assert request.of("inner").called_directly
    finally:
        request.leave(token)
