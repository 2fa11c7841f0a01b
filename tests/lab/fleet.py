"""One mesh on the hosts of a lab: starts nodes and workers, finds the coordinator, reads what ran."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.lab.history import History
from tests.lab.hosts import Host, Lab
from tests.machines import Machine, Process
from tests.polling import poll_until

HERE = Path(__file__).parent
PROGRAMS = [
    HERE / name for name in ("tasks.py", "script.py", "load.py", "publish.py", "workflows.py", "watch.py", "injected.py", "route.py")
]
START_S = 15.0
"""For a process to start on a busy machine; promises have their own deadlines."""


class Fleet:
    """The hosts of a lab as members of one mesh. Each node has the name of its host."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.nodes: dict[str, Process] = {}
        self.secret = ""
        for host in lab:
            host.put(*PROGRAMS)

    def up(self, name: str, *options: str, env: Mapping[str, str] | None = None, injected: bool = False) -> Process:
        """`mesh up` on a host; returns when its node answers. The first founds the mesh, the others get its secret.

        With ``injected`` it is the `mesh` of injected.py.
        """
        node = self._start(name, *options, env=env, injected=injected)
        self._wait_until_up(self.lab[name], node)
        if not self.secret:
            self.secret = self.lab[name].mesh("secret").stdout.strip()
        return node

    def _start(self, name: str, *options: str, env: Mapping[str, str] | None = None, injected: bool = False) -> Process:
        host = self.lab[name]
        variables = {**({"MESH_SECRET": self.secret} if self.secret else {}), **(env or {})}
        if injected:
            node = host.spawn(sys.executable, "injected.py", "up", *options, env=variables, name="up")
        else:
            node = host.mesh_spawn("up", *options, env=variables)
        self.nodes[name] = node
        return node

    def _wait_until_up(self, host: Host, node: Process) -> None:
        def answers() -> bool:
            if not node.running:
                raise RuntimeError(f"`mesh up` on {host.name} ended with {node.exit_code}:\n{node.output()}")
            return host.mesh("status", "--json", check=False).returncode == 0

        poll_until(answers, START_S, f"the node on {host.name} answers")

    def up_all(self, *, env: Mapping[str, str] | None = None, only: Sequence[str] = ()) -> str:
        """A node on every host; returns the coordinator's name once every node sees every other and a full copy has its deputy."""
        names = list(only or self.lab.hosts)
        self.up(names[0], env=env)
        for name in names[1:]:
            self._start(name, env=env)
        for name in names[1:]:
            self._wait_until_up(self.lab[name], self.nodes[name])
        for name in names:
            self.lab[name].status_when("the mesh is complete", START_S, nodes=len(names), deputies=min(1, len(names) - 1))
        return self.coordinator(names[0])

    def coordinator(self, seen_from: str, *, other_than: str = "", deadline_s: float = START_S) -> str:
        """The name of the host whose node coordinates, as one of them sees it; waits until there is one."""

        def found() -> str:
            name = str(self.lab[seen_from].status()["coordinator"])
            return name if name != other_than else ""

        return poll_until(found, deadline_s, f"a coordinator other than {other_than!r}, seen from {seen_from}")

    def others(self, name: str) -> list[str]:
        """All hosts but one."""
        return [other for other in self.lab.hosts if other != name]

    def worker(self, name: str, *, queue: str = "", slots: int = 2, env: Mapping[str, str] | None = None) -> Process:
        """`mesh worker` on a host; returns when the mesh knows it."""
        return self.workers([name], queue=queue, slots=slots, env=env)[name]

    def workers(self, names: Sequence[str], *, queue: str = "", slots: int = 2, env: Mapping[str, str] | None = None) -> dict[str, Process]:
        """As :meth:`worker`, on several hosts at once."""
        queues = ["-Q", queue] if queue else []
        begun = {name: self.lab[name].mesh_spawn("worker", "-A", "tasks", "-c", str(slots), *queues, env=env) for name in names}
        host = self.lab[names[0]]
        poll_until(lambda: _working(host) >= set(names), START_S, f"a worker on {', '.join(names)}")
        return begun

    def load(self, name: str, count: int, seconds: float, *more: object) -> Process:
        """Start load.py on a host."""
        arguments = ["load.py", count, seconds, *more]
        process = self.lab[name].python_spawn(*map(str, arguments))
        process.wait_for("begins", START_S)
        return process

    def kill_node(self, name: str) -> float:
        """SIGKILL to a host's node; returns when, by the wall clock."""
        at_s = time.time()
        self.nodes.pop(name).kill()
        return at_s

    def history(self, hosts: Iterable[Machine] = ()) -> History:
        """What ran on some hosts up to now; on all when none is named."""
        return History(hosts or self.lab)


def _working(host: Host) -> set[str]:
    """Names of the nodes that have a worker with its tasks loaded."""
    return {worker["node"] for worker in host.status()["workers"] if worker["tasks"]}
