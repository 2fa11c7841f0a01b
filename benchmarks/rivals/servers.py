"""Private servers for the rivals: on 127.0.0.1, on free ports, with their data in a folder that goes away with them.

RabbitMQ brings Erlang's port mapper (epmd), which by default listens on every interface: here it is a child of this program too,
on a port of its own and bound to loopback.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

LOOPBACK = "127.0.0.1"
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's start script in /usr/sbin would change the user and the folders."""
START_TIMEOUT_S = 60


class ServerFailed(RuntimeError):
    """A server did not start; the message has the end of its log."""


def missing() -> list[str]:
    """What has to be installed before the servers can run."""
    found = {"rabbitmq-server": RABBITMQ.exists(), "epmd": bool(shutil.which("epmd")), "redis-server": bool(shutil.which("redis-server"))}
    return [name for name, there in found.items() if not there]


def free_port() -> int:
    """A TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def rabbitmq() -> Iterator[str]:
    """A RabbitMQ with its defaults; yields its URL (user guest, as it listens on loopback only)."""
    port, epmd_port = free_port(), free_port()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mesh-bench-rabbitmq-", ignore_cleanup_errors=True)))
        environment = os.environ | {
            "HOME": str(folder),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(epmd_port),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "no-such-file"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_NODENAME": f"bench{os.getpid()}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
            "RABBITMQ_NODE_PORT": str(port),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }
        epmd = ["epmd", "-address", LOOPBACK, "-port", str(epmd_port)]
        stack.enter_context(running(epmd, environment, folder / "epmd.log", lambda: listens(epmd_port)))
        stack.enter_context(running([str(RABBITMQ)], environment, folder / "server.log", lambda: listens(port)))
        yield f"amqp://guest:guest@{LOOPBACK}:{port}/%2F"


@contextmanager
def redis() -> Iterator[str]:
    """A Redis with its defaults; yields its URL."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mesh-bench-redis-", ignore_cleanup_errors=True) as name:
        command = ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--dir", name]
        with running(command, os.environ, Path(name) / "server.log", lambda: listens(port)):
            yield f"redis://{LOOPBACK}:{port}/0"


@contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    """A process, from when it is ready until it and its children are gone; yields its pid. Raises ServerFailed."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerFailed(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], timeout_s: float = 20) -> None:
    """End a process politely, then whatever is left of the group that it leads."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def listens(port: int) -> bool:
    """Whether a TCP connection to a port on loopback succeeds."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((LOOPBACK, port)) == 0
