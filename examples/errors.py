"""What can go wrong, and what the caller gets. Start it with ``python examples/errors.py``."""

import threading
import time

from mesh import Mesh, NotEncodable, ResultTimeout, TaskError

app = Mesh("errors", embedded=True)


@app.register_error
class OutOfStock(Exception):
    """Registered, so it reaches the caller as itself."""


class Private(Exception):
    """Not registered: the caller gets a TaskError that names it."""


@app.task
def divide(x: int, y: int) -> float:
    return x / y


@app.task
def order(item: str) -> None:
    if item == "secret":
        raise Private(item)
    raise OutOfStock(item)


@app.task
def nap(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


def main() -> None:
    try:
        divide.delay(1, 0).get(timeout=10)
    except ZeroDivisionError as error:
        print("builtin:", repr(error), "raised by", error.worker)  # type: ignore[attr-defined]  # every remote error says where

    try:
        order.delay("tea").get(timeout=10)
    except OutOfStock as error:
        print("registered:", repr(error))

    try:
        order.delay("secret").get(timeout=10)
    except TaskError as error:
        print("other:", error)
        print("its last line:", error.remote_traceback.splitlines()[-1])

    slow = nap.delay(0.5)
    try:
        slow.get(timeout=0.1)
    except ResultTimeout:
        print("not yet; the task goes on:", slow.get(timeout=10))

    try:
        order.delay({"lock": threading.Lock()})
    except NotEncodable as error:
        print("nothing was sent:", error.path)

    try:
        divide.delay(1)  # type: ignore[call-arg]
    except TypeError as error:
        print("nothing was sent:", error)


if __name__ == "__main__":
    with app:
        main()
