"""A machine with a disk and a clock, and the node process that runs on it, if any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mesh.core.broker.plain import is_plain
from mesh.core.cluster.alarms import DISK
from mesh.core.cluster.replica import Journal
from mesh.core.cluster.topology import name_of
from mesh.core.effects import Batch, Identity
from mesh.core.machine import Machine
from mesh.wire.entries import Entry, Message
from mesh.wire.topology import Binding, Exchange, QueueDeclaration
from tests.simulation import invariants
from tests.simulation.parts import Disk

if TYPE_CHECKING:
    from tests.simulation.world import World

EPOCH_S = 1.8e9
"""The true wall clock when virtual time is 0."""
LEAVE_TIMEOUT_S = 1.0
"""Longest stay after a polite goodbye, as in the real loop."""
ANNOUNCED_S = 0.02
"""Until others have found a node at an address that they do not know, at most: it may have found out that it is a clone before that."""
SEEK_S = 2.0
"""Discovery tries nodes that are not heard this often."""


class Host:
    """One machine of the simulated mesh."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.id = name
        """Id of the node; another one after its machine was replaced."""
        self.address = f"{name}:1"
        self.disk = Disk()
        self.machine: Machine | None = None
        self.life = 0
        self.powered = True
        """Without power the host is silent; with it, it refuses connections while no node runs."""
        self.paused_until = 0.0
        self.backlog: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.flight: Batch | None = None
        self.low = ""
        """Why its disk takes nothing new, while it is nearly full."""
        self.whole_at = float("-inf")
        """When its node, as coordinator, last had all the disks that it wants."""
        self.voted_in_term = 0
        """The highest term in which its node has told others that it votes."""
        self.clock_changed_at = float("-inf")
        """When its wall clock was last stepped, or changed its speed."""
        self._skew_s = 0.0
        self._drift = 0.0
        self._drift_since_s = 0.0

    # -- the wall clock --------------------

    def wall_s(self) -> float:
        """What the wall clock of this host says."""
        now = self.world.now
        return EPOCH_S + now + self._skew_s + self._drift * (now - self._drift_since_s)

    @property
    def ahead_s(self) -> float:
        """How far its wall clock is ahead of the true one."""
        return self.wall_s() - EPOCH_S - self.world.now

    def set_clock(self, *, step_s: float = 0.0, drift: float = 0.0) -> None:
        """Step the wall clock, and let it run faster (or slower) by ``drift`` seconds each second from now on."""
        self._skew_s = self.ahead_s + step_s
        self._drift, self._drift_since_s = drift, self.world.now
        self.clock_changed_at = self.world.clock_changed_at = self.world.now

    def steady_clock(self) -> None:
        """The wall clock runs as fast as others again; it may still be wrong."""
        if self._drift:
            self.set_clock()

    # -- the process --------------------

    def start(self) -> None:
        """Start a node process: fresh journals, the disk as it was left."""
        assert self.machine is None
        self.life += 1
        self.powered = True
        machine = self.machine = Machine(self._identity(), replace(self.world.settings), self.disk.restored())
        machine.replica.on_added.append(self._note_added)
        machine.replica.on_passed.append(self._note_passed)
        machine.replica.on_settled.append(self._note_settled)
        invariants.r9_terms_only_rise(self.world, self, machine)
        invariants.watch_order(self.world, machine)
        machine.alarms.set(DISK, self.low)
        self.flight = None
        self.backlog = []
        self.world.history.journals += 4
        self.world.after(0.0, self.world.tick_host, self, self.life)
        self.world.after(0.01, self._seek, self.life)
        for other in self.world.hosts.values() if self in self.world.clones else ():
            self.world.after(self.world.rng.uniform(0.0, ANNOUNCED_S), self.world.knock, other, self)

    def _identity(self) -> Identity:
        return Identity(
            id=self.id,
            name=self.id,
            key=hashlib.sha256(self.id.encode()).digest(),
            mesh="sim",
            mesh_id="sim",
            bulk_journal=self.world.rng.randbytes(16),
            shared_journal=self.world.rng.randbytes(16),
            addresses=[self.address],
        )

    def _note_added(self, journal: Journal, sequence: int, entry: Entry) -> None:
        if isinstance(entry, Message) and journal.owner == self.id:
            self.world.history.wrote(entry, (journal.name, sequence))
            if is_plain(entry):
                self.world.topology.wrote(entry, self.world.now)
        elif isinstance(entry, Exchange | QueueDeclaration | Binding):
            self.world.topology.entries[journal.name, sequence] = name_of(entry)

    def _note_passed(self, journal: Journal, sequences: Sequence[int], entries: Sequence[Entry]) -> None:
        for sequence, entry in zip(sequences, entries, strict=True):
            self._note_added(journal, sequence, entry)

    def _note_settled(self, journal: Journal, sequence: int, entry: Entry) -> None:
        self.world.history.settled.add((journal.name, sequence))

    def _seek(self, life: int, first: bool = True) -> None:
        """Knock at all nodes, and later at those that are not heard, or not known to be there: discovery and lobby in one."""
        for other in [*self.world.hosts.values(), *self.world.clones]:
            if self.life != life or self.machine is None:
                return  # refused by the last one
            if other is not self and (first or not self._hears_at(other)):
                self.world.knock(self, other)
        self.world.after(SEEK_S, self._seek, life, False)

    def _hears_at(self, other: Host) -> bool:
        """Whether this node has no reason to look for a node there: it hears one that it knows to be there."""
        assert self.machine is not None
        membership = self.machine.membership
        known = membership.members.get(other.id)
        return known is not None and other.address in known.addresses and membership.is_reachable(other.id)

    def crash(self, *, commit_lands: bool) -> None:
        """kill -9: what was under way to the disk may or may not have reached it."""
        if self.flight is not None and commit_lands:
            self.world.commit(self, self.flight)
        self._end()
        self.world.connections_break(self)

    def lose_power(self) -> None:
        """The process ends with the machine, so that nothing refuses connections."""
        self._end()
        self.powered = False

    def _end(self) -> None:
        if self.machine is not None:
            hosts = (*self.world.hosts.values(), *self.world.clones)
            others = [host.machine for host in hosts if host.machine is not None and host is not self]
            self.world.fleeting.ends(self.machine, others, self.world.now)
        self.machine = None
        self.flight = None
        self.life += 1
        self.backlog = []
        self.paused_until = 0.0

    def disk_low(self, why: str) -> None:
        """The disk is nearly full, or, without a reason, has room again."""
        self.low = why
        if self.machine is not None:
            self.step(self.machine.alarms.set, DISK, why)

    def leave(self, *, switch_off: bool = False) -> None:
        """Leave politely; the process ends when all is said and kept, or after LEAVE_TIMEOUT_S."""
        if self.machine is not None:
            self.step(self.machine.leave)
            self._watch_leave(self.life, self.world.now + LEAVE_TIMEOUT_S, switch_off)

    def _watch_leave(self, life: int, deadline: float, switch_off: bool) -> None:
        if self.life != life or self.machine is None:
            return
        if not self.machine.settled_to_leave() and self.world.now < deadline:
            self.world.after(0.005, self._watch_leave, life, deadline, switch_off)
            return
        self.powered = not switch_off
        self.crash(commit_lands=True)  # the writer finishes what it has begun

    def step(self, action: Callable[..., object], *arguments: Any) -> None:
        """One turn of the node's loop around one event."""
        machine = self.machine
        if machine is None:
            return
        world = self.world
        if self.paused_until > world.now:
            self.backlog.append((action, arguments))
            return
        machine.at(world.now, self.wall_s())
        action(*arguments)
        machine.flush()
        world.carry_out(self, machine)

    # -- pauses --------------------

    def pause(self, seconds: float) -> None:
        """SIGSTOP, then SIGCONT."""
        if self.machine is not None:
            self.paused_until = max(self.paused_until, self.world.now + seconds)
            self.world.after(seconds, self.resume, self.life)

    def resume(self, life: int) -> None:
        """Take what came in meanwhile."""
        if self.life != life or self.machine is None or self.paused_until > self.world.now:
            return
        backlog, self.backlog = self.backlog, []
        self.step(self.machine.tick)
        for action, arguments in backlog:
            self.step(action, *arguments)
