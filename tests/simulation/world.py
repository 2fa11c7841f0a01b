"""The real core under a seeded scheduler, network, disks and clocks (after FoundationDB's simulation and TigerBeetle's VOPR)."""

from __future__ import annotations

import heapq
import random
import zlib
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from mesh.config import Settings
from mesh.core.cluster.twins import CLONED
from mesh.core.effects import Batch, Read
from mesh.core.machine import Machine
from mesh.node import CALM_TICK_S, KNOCK_SOON_S, TICK_S
from mesh.wire import frames
from mesh.wire.entries import Chunk, Dot, Message, Result
from mesh.wire.messages import Confirm, Deliver, Knock, Submit, Vote, Voted
from tests.simulation import invariants
from tests.simulation.expiry import Undertaker
from tests.simulation.fleeting import FleetingHistory, Passer, i19_it_is_on_no_disk
from tests.simulation.history import History
from tests.simulation.host import Host
from tests.simulation.parts import Disk, Network
from tests.simulation.plain import Talker, TalkHistory
from tests.simulation.programs import TICK_S as PROGRAM_TICK_S
from tests.simulation.programs import Client, Program, Worker
from tests.simulation.retrying import Asked
from tests.simulation.steps import Workflows
from tests.simulation.topology import Declarer, TopologyHistory
from tests.simulation.workflows import Composer

HOP_S = 0.001
"""A program's connection to a node on another host."""
LOCAL_HOP_S = 0.0001
RESET_S = 1.0
"""Until somebody starts a node again that ended because another process has its key."""


@dataclass(frozen=True)
class Load:
    """What clients publish: the shares of tasks with a countdown, with a body of 1 MiB, with one in chunks, and that kill their slot; and
    how many at once.
    """

    delayed: float = 0.1
    big: float = 0.0
    large: float = 0.0
    poison: float = 0.0
    stubborn: float = 0.0
    """Share of tasks that ask to be run again."""
    burst: int = 0
    topology: bool = False
    """Programs change exchanges, queues and bindings, and publish through them."""
    plain: bool = False
    """Programs publish and consume plain messages, and die with them."""
    expiring: bool = False
    """Programs publish what expires, and what goes on as a dead letter."""
    workflows: bool = False
    """Programs submit tasks that wait for each other."""
    fleeting: bool = False
    """Programs publish what is in memory only."""


