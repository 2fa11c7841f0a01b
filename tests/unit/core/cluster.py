"""Several whole cores wired in memory: virtual time, no delays, and a network, disks and programs that the test commands.

Nothing happens by itself: ``calm`` carries out what is under way at this instant, ``run`` lets time pass. What travels is encoded and
decoded as on the wire. The simulation (tests/simulation) throws dice over the same machine; here the test says what happens.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from mesh.config import Settings
from mesh.core.effects import Batch, Gap, Identity, Read, Salvage
from mesh.core.machine import Machine
from mesh.core.states import Role
from mesh.wire import frames
from mesh.wire.entries import Entry, Message, Result
from tests.simulation.parts import Disk
from tests.unit.core.programs import Client, Consumer, Program, Worker

TICK_S = 0.05
WALL_S = 1_000_000.0
"""Wall clock at virtual time 0."""
EVENTS_MAX = 100_000

T = TypeVar("T")


class Sent(NamedTuple):
    """A message that left a node, for a peer or for an attached program."""

    at_s: float
    sender: str
    receiver: str
    message: Any


class Node:
    """A host with a disk, and the node process on it, if any."""

    def __init__(self, name: str, **identity: Any) -> None:
        self.name = name
        self.identity = identity
        self.disk = Disk()
        self.disk_stalled = False
        self.salvage: Salvage | None = None
        """What the next process finds of a damaged disk."""
        self.process: Machine | None = None
        self.life = 0
        self.batch: Batch | None = None
        self.vanished = False
        """The host does not answer at all; otherwise it refuses connections while no process runs."""
        self.paused = False
        self.backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.skew_s = 0.0

    @property
    def machine(self) -> Machine:
        """The core of the running process."""
        assert self.process is not None, f"{self.name} does not run"
        return self.process

    def live(self) -> dict[str, Entry]:
        """Messages and results in memory, by ``message:id`` or ``result:id``."""
        journals = self.machine.replica.journals.values()
        entries = [entry for journal in journals for entry in journal.live.values()]
        return {f"{type(entry).__name__.lower()}:{entry.id}": entry for entry in entries if isinstance(entry, Message | Result)}

    def on_disk(self) -> set[str]:
        """As ``live``, of what a crash would leave."""
        entries = [frames.decode_entry(blob) for blob in self.disk.entries.values()]
        return {f"{type(entry).__name__.lower()}:{entry.id}" for entry in entries if isinstance(entry, Message | Result)}


class Cluster:
    """Named nodes, each a letter as a rule: ``Cluster("abc")``."""

    def __init__(self, names: str = "", **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.programs: dict[bytes, Program] = {}
        self.sent: list[Sent] = []
        self.cuts: set[tuple[str, str]] = set()
        self.held: dict[tuple[str, str], deque[tuple[Any, ...]]] = {}
        self.on_turn: Callable[[Node], None] = lambda node: None
        self._queue: deque[tuple[Any, ...]] = deque()
        self._drops: list[tuple[str, str, type]] = []
        self.start(*names)

    def __getitem__(self, name: str) -> Machine:
        return self.nodes[name].machine

    # -- processes --------------------

    def start(self, *names: str, **identity: Any) -> None:
        """Start node processes: fresh journals, the disks as they were left. New hosts know all others, as if each had knocked."""
        nodes = [self._launch(name, **identity) for name in names]
        for node in nodes:
            self.turn(node, node.machine.tick)

    def _launch(self, name: str, **identity: Any) -> Node:
        node = self.nodes.setdefault(name, Node(name, **identity))
        assert node.process is None, f"{name} runs already"
        node.life += 1
        node.vanished = node.paused = False
        me = Identity(
            id=name,
            name=name,
            key=hashlib.sha256(name.encode()).digest(),
            mesh="test",
            mesh_id="test",
            bulk_journal=f"{name}{node.life}".encode().ljust(16, b"\0"),
            shared_journal=f"{name}{node.life}s".encode().ljust(16, b"\0"),
            addresses=[f"{name}:1"],
            **node.identity,
        )
        restored = node.disk.restored()
        restored.salvage, node.salvage = node.salvage, None
        node.process = Machine(me, self.settings, restored)
        if node.life == 1:
            for other in self.running():
                if other is not node and not self.is_cut(name, other.name):
                    members = other.machine.on_knock(me.member(0))
                    node.process.introduce([*members, other.machine.me.member(0)])
        return node

    def crash(self, name: str, *, vanish: bool = False, commit_lands: bool = False) -> None:
        """kill -9, or with ``vanish`` the power: nobody refuses connections then."""
        node = self.nodes[name]
        if node.batch is not None and commit_lands:
            node.disk.apply(node.batch)
        node.process, node.batch, node.vanished = None, None, vanish
        if not vanish:
            for other in self.running():
                if not self.is_cut(other.name, name):
                    self.turn(other, other.machine.on_refused, name)

    def leave(self, name: str, *, vanish: bool = True) -> float:
        """``mesh down``; returns how long it took. Afterwards the host is silent, as one that sleeps, or it refuses connections."""
        node = self.nodes[name]
        self.turn(node, node.machine.leave)
        took_s = self.until(node.machine.settled_to_leave)
        self.crash(name, vanish=vanish)
        return took_s

    def running(self) -> list[Node]:
        """Nodes with a process."""
        return [node for node in self.nodes.values() if node.process is not None]

    def client(self, node: str, name: str = "") -> Client:
        """A client, attached to a node."""
        return self._attached(Client(self, name or f"client{len(self.programs)}"), node)

    def worker(self, node: str, name: str = "", **offer: Any) -> Worker:
        """A worker, attached to a node; it offers ``queues=["q"], tasks=["work"], slots=1`` unless told otherwise."""
        return self._attached(Worker(self, name or f"worker{len(self.programs)}", **offer), node)

    def consumer(self, node: str, name: str = "", **offer: Any) -> Consumer:
        """A consumer of plain messages, attached to a node; it consumes ``queues=["q"]`` with ``prefetch=1`` unless told otherwise."""
        return self._attached(Consumer(self, name or f"consumer{len(self.programs)}", **offer), node)

    def _attached(self, program: T, node: str) -> T:
        program.attach(node)  # type: ignore[attr-defined]
        self.calm()
        return program

    # -- the network and the disks --------------------

    def is_cut(self, sender: str, receiver: str) -> bool:
        """Whether nothing gets from one host to another."""
        return (sender, receiver) in self.cuts

    def cut(self, a: str, b: str, *, one_way: bool = False) -> None:
        """Nothing gets through between two hosts, or from ``a`` to ``b``."""
        self.cuts |= {(a, b)} if one_way else {(a, b), (b, a)}

    def split(self, *sides: str) -> None:
        """Cut all connections between the sides: ``split("ab", "c")``."""
        for side in sides:
            for other in sides:
                if other is not side:
                    self.cuts |= {(a, b) for a in side for b in other}

    def heal(self) -> None:
        """Everybody reaches everybody again."""
        self.cuts.clear()

    def hold(self, sender: str, receiver: str) -> None:
        """Keep what is under way in one direction until it is released; order is kept."""
        self.held.setdefault((sender, receiver), deque())

    def release(self, sender: str, receiver: str) -> None:
        """Let go what was held, and hold no more."""
        self._queue.extendleft(reversed(self.held.pop((sender, receiver))))
        self.calm()

    def drop_next(self, sender: str, receiver: str, kind: type) -> None:
        """Lose the next message of that type in one direction."""
        self._drops.append((sender, receiver, kind))

    def stall_disk(self, name: str) -> None:
        """Transactions of a node do not finish until the disk resumes."""
        self.nodes[name].disk_stalled = True

    def resume_disk(self, name: str) -> None:
        """Let the transaction under way finish."""
        node = self.nodes[name]
        node.disk_stalled = False
        if node.batch is not None:
            self._queue.append((self._commit, node, node.life))
        self.calm()

    def damage_disk(self, name: str, *unreadable: Gap) -> None:
        """A host's disk is found damaged at the next start: everything could be read but ``unreadable``."""
        node = self.nodes[name]
        assert node.process is None, f"{name} runs"
        entries = [(journal, sequence, blob) for (journal, sequence), blob in sorted(node.disk.entries.items())]
        gone = {(gap.journal, sequence) for gap in unreadable for sequence in range(gap.first, gap.last + 1)}
        node.salvage = Salvage([entry for entry in entries if entry[:2] not in gone], list(unreadable))
        node.disk = Disk()

    # -- time --------------------

    def calm(self) -> None:
        """Deliver and commit until nothing is under way that may arrive; time stands still."""
        for _ in range(EVENTS_MAX):
            if not self._queue:
                return
            action, *arguments = self._queue.popleft()
            action(*arguments)
        raise AssertionError("the nodes do not come to rest")

    def run(self, seconds: float) -> None:
        """Let time pass, tick by tick."""
        for _ in range(round(seconds / TICK_S)):
            self._tick()

    def until(self, condition: Callable[[], object], within_s: float = 5.0) -> float:
        """Let time pass until the condition holds; returns how long that took."""
        began = self.now
        self.calm()
        while not condition():
            assert self.now - began < within_s, f"not within {within_s} s"
            self._tick()
        return self.now - began

    def pause(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after a while: what came meanwhile is read then."""
        node = self.nodes[name]
        node.paused = True
        self.run(seconds)
        node.paused = False
        backlog, node.backlog = node.backlog, []
        for action, arguments in backlog:
            self.turn(node, action, *arguments)
        self.turn(node, node.machine.tick)
        self.calm()

    def _tick(self) -> None:
        self.now = round(self.now + TICK_S, 6)
        for node in self.running():
            if not node.paused:
                self.turn(node, node.machine.tick)
        for program in list(self.programs.values()):
            program.tick()
        self.calm()

    # -- questions --------------------

    @property
    def coordinator(self) -> str:
        """The one node that reigns, or nothing."""
        reigning = [node.name for node in self.running() if node.machine.election.role is Role.REIGNING]
        return reigning[0] if len(reigning) == 1 else ""

    def agreed(self) -> bool:
        """Whether all running nodes follow one coordinator, which has its deputies complete."""
        leader = self.coordinator
        if not leader or any(node.machine.election.coordinator != leader for node in self.running()):
            return False
        replication = self[leader].replication
        wanted = min(self.settings.copies, len(self.running())) - 1
        return len(replication.deputies) == wanted and all(replication.streams[peer].complete for peer in replication.deputies)

    def messages(self, kind: type[T], sender: str = "", receiver: str = "") -> list[T]:
        """Messages of a type that were sent so far."""
        return [
            item.message
            for item in self.sent
            if isinstance(item.message, kind) and sender in ("", item.sender) and receiver in ("", item.receiver)
        ]

    # -- the contract of the loop (mesh/core/effects.py) --------------------

    def turn(self, node: Node, action: Callable[..., object], *arguments: Any) -> None:
        """One turn of a node's loop around one event."""
        if node.paused:
            node.backlog.append((action, arguments))
            return
        machine = node.machine
        machine.at(self.now, WALL_S + self.now + node.skew_s)
        action(*arguments)
        machine.flush()
        self._send(node, machine)
        for read in machine.turn.take_reads():
            self._queue.append((self._read, node, node.life, read))
        if node.batch is None:
            node.batch = machine.take_batch()
            if node.batch is None:
                self._send(node, machine)
            elif not node.disk_stalled:
                self._queue.append((self._commit, node, node.life))
        self.on_turn(node)

    def request(self, program: Program, request: Any) -> None:
        """Put a program's request on its way to its node."""
        node = self.nodes[program.node]
        self._queue.append((self._to_node, node, node.life, program.session, frames.encode(request)))

    def _send(self, node: Node, machine: Machine) -> None:
        sends = machine.take_sends()
        for session, reply in sends.sessions:
            program = self.programs.get(session)
            if program is None or program.session != session:
                machine.on_session_closed(session)
                continue
            self.sent.append(Sent(self.now, node.name, program.name, reply))
            self._queue.append((self._to_program, program, session, frames.encode(reply)))
        for peer, envelope, message in sends.peers:
            target = self.nodes[peer]
            self.sent.append(Sent(self.now, node.name, peer, message))
            if target.process is None and not target.vanished and not self.is_cut(node.name, peer):
                machine.on_unsent(peer, envelope)
                machine.on_refused(peer)
                continue
            self._queue.append((self._to_peer, node.name, target, target.life, envelope, type(message), frames.encode(message)))

    def _to_peer(self, sender: str, target: Node, life: int, envelope: Any, kind: type, blob: bytes) -> None:
        direction = (sender, target.name)
        if direction in self.held:
            self.held[direction].append((self._to_peer, sender, target, life, envelope, kind, blob))
        elif (*direction, kind) in self._drops:
            self._drops.remove((*direction, kind))
        elif direction not in self.cuts and target.process is not None and target.life == life:
            self.turn(target, target.machine.on_peer, sender, envelope, frames.decode_peer(blob))

    def _to_program(self, program: Program, session: bytes, blob: bytes) -> None:
        if program.session == session:
            program.receive(frames.decode_reply(blob))

    def _to_node(self, node: Node, life: int, session: bytes, blob: bytes) -> None:
        if node.process is not None and node.life == life:
            self.turn(node, node.machine.on_session, session, frames.decode_request(blob))

    def _read(self, node: Node, life: int, read: Read) -> None:
        if node.process is not None and node.life == life:
            rows = [node.disk.entries.get((read.journal, sequence)) for sequence in read.sequences]
            self.turn(node, node.machine.on_read, read.number, rows)

    def _commit(self, node: Node, life: int) -> None:
        if node.process is None or node.life != life or node.disk_stalled or node.batch is None:
            return
        batch, node.batch = node.batch, None
        node.disk.apply(batch)
        self.turn(node, node.machine.on_committed, batch.number)
