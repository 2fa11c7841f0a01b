"""The real core under a seeded scheduler, network, disks and clocks (after FoundationDB's simulation and TigerBeetle's VOPR)."""

from __future__ import annotations

import hashlib
import heapq
import random
from collections.abc import Callable
from typing import Any

from mesh.config import Settings
from mesh.core.effects import Identity
from mesh.core.machine import Machine
from mesh.wire import frames
from mesh.wire.entries import Message, Result, Scope
from mesh.wire.messages import Confirm, Deliver, Submit
from tests.simulation.parts import Client, Disk, History, Network, Program, Worker

TICK_S = 0.05
COMMIT_S = (0.0002, 0.004)


class Host:
    """A machine with a disk, and the node process that runs on it, if any."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.key = hashlib.sha256(name.encode()).digest()
        self.disk = Disk()
        self.machine: Machine | None = None
        self.life = 0
        self.paused_until = 0.0
        self.backlog: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.flight: Any = None
        self.skew_s = 0.0

    def start(self) -> None:
        """Start a node process: fresh journals, the disk as it was left."""
        self.life += 1
        rng = self.world.rng
        identity = Identity(
            id=self.name,
            name=self.name,
            key=self.key,
            mesh="sim",
            mesh_id="sim",
            bulk_journal=rng.randbytes(16),
            shared_journal=rng.randbytes(16),
            addresses=[f"{self.name}:1"],
        )
        self.machine = Machine(identity, self.world.settings, self.disk.restored())
        self.flight = None
        self.backlog = []
        self.world.after(0.0, self.world.tick_host, self, self.life)
        if self.life == 1:
            for other in self.world.hosts.values():
                if other is not self and other.machine is not None:
                    self.world.after(0.01, self.world.knock, self, other)

    def crash(self, commit_lands: bool) -> None:
        """kill -9: what was under way to the disk may or may not have reached it."""
        if self.flight is not None and commit_lands:
            self.world.commit(self, self.flight)
        self.machine = None
        self.flight = None
        self.life += 1
        self.backlog = []

    def step(self, action: Callable[..., None], *arguments: Any) -> None:
        """One turn of the node's loop around one event."""
        if self.machine is None:
            return
        if self.paused_until > self.world.now:
            self.backlog.append((action, arguments))
            return
        machine = self.machine
        machine.at(self.world.now, self.world.now + 1e6 + self.skew_s)
        action(*arguments)
        machine.flush()
        self.world.carry_out(self)


