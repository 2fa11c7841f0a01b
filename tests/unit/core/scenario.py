"""Scenario files: commands, and what they make the nodes say (after the interaction tests of etcd-io/raft).

A file is a list of blocks: a command, a line of dashes, what is expected, an empty line. Lines that begin with # are for people. With
``REWRITE_SCENARIOS=1`` in the environment the files are written anew; the change is reviewed as a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mesh.core.states import Role
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client, Program, Worker
from tests.unit.core.transcript import Transcript

DASHES = "----"


@dataclass
class Block:
    """One command with the remarks above it."""

    command: str
    remarks: list[str] = field(default_factory=list)
    expected: str = ""

    def text(self, output: str) -> str:
        """The block as it stands in a file."""
        return "\n".join([*self.remarks, self.command, DASHES, output]).rstrip("\n") + "\n"


def read(path: Path) -> Iterator[Block]:
    """The blocks of a file."""
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    remarks: list[str] = []
    for line in lines:
        if line.startswith("#"):
            remarks.append(line)
        elif line:
            assert next(lines) == DASHES, f"{path.name}: a line of dashes comes after {line!r}"
            expected: list[str] = []
            while following := next(lines, ""):
                expected.append(following)
            yield Block(line, remarks, "\n".join(expected))
            remarks = []


class Stage:
    """Carries out the commands of one scenario. Each method named ``do_...`` is one."""

    def __init__(self) -> None:
        self._cluster = Cluster()
        self._transcript = Transcript(self._cluster)
        self._programs: dict[str, Program] = {}
        self._commands: dict[str, Callable[..., str | None]] = {
            name.removeprefix("do_"): getattr(self, name) for name in dir(self) if name.startswith("do_")
        }

    def perform(self, command: str) -> str:
        """Carry out a command; returns what happened, as text."""
        name, *words = command.split()
        shown = self._commands[name.replace("-", "_")](*words)
        self._cluster.calm()
        return "\n".join(part for part in (self._transcript.take(), shown) if part)

    # -- nodes --------------------

    def do_start(self, *names: str) -> None:
        """start a b c"""
        self._cluster.start(*names)

    def do_mesh(self, *names: str) -> str:
        """mesh a b c: the first starts alone, the others join it; what they say is left out."""
        for name in names:
            self._cluster.start(name)
        self._cluster.until(self._cluster.agreed)
        self._transcript.take()
        return self.do_show()

    def do_crash(self, name: str) -> None:
        """kill -9 of the process: its host refuses connections."""
        self._cluster.crash(name)

    def do_vanish(self, name: str) -> None:
        """The host loses its power: silence."""
        self._cluster.crash(name, vanish=True)

    def do_leave(self, name: str) -> None:
        """mesh down, and the host is silent from then on"""
        self._cluster.leave(name)

    # -- network and time --------------------

    def do_split(self, *sides: str) -> None:
        """split ab c"""
        self._cluster.split(*sides)

    def do_heal(self) -> None:
        """End all cuts."""
        self._cluster.heal()

    def do_run(self, seconds: str) -> None:
        """Let time pass."""
        self._cluster.run(float(seconds))

    def do_until_agreed(self) -> None:
        """Let time pass until all follow one coordinator and its deputy is complete."""
        self._cluster.until(self._cluster.agreed, 30.0)

    # -- programs --------------------

    def do_client(self, name: str, node: str) -> None:
        """client NAME NODE"""
        self._programs[name] = self._cluster.client(node, name)

    def do_worker(self, name: str, node: str, slots: str = "1") -> None:
        """worker NAME NODE [SLOTS]"""
        self._programs[name] = self._cluster.worker(node, name, slots=int(slots))

    def do_attach(self, name: str, node: str) -> None:
        """attach PROGRAM NODE"""
        self._programs[name].attach(node)

    def do_submit(self, client: str, *ids: str) -> None:
        """submit CLIENT ID..."""
        program = self._programs[client]
        assert isinstance(program, Client)
        program.submit(*ids)

    def do_finish(self, worker: str, *ids: str) -> None:
        """finish WORKER ID..."""
        self._worker(worker).finish(*ids)

    def do_die(self, worker: str) -> None:
        """kill -9 of a worker"""
        self._worker(worker).die()

    def _worker(self, name: str) -> Worker:
        program = self._programs[name]
        assert isinstance(program, Worker)
        return program

    # -- looking --------------------

    def do_show(self) -> str:
        """Roles, and what each node holds of messages and results."""
        lines = []
        for node in self._cluster.running():
            election, replication = node.machine.election, node.machine.replication
            role = election.role.name.lower()
            follows = f" {election.coordinator or 'nobody'}" if election.role is Role.FOLLOWER else ""
            deputies = f", deputies {' '.join(replication.deputies) or 'none'}" if election.is_coordinator else ""
            held = " ".join(sorted(node.live())) or "nothing"
            lines.append(f"{node.name} {role}{follows}, term {election.term}{deputies}, holds {held}")
        return "\n".join(lines)
