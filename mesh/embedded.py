"""A private node and worker in this process, for ``Mesh(embedded=True)``: tests, notebooks, one machine.

The node is a whole one, on a socket in a directory of its own and on loopback ports that nobody is told of; its state is in memory,
or in ``<home>/embedded`` when a directory is given.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mesh import ids
from mesh.config import Settings
from mesh.errors import MeshError

if TYPE_CHECKING:
    from mesh.node import Node
    from mesh.storage.home import Home
    from mesh.transport.attach import LocalSocket
    from mesh.transport.zmq import ZmqTransport
    from mesh.wire.messages import Attached
    from mesh.worker.parent import Worker

MESH_NAME = "embedded"
THREADS_MIN = 4
"""Tasks that wait for other tasks need room beside them."""
START_TIMEOUT_S = 10.0
DRAIN_TIMEOUT_S = 5.0
STOP_TIMEOUT_S = 3.0


class Application(Protocol):
    """What the embedded worker needs of an application."""

    name: str

    @property
    def tasks(self) -> Mapping[str, Any]:
        """The tasks by name."""

    @property
    def registered_errors(self) -> Mapping[str, type[Exception]]:
        """Exception types that are rebuilt, by name on the wire."""


class EmbeddedNodes:
    """Where clients of an embedded node find it (mesh/client/link.py, Nodes)."""

    def __init__(self, ipc_path: Path) -> None:
        self._ipc_path = ipc_path

    def local(self) -> LocalSocket | None:
        """A connection to the embedded node."""
        from mesh.transport.attach import LocalSocket

        return LocalSocket(self._ipc_path, ids.session_id())

    def search(self) -> EmbeddedNodes:
        """There is nowhere else to look."""
        return self

    def take(self) -> None:
        """No other node."""

    def close(self) -> None:
        """Nothing to stop."""

    def remember(self, attached: Attached) -> None:
        """Nothing to keep."""

    def not_found(self) -> MeshError:
        """What to raise when the node does not answer."""
        return MeshError("the embedded node does not answer")


class Embedded:
    """The node and the worker of one application; started at the first need. ``home`` is where the state lies, None for memory."""

    def __init__(self, app: Application, home: Path | None) -> None:
        self._app = app
        self._home = home
        self._queues: list[str] = []
        self._pid = os.getpid()
        self._nodes: EmbeddedNodes | None = None
        self._node: Node | None = None
        self._worker: Worker | None = None
        self._threads: list[threading.Thread] = []
        self._directory = ""

    def consume(self, queue: str) -> None:
        """Have the worker take from this queue, at the latest when it announces the next task."""
        if queue not in self._queues:
            self._queues.append(queue)

    def start(self) -> EmbeddedNodes:
        """Start both unless they run; returns where to find the node. Raises StateRefused and its kind, MeshError in a forked child."""
        if self._pid != os.getpid():
            raise MeshError("an embedded mesh belongs to the process that made it: this one was forked from it")
        if self._nodes is None:
            settings = Settings.load()
            self._directory = tempfile.mkdtemp(prefix="mesh-")  # mode 0700
            ipc_path = Path(self._directory) / "node.sock"
            try:
                self._start_node(ipc_path, settings)
            except BaseException:
                self._remove_directory()
                raise
            self._nodes = EmbeddedNodes(ipc_path)
            self._start_worker(self._nodes, settings)
            atexit.register(self.stop)
        return self._nodes

    def stop(self) -> None:
        """Let running tasks end, for some seconds, and stop both. A later start begins anew, from the directory if there is one."""
        if self._nodes is None or self._worker is None or self._node is None or self._pid != os.getpid():
            return
        atexit.unregister(self.stop)
        node_thread, worker_thread = self._threads
        self._worker.stop()
        worker_thread.join(DRAIN_TIMEOUT_S)
        if worker_thread.is_alive():
            self._worker.stop()
            worker_thread.join(STOP_TIMEOUT_S)
        self._node.stop()
        node_thread.join(STOP_TIMEOUT_S)
        self._nodes = self._node = self._worker = None
        self._remove_directory()

    def _start_node(self, ipc_path: Path, settings: Settings) -> None:
        # Only those who embed a node pay for importing one.
        from mesh.core.effects import Identity
        from mesh.node import Node
        from mesh.storage.memory import MemoryStore
        from mesh.storage.sqlite import SqliteStore
        from mesh.transport.curve import FleetSecret, KeyPair
        from mesh.transport.zmq import ZmqTransport

        home = self._create_home()
        keys = KeyPair.make() if home is None else KeyPair.load_or_make(home.path / "node.key")
        secret = FleetSecret.make() if home is None else _kept_secret(home)
        identity = Identity(
            id=ids.node_id(keys.public),
            name=socket.gethostname(),
            key=keys.public,
            mesh=MESH_NAME,
            mesh_id=secret.mesh_id(),
            bulk_journal=ids.journal_name(),
            shared_journal=ids.journal_name(),
            version=version("mesh"),
            pid=os.getpid(),
        )
        store = MemoryStore() if home is None else SqliteStore(home.state_path)
        try:
            transport: ZmqTransport = ZmqTransport(keys, secret, my_id=identity.id, ipc_path=ipc_path, host="127.0.0.1")
        except BaseException:
            store.close()
            raise
        ready = threading.Event()
        self._node = Node(identity, store, transport, settings, on_ready=ready.set)
        thread = threading.Thread(target=self._node.run, name="mesh-embedded-node", daemon=True)
        thread.start()
        self._threads = [thread]
        if not ready.wait(START_TIMEOUT_S):
            raise MeshError("the embedded node does not start")

    def _start_worker(self, nodes: EmbeddedNodes, settings: Settings) -> None:
        from mesh.client.link import Link
        from mesh.worker.parent import Worker
        from mesh.worker.spec import WorkerSpec
        from mesh.worker.threads import InProcessSlots

        threads = max(THREADS_MIN, os.cpu_count() or 1)
        spec = WorkerSpec(app=self._app.name, queues=self._queues, concurrency=threads, pool="thread", name="embedded")
        slots = InProcessSlots(self._app, threads, settings.max_body_bytes, settings.piece_bytes, self._queues, spec.name or "")
        self._worker = Worker(Link(nodes, "worker", "embedded", settings), spec, settings, slots=slots)
        thread = threading.Thread(target=self._worker.run, name="mesh-embedded-worker", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _create_home(self) -> Home | None:
        if self._home is None:
            return None
        from mesh.storage.home import Home

        home = Home(MESH_NAME, self._home)
        home.create()
        return home

    def _remove_directory(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


def _kept_secret(home: Home) -> Any:
    """The home's secret, made at the first start: it names the mesh whose entries lie there."""
    from mesh.storage.home import SECRET
    from mesh.transport.curve import FleetSecret

    kept = home.read(SECRET)
    if kept is not None:
        return FleetSecret.parse(kept.decode())
    secret = FleetSecret.make()
    home.write(SECRET, secret.text.encode() + b"\n")
    return secret