class World:
    """One simulated mesh; everything that happens follows from the seed."""

    def __init__(self, seed: int, nodes: int = 3, settings: Settings | None = None, load: Load | None = None) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.settings = settings or Settings(max_deliveries=1000)
        self.load = load or Load()
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self.count = 0
        self.healed = False
        self.asked = Asked(self)
        """The faults are over."""
        self.clock_changed_at: float | None = None
        """When a wall clock was last stepped, or changed its speed."""
        self.network = Network(random.Random(self.rng.random()))
        self.history = History()
        self.programs: dict[bytes, Program] = {}
        self.submitted: dict[tuple[bytes, int], list[str]] = {}
        self.hosts = {f"n{index}": Host(self, f"n{index}") for index in range(nodes)}
        self.by_id = dict(self.hosts)
        """Hosts by the id of the node on them."""
        self.by_address = {host.address: host for host in self.hosts.values()}
        """Hosts by where their node is dialled; a clone answers at its own address, and one that was switched off at none."""
        self.clones: list[Host] = []
        """Machines on which a copy of another one's state directory was started: their node has the same key and id."""
        self.former_clones: list[Host] = []
        """Those that somebody has switched off."""
        self.identities = set(self.hosts)
        """Ids of all nodes that ever were."""
        self.backups: dict[tuple[float, str], tuple[str, Disk]] = {}
        """(time of the fault that restores it, host) to the node's id and its disk as it was earlier."""
        self.clients = [Client(self, f"c{index}", f"n{index}") for index in range(nodes)]
        self.workflows = Workflows()
        self.clients += [Composer(self, f"flow{index}", f"n{index}") for index in range(nodes if self.load.workflows else 0)]
        self.topology = TopologyHistory()
        self.declarers = [Declarer(self, f"d{index}", f"n{index}") for index in range(nodes if self.load.topology else 0)]
        self.declarers += [Undertaker(self, f"u{index}", f"n{index}") for index in range(nodes if self.load.expiring else 0)]
        self.fleeting = FleetingHistory()
        self.declarers += [Passer(self, f"f{index}", f"n{index}") for index in range(nodes if self.load.fleeting else 0)]
        self.talk = TalkHistory()
        self.talkers = [Talker(self, f"p{index}", f"n{index}") for index in range(nodes if self.load.plain else 0)]
        self.workers = [Worker(self, f"k{index}", f"n{index}") for index in range(nodes)]

    # -- scheduling --------------------

    def after(self, delay_s: float, action: Callable[..., None], *arguments: Any) -> None:
        """Call ``action`` later."""
        self.count += 1
        heapq.heappush(self.events, (self.now + delay_s, self.count, action, arguments))

    def run_until(self, end: float) -> None:
        """Let virtual time pass."""
        events, pop = self.events, heapq.heappop
        while events and events[0][0] <= end:
            self.now, _, action, arguments = pop(events)
            action(*arguments)
        self.now = end

    def start(self) -> None:
        """Start every node and program."""
        for host in self.hosts.values():
            self.after(self.rng.uniform(0, 0.3), host.start)
        for program in [*self.clients, *self.workers, *self.declarers, *self.talkers]:
            self.after(self.rng.uniform(0.3, 0.6), self.tick_program, program)

    def tick_program(self, program: Program) -> None:
        """A program's own timer."""
        program.tick()
        self.after(PROGRAM_TICK_S, self.tick_program, program)

    def tick_host(self, host: Host, life: int) -> None:
        """A node's timer, as often as that of the real loop."""
        machine = host.machine
        if host.life != life or machine is None:
            return
        if host.paused_until <= self.now:
            host.step(machine.tick)
            if machine.election.is_coordinator:
                invariants.note_wholeness(self, host, machine)
                invariants.note_lengths(self, machine)
        self.after(CALM_TICK_S if machine.calm else TICK_S, self.tick_host, host, life)

    # -- effects --------------------

    def carry_out(self, host: Host, machine: Machine) -> None:
        """Send and commit what the core has decided, in the order of its contract."""
        self._send(host, machine)
        for read in machine.turn.take_reads():
            self.after(self.rng.uniform(*host.disk.commit_s), self._read_done, host, host.life, read)
        if host.flight is None:
            batch = machine.take_batch()
            if batch is None:
                self._send(host, machine)
            else:
                host.flight = batch
                self.after(self.rng.uniform(*host.disk.commit_s), self._commit_done, host, host.life)

    def _read_done(self, host: Host, life: int, read: Read) -> None:
        if host.life == life and host.machine is not None:
            rows = [host.disk.entries.get((read.journal, sequence)) for sequence in read.sequences]
            host.step(host.machine.on_read, read.number, rows)

    def _send(self, host: Host, machine: Machine) -> None:
        if machine.turn.silent:
            return
        sends = machine.take_sends()
        for session, reply in sends.sessions:
            self._reply(host, machine, session, reply)
        for peer, envelope, message in sends.peers:
            self._tell_peer(host, machine, peer, envelope, message)

    def _reply(self, host: Host, machine: Machine, session: bytes, reply: Any) -> None:
        if type(reply) is Confirm:
            invariants.i4_a_confirm_counts_fsynced_copies(self, host, self.submitted.get((session, reply.number), []), reply.copies)
            invariants.r6_fewer_copies_only_when_fewer_are_reachable(self, host, machine, reply.copies)
        elif type(reply) is Deliver and machine.election.is_coordinator:
            invariants.check_delivery(self, host, machine, reply)
        program = self.programs.get(session)
        if program is None or program.session != session or not program.alive:
            machine.on_session_closed(session)
        elif self._connected(program, host.name, program.home):
            self.after(self._hop_s(host.name, program.home), self._to_program, program, session, frames.encode(reply))

    def _tell_peer(self, host: Host, machine: Machine, peer: str, envelope: frames.Envelope, message: Any) -> None:
        if type(message) is Deliver:
            invariants.check_delivery(self, host, machine, message)
        target = self._dialled(machine, peer)
        if target is None or (target.machine is None and target.powered):
            machine.on_unsent(peer, envelope)
            if target is not None:
                self._probe(host, target)
            return
        if host not in self.clones and (type(message) is Vote or (type(message) is Voted and message.granted)):
            invariants.r9_one_vote_in_a_term(self, host, peer if type(message) is Voted else host.id, message.term)
        blob = frames.encode(message)
        self.history.sent(self.now, blob)
        for time in self.network.arrivals(self.now, host.name, target.name):
            self.after(time - self.now, self._to_peer, target, target.life, host.id, envelope, blob)

    def _dialled(self, machine: Machine, peer: str) -> Host | None:
        """Who proves a peer's key where a node believes that the peer is; nobody, where another key or nothing answers."""
        member = machine.membership.members.get(peer)
        target = self.by_address.get(member.addresses[0]) if member is not None else None
        return target if target is not None and target.id == peer else None

    def connections_break(self, gone: Host) -> None:
        """A process has ended: whoever was connected notices, and probes."""
        for host in self.hosts.values():
            if host is not gone and host.machine is not None and self._dialled(host.machine, gone.id) is gone:
                self._probe(host, gone)

    def _probe(self, host: Host, target: Host) -> None:
        cut = self.network.is_cut(host.name, target.name) or self.network.is_cut(target.name, host.name)
        if host.machine is not None and not cut:
            self.after(self.rng.uniform(0.5, 2.0) * HOP_S, self._refuse, host, host.life, target)

    def _refuse(self, host: Host, life: int, target: Host) -> None:
        if host.life != life or host.machine is None or self._dialled(host.machine, target.id) is not target:
            return
        if target.machine is None and target.powered:
            host.step(host.machine.on_refused, target.id)

    def _commit_done(self, host: Host, life: int) -> None:
        if host.life != life or host.flight is None or host.machine is None:
            return
        if host.disk.full:  # R7: a failed transaction is fatal
            host.crash(commit_lands=False)
            return
        batch, host.flight = host.flight, None
        self.commit(host, batch)
        host.step(host.machine.on_committed, batch.number)

    def commit(self, host: Host, batch: Batch) -> None:
        """A transaction reaches the disk."""
        host.disk.apply(batch)
        contents = self.history.contents
        for journal, sequence, blob in batch.entries:
            dot, content = (journal, sequence), zlib.crc32(blob)
            known = contents.get(dot)
            if known is None:
                contents[dot] = content
                entry = frames.decode_entry(blob)
                i19_it_is_on_no_disk(self, host, batch, entry)
                if isinstance(entry, Result):
                    self.history.ended.setdefault(entry.id, []).append(dot)
                if isinstance(entry, Chunk):
                    self.history.chunks.setdefault(entry.body, []).append(dot)
                elif isinstance(entry, Message | Result) and entry.chunks is not None:
                    self.history.large[dot] = entry.chunks.body
            else:
                invariants.i5_one_content(self, dot, known, content)

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
            self.submitted[session, request.number] = [message.id for message in request.messages if message.queue]
        if self._connected(self.programs[session], home, node):
            self.after(self._hop_s(home, node), self._to_node, host, host.life, session, frames.encode(request))

    def _to_node(self, host: Host, life: int, session: bytes, blob: bytes) -> None:
        if host.life == life and host.machine is not None:
            host.step(host.machine.on_session, session, frames.decode_request(blob))

    def _connected(self, program: Program, sender: str, receiver: str) -> bool:
        """A program's connection loses nothing until it breaks as a whole; then the program attaches anew."""
        if not self.network.is_cut(sender, receiver):
            return True
        program.node = ""
        program.attached = False
        return False

    def _hop_s(self, sender: str, receiver: str) -> float:
        return LOCAL_HOP_S if sender == receiver else HOP_S

    def knock(self, newcomer: Host, other: Host) -> None:
        """A new node is let in by a member."""
        cut = self.network.is_cut(newcomer.name, other.name) or self.network.is_cut(other.name, newcomer.name)
        if newcomer.machine is None or other.machine is None or cut or other.paused_until > self.now:
            return
        member, twins = newcomer.machine.me.member(0), newcomer.machine.twins
        refusal = other.machine.twins.judge(Knock(member, incarnation=twins.incarnation, standing=twins.standing()))
        if other.machine.twins.fate:
            other.crash(commit_lands=True)
            if other not in self.clones:
                self.after(RESET_S, _start_again, other)
        if refusal is not None and refusal.code == CLONED:
            newcomer.crash(commit_lands=True)
            if newcomer not in self.clones:
                self.after(RESET_S, _start_again, newcomer)
        elif refusal is not None:
            self.after(KNOCK_SOON_S, self._knock_again, newcomer, newcomer.life, other)
        if refusal is not None or newcomer.machine is None or other.machine is None:
            return
        other.step(other.machine.on_knock, member)
        heard = invariants.heard_where(newcomer.machine)
        newcomer.step(newcomer.machine.introduce, [*other.machine.membership.members.values(), other.machine.me.member(0)])
        invariants.r3_nobody_is_sent_to_the_twin_of_a_node_that_is_heard(self, newcomer, heard)

    def _knock_again(self, newcomer: Host, life: int, other: Host) -> None:
        if newcomer.life == life:
            self.knock(newcomer, other)

    def add_clone(self, original: Host) -> Host:
        """A machine with a copy of another one's state directory."""
        clone = Host(self, f"{original.name}+{len(self.clones)}")
        clone.id = original.id
        clone.disk = original.disk.snapshot()
        self.clones.append(clone)
        self.by_address[clone.address] = clone
        return clone

    def remove_clone(self, clone: Host) -> None:
        """Somebody switches it off."""
        clone.lose_power()
        self.damage(clone, Disk())
        self.clones.remove(clone)
        self.former_clones.append(clone)
        del self.by_address[clone.address]

    # -- questions --------------------

    def is_up(self, name: str) -> bool:
        """Whether a node process runs there."""
        return self.hosts[name].machine is not None

    def running_for(self, home: str) -> list[str]:
        """Nodes that a program on that host can attach to."""
        return [name for name in self.hosts if self.is_up(name) and not self.network.is_cut(home, name)]

    def machines(self) -> dict[str, Machine]:
        """The running cores by the name of their host."""
        return {name: host.machine for name, host in self.hosts.items() if host.machine is not None}

    def coordinators(self) -> list[Host]:
        """Hosts whose node is elected, highest term first."""
        elected = [host for host in self.hosts.values() if host.machine is not None and host.machine.election.is_coordinator]
        return sorted(elected, key=lambda host: host.machine.election.term if host.machine else 0, reverse=True)

    def violate(self, text: str) -> None:
        """Note a broken invariant."""
        self.history.violations.append(f"{text} (at {self.now:.3f} s)")

    # -- disks --------------------

    def damage(self, host: Host, contents: Disk) -> None:
        """A disk loses what is on it, or goes back to an earlier state; what was only there may be lost from now on."""
        messages, results = self._on_disks(Message), set(self._on_disks(Result).values())
        host.disk.replace_contents(contents, self.now)
        self.history.set_back += bool(contents.heads)
        messages_left, results_left = self._on_disks(Message), set(self._on_disks(Result).values())
        for id in host.disk.live_ids(Message) & self.history.delayed.keys() if contents.salvage else ():
            self.history.delayed[id].salvaged = True
        self.history.results_wiped |= results - results_left
        gone = {*messages.values(), *results} - {*messages_left.values()} - results_left
        for id in sorted(gone | self._torn(messages.keys() - messages_left.keys())):
            self.history.wiped[id] = self.now

    def _torn(self, dots: Set[Dot]) -> set[str]:
        """Ids of those messages that are on a disk without their body: each takes the place of another submission that may be whole."""
        live = ((dot, entry) for host in self.hosts.values() for dot, entry in host.disk.live_dots(Message))
        return {entry.id for dot, entry in live if dot in dots and entry.chunks is not None}

    def _on_disks(self, kind: type[Message] | type[Result]) -> dict[Dot, str]:
        """Ids of those that are whole, with their chunks, and that no other disk makes an end of as soon as it is met."""
        disks = [host.disk for host in (*self.hosts.values(), *self.clones)]
        chunks = {(chunk.body, chunk.index) for disk in disks for chunk in disk.live(Chunk)} if self.load.large else set()
        found: dict[Dot, str] = {}
        for disk in disks:
            for dot, entry in disk.live_dots(kind):
                body = entry.chunks
                if any(other.has_settled(*dot) for other in disks if other is not disk):
                    continue
                if body is None or all((body.body, index) in chunks for index in range(body.count)):
                    found[dot] = entry.id
        return found


def _start_again(host: Host) -> None:
    if host.machine is None:
        host.start()
