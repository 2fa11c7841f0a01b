"""The application under test: of the shape that a worker needs, without the library's upper layers."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesh import request
from mesh.conf import Conf


class SampleTask:
    def __init__(self, run: Callable[..., Any], *, is_async: bool = False) -> None:
        self.run = run
        self.is_async = is_async


class SampleApp:
    def __init__(self) -> None:
        self.tasks: dict[str, SampleTask] = {}
        self.registered_errors: dict[str, type[Exception]] = {}
        self.conf = Conf()

    def task(self, run: Callable[..., Any]) -> Callable[..., Any]:
        self.tasks[run.__name__] = SampleTask(run, is_async=asyncio.iscoroutinefunction(run))
        return run


def say_started(path: str) -> None:
    """Tell the test that a task runs, and in which process."""
    being_written = Path(f"{path}.{threading.get_ident()}")
    being_written.write_text(str(os.getpid()))
    being_written.rename(f"{path}.started")


app = SampleApp()


@app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task
def noop() -> None:
    return None


@app.task
def fail(*args: Any) -> None:
    raise ValueError(*args)


@app.task
def leave(code: int) -> None:
    sys.exit(code)


@app.task
def interrupt() -> None:
    raise KeyboardInterrupt


@app.task
def abort() -> None:
    os.abort()


@app.task
def echo(value: Any) -> Any:
    return value


@app.task
def both(first: bytes, second: bytes) -> list[int]:
    return [len(first), len(second)]


@app.task
def big(size: int) -> bytes:
    return b"x" * size


@app.task
def unencodable() -> object:
    return object()


class HardToTell(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@app.task
def fail_without_text() -> None:
    raise HardToTell(threading.Lock())


@app.task
def fail_with_surrogate() -> None:
    raise ValueError("\ud800")


@app.task
def fail_deeply() -> None:
    fail_deeply()


@app.task
def pid() -> int:
    return os.getpid()


@app.task
def thread() -> str:
    return threading.current_thread().name


@app.task
def wait_for(path: str, timeout: float = 20.0) -> str:
    """Run until a file exists: the test decides how long a task takes."""
    say_started(path)
    deadline = time.monotonic() + timeout
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.005)
    return "done"


@app.task
def maybe_wait_for(path: str) -> str:
    """A short task, or with a path a long one."""
    return wait_for(path) if path else "short"


@app.task
def append(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")


@app.task
def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def hold_interpreter(path: str) -> str:
    """Hold the interpreter in C: nothing else of this process runs meanwhile."""
    say_started(path)
    import ctypes

    hold = ctypes.PyDLL(None).sleep
    hold(15)
    return "done"


@app.task
def start_child(path: str) -> None:
    """Start a process that outlives the task, and say which."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path).write_text(str(child.pid))
    child.wait()


@app.task
async def add_later(x: int, y: int, pause: float = 0.0) -> int:
    await asyncio.sleep(pause)
    return x + y


@app.task
async def fail_later() -> None:
    await asyncio.sleep(0)
    raise LookupError("later")


@app.task
async def leave_later() -> None:
    await asyncio.sleep(0)
    raise SystemExit(3)


@app.task
async def leave_in_background() -> str:
    async def leave() -> None:
        raise SystemExit(4)

    asyncio.get_running_loop().create_task(leave())
    return "left"


@app.task
async def loop_id() -> int:
    return id(asyncio.get_running_loop())


@app.task
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@app.task
def sleep_in_steps(seconds: float) -> None:
    """Let an exception in between, as most Python does."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        time.sleep(0.01)


@app.task
async def sleep_later(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
def say_states(seconds: float) -> None:
    context = request.current()
    assert context is not None
    assert context.say is not None
    context.say(context, "HALF", {"done": 1})
    time.sleep(seconds)