class World:
    """One simulated mesh; everything that happens follows from the seed."""

    def __init__(self, seed: int, nodes: int = 3, settings: Settings | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.settings = settings or Settings(max_deliveries=1000)
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.network = Network(random.Random(self.rng.random()))
        self.history = History()
        self.programs: dict[bytes, Program] = {}
        self.dots: dict[str, list[tuple[bytes, int]]] = {}
        """Every dot under which a message, or its result, was ever on a disk."""
        self.submitted: dict[tuple[bytes, int], list[str]] = {}
        self.hosts = {f"n{index}": Host(self, f"n{index}") for index in range(nodes)}
        self.clients = [Client(self, f"c{index}", f"n{index}") for index in range(nodes)]
        self.workers = [Worker(self, f"k{index}", f"n{index}") for index in range(nodes)]

    # -- scheduling --------------------

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action`` later."""
        self.count += 1
        heapq.heappush(self.events, (self.now + delay_s, self.count, action, arguments))

    def run_until(self, end: float) -> None:
        """Let virtual time pass."""
        while self.events and self.events[0][0] <= end:
            self.now, _, action, arguments = heapq.heappop(self.events)
            action(*arguments)
        self.now = end

    def start(self) -> None:
        """Start every node and program."""
        for host in self.hosts.values():
            self.after(self.rng.uniform(0, 0.3), host.start)
        for program in [*self.clients, *self.workers]:
            self.after(self.rng.uniform(0.3, 0.6), self.tick_program, program)

    def tick_program(self, program: Program) -> None:
        """A program's own timer."""
        program.tick()
        self.after(0.25, self.tick_program, program)

    def tick_host(self, host: Host, life: int) -> None:
        """A node's timer."""
        if host.life != life or host.machine is None:
            return
        host.step(host.machine.tick)
        self.after(TICK_S, self.tick_host, host, life)

    # -- effects --------------------

    def carry_out(self, host: Host) -> None:
        """Send and commit what the core has decided, in the order of its contract."""
        machine = host.machine
        assert machine is not None
        self._send(host, machine)
        if host.flight is None:
            batch = machine.take_batch()
            if batch is None:
                self._send(host, machine)
            else:
                host.flight = batch
                self.after(self.rng.uniform(*COMMIT_S), self._commit_done, host, host.life)

    def _send(self, host: Host, machine: Machine) -> None:
        sends = machine.take_sends()
        for session, reply in sends.sessions:
            self._check_reply(host, session, reply)
            program = self.programs.get(session)
            if program is None or program.session != session or not program.alive:
                machine.on_session_closed(session)
                continue
            if self._connected(program, host.name, program.home):
                self.after(self._hop_s(host.name, program.home), self._to_program, program, session, frames.encode(reply))
        for peer, envelope, message in sends.peers:
            target = self.hosts[peer]
            if target.machine is None:
                machine.on_unsent(peer, envelope)
                if (host.name, peer) not in self.network.cut:
                    self.after(0.001, host.step, machine.on_refused, peer)
                continue
            blob = frames.encode(message)
            for time in self.network.arrivals(self.now, host.name, peer):
                self.after(time - self.now, self._to_peer, target, target.life, host.name, envelope, blob)

    def _commit_done(self, host: Host, life: int) -> None:
        if host.life != life or host.flight is None or host.machine is None:
            return
        batch, host.flight = host.flight, None
        self.commit(host, batch)
        host.step(host.machine.on_committed, batch.number)

    def commit(self, host: Host, batch: Any) -> None:
        """A transaction reaches the disk; every dot must have one content only (I5)."""
        host.disk.apply(batch)
        for journal, sequence, blob in batch.entries:
            known = self.history.contents.get((journal, sequence))
            if known is None:
                self.history.contents[journal, sequence] = blob
                entry = frames.decode_entry(blob)
                if isinstance(entry, Message | Result):
                    self.dots.setdefault(entry.id, []).append((journal, sequence))
            elif known != blob:
                self.violate(f"I5: two contents for {journal.hex()[:6]}:{sequence}")

    # -- deliveries --------------------

    def _to_peer(self, host: Host, life: int, sender: str, envelope: frames.Envelope, blob: bytes) -> None:
        if host.life == life and host.machine is not None:
            host.step(host.machine.on_peer, sender, envelope, frames.decode_peer(blob))

    def _to_program(self, program: Program, session: bytes, blob: bytes) -> None:
        if program.session == session and program.alive:
            program.receive(frames.decode_reply(blob))

    def send_request(self, home: str, node: str, session: bytes, request: Any) -> None:
        """From a program to its node."""
        host = self.hosts.get(node)
        if host is None:
            return
        if isinstance(request, Submit):
            self.submitted[session, request.number] = [message.id for message in request.messages]
        if self._connected(self.programs[session], home, node):
            self.after(self._hop_s(home, node), self._to_node, host, host.life, session, frames.encode(request))

    def _to_node(self, host: Host, life: int, session: bytes, blob: bytes) -> None:
        if host.life == life and host.machine is not None:
            host.step(host.machine.on_session, session, frames.decode_request(blob))

    def _connected(self, program: Program, sender: str, receiver: str) -> bool:
        """A program's connection loses nothing until it breaks as a whole; then the program attaches anew."""
        if (sender, receiver) not in self.network.cut:
            return True
        program.node = ""
        program.attached = False
        return False

    def _hop_s(self, sender: str, receiver: str) -> float:
        return 0.0001 if sender == receiver else 0.001

    def knock(self, newcomer: Host, other: Host) -> None:
        """A new host is let in by a member: discovery and lobby in one."""
        if newcomer.machine is not None and other.machine is not None:
            me = newcomer.machine.me
            other.step(other.machine.on_knock, me.member(0))
            newcomer.step(newcomer.machine.introduce, list(other.machine.membership.members.values()))

    # -- faults --------------------

    def is_up(self, name: str) -> bool:
        """Whether a node process runs there."""
        return self.hosts[name].machine is not None

    def running_for(self, home: str) -> list[str]:
        """Nodes that a program on that host can attach to."""
        return [name for name in self.hosts if self.is_up(name) and (home, name) not in self.network.cut]

    def pause(self, host: Host, seconds: float) -> None:
        """SIGSTOP, then SIGCONT."""
        host.paused_until = self.now + seconds
        self.after(seconds, self._resume, host, host.life)

    def _resume(self, host: Host, life: int) -> None:
        if host.life != life or host.machine is None:
            return
        backlog, host.backlog = host.backlog, []
        host.step(host.machine.tick)
        for action, arguments in backlog:
            host.step(action, *arguments)

    # -- checks --------------------

    def violate(self, text: str) -> None:
        """Note a broken invariant."""
        self.history.violations.append(f"{text} (at {self.now:.3f})")

    def _check_reply(self, host: Host, session: bytes, reply: Any) -> None:
        if isinstance(reply, Confirm) and reply.copies:
            ids = self.submitted.get((session, reply.number), [])
            self._check_copies(ids, reply.copies)
        elif isinstance(reply, Deliver):
            machine = host.machine
            assert machine is not None
            for delivery in reply.deliveries:
                if machine.broker.active and delivery.id in machine.broker.results:
                    self.violate(f"I6: {delivery.id} delivered although its result is here")

    def _check_copies(self, ids: list[str], copies: int) -> None:
        """I4: that many disks hold, or held, each message at this instant."""
        for id in ids:
            found = 0
            for host in self.hosts.values():
                found += any(host.disk.covers(*dot) for dot in self.dots.get(id, ()))
            if found < copies:
                self.violate(f"I4: {id} confirmed with {copies} copies, {found} exist")

    def check_end(self) -> list[str]:
        """After healing and calm: I1, I2, I3, I12."""
        history = self.history
        for id in sorted(history.confirmed):
            if id not in history.finished:
                self.violate(f"I1/I3: {id} was confirmed with {history.confirmed[id]} copies and never finished")
        machines = {name: host.machine for name, host in self.hosts.items() if host.machine is not None}
        leaders = [name for name, machine in machines.items() if machine.election.is_coordinator]
        if len(leaders) != 1:
            self.violate(f"I3: coordinators after calm: {leaders}")
            return history.violations
        leader = machines[leaders[0]]
        self._check_same_state(leaders[0], leader, machines)
        for name, machine in machines.items():
            if len(machine.replication.waits):
                self.violate(f"I12: {name} still waits for copies of {len(machine.replication.waits)} decisions")
            if machine.edge.outstanding:
                self.violate(f"I12: {name} still waits for results of {sorted(machine.edge.outstanding)[:3]}")
        if leader.broker.records:
            self.violate(f"I3: unsettled after calm: {sorted(leader.broker.records)[:5]}")
        return history.violations

    def _check_same_state(self, name: str, leader: Machine, machines: dict[str, Machine]) -> None:
        """I2: deputies hold what the coordinator holds, writers what of theirs is live, all the shared entries."""
        for other, machine in machines.items():
            if machine is leader:
                continue
            for journal in set(leader.replica.journals) | set(machine.replica.journals):
                theirs = machine.replica.journals.get(journal)
                mine = leader.replica.journals.get(journal)
                scope = (theirs or mine).scope  # type: ignore[union-attr]
                full = other in leader.replication.deputies or scope == Scope.SHARED
                if theirs is None and not full:
                    continue
                mine_live = set(mine.live) if mine else set()
                their_live = set(theirs.live) if theirs else set()
                if mine_live != their_live:
                    self.violate(
                        f"I2: {other} and coordinator {name} differ in {journal.hex()[:6]}: "
                        f"only there {sorted(their_live - mine_live)[:5]}, only here {sorted(mine_live - their_live)[:5]}"
                    )
