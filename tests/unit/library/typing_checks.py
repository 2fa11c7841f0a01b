"""What type checkers are promised; checked by test_typing.py, never run."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from mesh import AsyncResult, Mesh, Signature, Task

app = Mesh("tasks")


@app.task
def add(x: int, y: int = 0) -> int:
    return x + y


@app.task(queue="slow", name="tasks.spell")
def spell(number: int) -> str:
    return str(number)


@app.task
async def fetch(url: str) -> bytes:
    return url.encode()


@app.task(queue="net")
async def ping(host: str) -> float:
    return len(host)


assert_type(add(1, 2), int)
assert_type(add.delay(1, y=2), AsyncResult[int])
assert_type(add.delay(1).get(timeout=1), int)
assert_type(add.apply_async((1, 2), queue="q", task_id="t", countdown=1.5, expires=9).get(), int)
assert_type(spell.delay(1).get(), str)
assert_type(spell.s(1), Signature[str])
assert_type(add.si(1, 2).delay(), AsyncResult[int])
assert_type(app.submit_many(add.s(n) for n in range(3)), list[AsyncResult[int]])
assert_type(app.send_task("other.task", [1]), AsyncResult[Any])
assert_type(app.AsyncResult("id"), AsyncResult[Any])
assert_type(fetch.delay("x").get(), bytes)
assert_type(ping.delay(host="x").get(), float)


async def main() -> None:
    assert_type(await add.delay(1), int)
    here = assert_type(fetch("x"), Coroutine[Any, Any, bytes])
    assert_type(await here, bytes)
    assert_type(await fetch.delay("x"), bytes)


def takes(task: Task[[int], str]) -> None:
    assert_type(task.delay(1).get(), str)


takes(spell)

add.delay("1")  # type: ignore[arg-type]
add.delay()  # type: ignore[call-arg]
add.delay(1, 2, 3)  # type: ignore[call-arg]
add.apply_async((1,), que="q")  # type: ignore[call-arg]
app.task(que="q")  # type: ignore[call-overload]
takes(add)  # type: ignore[arg-type]


@app.register_error
class Refused(Exception):
    pass


assert_type(Refused("x"), Refused)
