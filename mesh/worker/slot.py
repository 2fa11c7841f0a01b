"""The program of one slot: ``python -m mesh.worker.slot``, started by a worker's parent (mesh/worker/slots.py).

It loads the application, tells its tasks and runs what it is given. It ends when the parent does.
"""

from __future__ import annotations

import io
import json
import logging
import mmap
import os
import signal
import socket
import sys
from pathlib import Path

from mesh.errors import MeshError
from mesh.worker.execute import Executor
from mesh.worker.lanes import serve
from mesh.worker.loader import Application, load
from mesh.worker.orders import CELLS, Loaded, Start, decode_order
from mesh.worker.pipe import Pipe
from mesh.worker.plans import Plans, hard_limits_ms
from mesh.worker.station import Marks, Station, end_process

_log = logging.getLogger("mesh.worker")


def main() -> int:
    """Serve until the parent closes the pipes. Returns 1 when the application can't be loaded."""
    work, control = (Pipe(end) for end in _inherited(sys.argv[1:3]))
    leave_signals_to_the_parent()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # prints must survive os._exit
    start = decode_order(work.receive()[0])
    assert isinstance(start, Start), "the parent speaks first"
    logging.basicConfig(level=start.log_level, format="[%(asctime)s: %(levelname)s/%(process)d] %(message)s")
    executor = Executor({}, start.max_body_bytes, start.spool, start.chunk_bytes, hostname=start.name, ends_tasks=start.pool != "process")
    station = Station(work, control, _shared_marks(sys.argv[3:], start.marks), executor)
    station.watch(end_process)
    try:
        report = loaded(load(start.app), executor)
    except MeshError as error:
        station.send(Loaded([], str(error)))
        return 1
    station.send(report)
    serve(station, start.pool, start.width)
    return 0


def loaded(app: Application, executor: Executor) -> Loaded:
    """Have the tasks run, and tell what the parent needs of the application. Raises InvalidSetting for what its settings do not go with."""
    executor.plans = Plans(app.tasks)
    topology = app.conf.topology
    declares = json.dumps({"changes": topology}) if topology else ""
    return Loaded(sorted(app.tasks), "", app.conf.worker_queues, declares, hard_limits_ms(app.tasks))


def leave_signals_to_the_parent() -> None:
    """Ctrl-C and a service manager reach every process of a group: the parent decides when a slot ends.

    A handler that does nothing, not SIG_IGN: programs that a task starts inherit what is ignored, and must stay killable.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)


def _inherited(arguments: list[str]) -> list[socket.socket]:
    """Our ends of the two socket pairs: file descriptors, or on Windows what ``socket.share`` wrote to our standard input."""
    if arguments:
        ends = [socket.socket(fileno=int(number)) for number in arguments]
        for end in ends:
            end.set_inheritable(False)
        return ends
    fromshare = socket.fromshare  # type: ignore[attr-defined]  # exists on Windows only
    shares = [sys.stdin.buffer.read(int.from_bytes(sys.stdin.buffer.read(4), "big")) for _ in range(2)]
    return [fromshare(share) for share in shares]


def _shared_marks(inherited: list[str], name: str) -> Marks:
    """The memory that the parent sees: a file descriptor, or on Windows a file's name; the parent removes that later."""
    with os.fdopen(int(inherited[0]), "r+b") if inherited else Path(name).open("r+b") as file:
        return mmap.mmap(file.fileno(), CELLS)


if __name__ == "__main__":
    sys.exit(main())
