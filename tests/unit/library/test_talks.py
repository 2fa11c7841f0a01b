"""The code of the talks and of the tutorial that is about calling, canvas and retry, with ``mesh`` in place of ``celery``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mesh import Mesh, chain, chord, group


@pytest.fixture(scope="module")
def proj() -> Iterator[dict[str, Any]]:
    app = Mesh("proj", embedded=True)

    @app.task
    def add(x: int, y: int, debug: bool = True) -> int:
        return x + y if debug else -(x + y)

    @app.task
    def mul(x: int, y: int) -> int:
        return x * y

    @app.task
    def xsum(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(bind=True, max_retries=2, default_retry_delay=0.02)
    def add_by_input(self: Any) -> Any:
        seen.append(self.request.retries)
        try:
            res = 5 + "5"  # type: ignore[operator]
            return res  # noqa: RET504 - as the talk shows it
        except TypeError as exc:
            raise self.retry(exc=exc) from exc

    seen: list[int] = []
    with app:
        yield {"app": app, "add": add, "mul": mul, "xsum": xsum, "add_by_input": add_by_input, "seen": seen}


def test_calling_the_tasks(proj: dict[str, Any]) -> None:
    add = proj["add"]
    assert add.delay(2, 2).get(timeout=10) == 4
    res = add.apply_async((2, 2), queue="lopri", countdown=0.05)
    assert (res.get(timeout=10), res.failed(), res.successful(), res.state) == (4, False, True, "SUCCESS")
    result = add.delay(4, 4)
    result.get(timeout=10)
    assert (result.ready(), result.result) == (True, 8)


def test_results_are_gathered_in_the_order_of_submission(proj: dict[str, Any]) -> None:
    numbers = [(2, 2), (4, 4), (8, 8), (16, 16)]
    results = []
    with proj["app"].connection() as connection:
        for args in numbers:
            res = proj["add"].apply_async(args=args, connection=connection)
            results.append(res)
    assert [res.get(timeout=10) for res in results] == [4, 8, 16, 32]


def test_signatures(proj: dict[str, Any]) -> None:
    add = proj["add"]
    assert add.signature((2, 2), countdown=0.05).delay().get(timeout=10) == 4
    assert add.s(2, 2).apply_async().get(timeout=10) == 4
    s2 = add.s(2)
    res = s2.delay(8)
    assert res.get(timeout=10) == 10
    s3 = add.s(2, 2, debug=True)
    assert s3.delay(debug=False).get(timeout=10) == -4
    assert s3.delay().get(timeout=10) == 4


def test_primitives(proj: dict[str, Any]) -> None:
    add, mul, xsum = proj["add"], proj["mul"], proj["xsum"]
    assert group(add.s(i, i) for i in range(10))().get(timeout=10) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert group(add.s(2, 2), mul.s(4, 4))().get(timeout=10) == [4, 16]
    g = group(add.s(i) for i in range(10))
    assert g(10).get(timeout=10) == [10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert chain(add.s(4, 4) | mul.s(8))().get(timeout=10) == 64
    c = chain(add.s(4) | mul.s(8))
    assert c(4).get(timeout=10) == 64
    assert (add.s(4, 4) | mul.s(8))().get(timeout=10) == 64
    assert chord((add.s(i, i) for i in range(10)), xsum.s())().get(timeout=10) == 90
    assert (group(add.s(i, i) for i in range(10)) | xsum.s())().get(timeout=10) == 90


def test_retry_keeps_the_id_and_raises_the_cause_in_the_end(proj: dict[str, Any]) -> None:
    result = proj["add_by_input"].delay()
    with pytest.raises(TypeError, match="unsupported operand"):
        result.get(timeout=10)
    assert proj["seen"] == [0, 1, 2]
