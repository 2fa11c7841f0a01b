"""Faults as data: a schedule follows from the seed, and shrinks by dropping faults."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mesh.config import Settings
from mesh.wire.messages import Query
from tests.simulation.host import Host
from tests.simulation.parts import COMMIT_S, SLOW_COMMIT_S, Disk, Pair
from tests.simulation.world import World

LONG_AGO_S = 26_000_000.0
"""300 days: far, and less than results are kept."""
SNAPSHOT_AGE_S = (0.5, 6.0)
"""How old a stale disk is."""
FLAP_S = 0.4
DISK_LOSS_RETRY_S = 0.5
CUTS = ("isolate", "split", "cut", "one_way", "flap", "pause", "lossy")
"""Kinds of faults by which a node may lead a part of the mesh for itself."""
ABSENCES = ("crash", "power_cut", "power_cut_of_all", "crash_of_all", "full", "leave", "shut_down", "wipe", "replace", "stale", "rot")
"""Kinds of faults by which a node misses what the others do."""
ROLES = ("coordinator", "deputy", "other")
"""Instead of a host's name: whoever has this role when the fault begins."""


@dataclass(frozen=True)
class Fault:
    """One fault: what, when, for how long, to whom (hosts, several joined by ``+``), and how much."""

    kind: str
    at_s: float
    for_s: float = 0.0
    a: str = "coordinator"
    b: str = ""
    amount: float = 0.0

    def __str__(self) -> str:
        amount = f" by {self.amount:.2f}" if self.amount else ""
        return f"{self.at_s:.2f}s {self.kind} {self.a}{' ' + self.b if self.b else ''}{amount} for {self.for_s:.2f}s"


# -- what each kind does --------------------


def _crash(world: World, fault: Fault, host: Host) -> None:
    """kill -9 of the node."""
    host.crash(commit_lands=world.rng.random() < 0.5)
    world.after(fault.for_s, _restart, world, host)


def _power_cut(world: World, fault: Fault, host: Host) -> None:
    """The machine loses power: the unsynced tail is gone, the worker too, and nothing refuses connections."""
    host.lose_power()
    for worker in world.workers:
        if worker.home == host.name:
            worker.crash()
            world.after(fault.for_s, worker.restart)
    world.after(fault.for_s, _restart, world, host)


def _power_cut_of_all(world: World, fault: Fault, host: Host) -> None:
    """All machines lose power at once, and come back one after the other."""
    for number, each in enumerate(world.hosts.values()):
        _power_cut(world, Fault("power_cut", fault.at_s, fault.for_s + fault.amount * number, each.name), each)


def _crash_of_all(world: World, fault: Fault, host: Host) -> None:
    """All nodes are killed at once; the workers live on."""
    for number, each in enumerate(world.hosts.values()):
        each.crash(commit_lands=world.rng.random() < 0.5)
        world.after(fault.for_s + fault.amount * number, _restart, world, each)


def _wipe(world: World, fault: Fault, host: Host) -> None:
    """The disk dies; the node comes back with its key and an empty one."""
    _lose_disk(world, fault, host, lambda: Disk(), host.id)


def _replace(world: World, fault: Fault, host: Host) -> None:
    """The disk dies and the key with it; the node comes back as a stranger."""
    _lose_disk(world, fault, host, lambda: Disk(), f"{host.id}'")


def _rot(world: World, fault: Fault, host: Host) -> None:
    """Bits flip, or sectors are lost: a share of the rows can't be read any more, and the next process notices."""
    _lose_disk(world, fault, host, lambda: host.disk.damaged(world.rng, fault.amount), host.id)


def _stale(world: World, fault: Fault, host: Host) -> None:
    """The disk is restored from a backup."""
    id, snapshot = world.backups[fault.at_s, host.name]
    if id == host.id:
        _lose_disk(world, fault, host, lambda: snapshot, id)


def _lose_disk(world: World, fault: Fault, host: Host, contents: Callable[[], Disk], id: str) -> None:
    """Not while another lost disk is not whole again: two at once are more than two copies can stand."""
    if world.healed:
        return
    if not _whole_again(world):
        world.after(DISK_LOSS_RETRY_S, _lose_disk, world, fault, host, contents, id)
        return
    host.crash(commit_lands=False)
    world.damage(host, contents())
    del world.by_id[host.id]
    host.id = id
    world.by_id[id] = host
    world.identities.add(id)
    world.after(fault.for_s, _restart, world, host)


def _whole_again(world: World) -> bool:
    """Whether the mesh itself says that nothing has fewer copies than wanted since the last disk was lost.

    A clone that stands for its node has a disk that is about to be lost.
    """
    if any(clone.machine is not None for clone in world.clones):
        return False
    damaged = [host for host in world.hosts.values() if host.disk.damaged_at > 0]
    if not (damaged or world.former_clones):
        return True
    coordinators = world.coordinators()
    if len(coordinators) != 1 or any(host.machine is None or host.machine.recovery.pending for host in damaged):
        return False
    leader = coordinators[0].machine
    assert leader is not None
    replication = leader.replication
    others = world.by_id.keys() - {leader.me.id}
    reported = all(id in replication.streams and replication.reconciled_with(id) for id in others)
    under_way = replication.under_replicated() or replication.copies.waits or not leader.turn.idle
    return reported and not under_way


def _slow_disk(world: World, fault: Fault, host: Host) -> None:
    """Each transaction takes a fraction of a second up to seconds."""
    host.disk.commit_s = SLOW_COMMIT_S
    world.after(fault.for_s, setattr, host.disk, "commit_s", COMMIT_S)


def _full(world: World, fault: Fault, host: Host) -> None:
    """The disk is nearly full, and half-way, with an amount, quite full: a transaction fails, which ends the process."""
    host.disk_low("no room left on the simulated disk")
    if fault.amount:
        world.after(fault.for_s / 2, setattr, host.disk, "full", True)
    world.after(fault.for_s, _make_room, world, host)


def _make_room(world: World, host: Host) -> None:
    host.disk.full = False
    host.disk_low("")
    _restart(world, host)


def _clock_step(world: World, fault: Fault, host: Host) -> None:
    """The wall clock jumps."""
    host.set_clock(step_s=fault.amount)


def _clock_drift(world: World, fault: Fault, host: Host) -> None:
    """The wall clock runs too fast or too slow."""
    host.set_clock(drift=fault.amount)
    world.after(fault.for_s, host.steady_clock)


def _pause(world: World, fault: Fault, host: Host) -> None:
    """SIGSTOP and SIGCONT, or a laptop that sleeps."""
    host.pause(fault.for_s)


def _leave(world: World, fault: Fault, host: Host) -> None:
    """A polite goodbye; the node comes back later."""
    host.leave()
    world.after(1.0 + fault.for_s, _restart, world, host)


def _shut_down(world: World, fault: Fault, host: Host) -> None:
    """A polite goodbye, and the machine is switched off: it refuses nothing, it is silent."""
    host.leave(switch_off=True)
    world.after(1.0 + fault.for_s, _restart, world, host)


def _clone(world: World, fault: Fault, host: Host) -> None:
    """A copy of the state directory is started on another machine."""
    clone = world.add_clone(host)
    clone.start()
    world.after(fault.for_s, world.remove_clone, clone)


def _worker_crash(world: World, fault: Fault, host: Host) -> None:
    """The worker on the host is killed, with what it runs."""
    for worker in world.workers:
        if worker.home == host.name:
            worker.crash()
            world.after(fault.for_s, worker.restart)


def _worker_pause(world: World, fault: Fault, host: Host) -> None:
    """The worker on the host is stopped for a while."""
    for worker in world.workers:
        if worker.home == host.name and worker.alive:
            worker.pause(fault.for_s)


def _cut(world: World, fault: Fault, host: Host) -> None:
    """Two hosts do not hear each other, while others hear both."""
    other = _target(world, fault.b, host)
    _cut_for(world, fault.for_s, {(host.name, other.name), (other.name, host.name)} if other is not host else set())


def _one_way(world: World, fault: Fault, host: Host) -> None:
    """What one host sends does not reach the other."""
    other = _target(world, fault.b, host)
    _cut_for(world, fault.for_s, {(host.name, other.name)} if other is not host else set())


def _isolate(world: World, fault: Fault, host: Host) -> None:
    """A host is cut off from all others."""
    _cut_for(world, fault.for_s, _between(world, {host.name}))


def _split(world: World, fault: Fault, host: Host) -> None:
    """The hosts named are on one side, all others on the other."""
    _cut_for(world, fault.for_s, _between(world, set(fault.a.split("+"))))


def _flap(world: World, fault: Fault, host: Host) -> None:
    """A host's link comes and goes."""
    for number in range(int(fault.for_s / (2 * FLAP_S))):
        world.after(2 * number * FLAP_S, _cut_for, world, FLAP_S, _between(world, {host.name}))


def _between(world: World, side: set[str]) -> set[Pair]:
    return {pair for a in side for b in world.hosts if b not in side for pair in ((a, b), (b, a))}


def _cut_for(world: World, seconds: float, pairs: set[Pair]) -> None:
    if pairs and not world.healed:
        world.network.cut(pairs)
        world.after(seconds, world.network.mend, pairs)


def _lossy(world: World, fault: Fault, host: Host) -> None:
    """The network loses and repeats messages."""
    world.network.loss, world.network.duplication = fault.amount, fault.amount / 2
    world.after(fault.for_s, _calm, world.network, "loss", "duplication")


def _frame_loss(world: World, fault: Fault, host: Host) -> None:
    """Frames of a host are lost, and sent again by its connections: these lose nothing and keep the order, and stall."""
    pairs = _between(world, {host.name})
    for pair in pairs:
        world.network.frame_loss[pair] = fault.amount
    world.after(fault.for_s, _lose_none, world, pairs)


def _lose_none(world: World, pairs: set[Pair]) -> None:
    for pair in pairs:
        world.network.frame_loss.pop(pair, None)


def _reordering(world: World, fault: Fault, host: Host) -> None:
    """Messages overtake each other."""
    world.network.reordering = fault.amount
    world.after(fault.for_s, _calm, world.network, "reordering")


def _calm(network: object, *names: str) -> None:
    for name in names:
        setattr(network, name, 0.0)


def _restart(world: World, host: Host) -> None:
    if host.machine is None:
        host.start()


Inflict = Callable[[World, Fault, Host], None]
KINDS: dict[str, Inflict] = {
    "crash": _crash,
    "power_cut": _power_cut,
    "power_cut_of_all": _power_cut_of_all,
    "crash_of_all": _crash_of_all,
    "wipe": _wipe,
    "replace": _replace,
    "stale": _stale,
    "rot": _rot,
    "slow_disk": _slow_disk,
    "full": _full,
    "clock_step": _clock_step,
    "clock_drift": _clock_drift,
    "pause": _pause,
    "leave": _leave,
    "shut_down": _shut_down,
    "clone": _clone,
    "worker_crash": _worker_crash,
    "worker_pause": _worker_pause,
    "cut": _cut,
    "one_way": _one_way,
    "isolate": _isolate,
    "split": _split,
    "flap": _flap,
    "lossy": _lossy,
    "frame_loss": _frame_loss,
    "reordering": _reordering,
}


# -- schedules --------------------


def schedule(seed: int, nodes: int, count: int, first_s: float, last_s: float, settings: Settings) -> list[Fault]:
    """``count`` faults that begin between ``first_s`` and ``last_s`` seconds."""
    rng = random.Random(seed * 7919 + 1)
    kinds = [*(kind for kind in KINDS if kind != "frame_loss"), "crash", "crash", "isolate", "worker_crash"]
    faults = [_draw(rng, rng.choice(kinds), nodes, rng.uniform(first_s, last_s), settings) for _ in range(count)]
    if loses_frames(seed):
        faults.append(_draw(rng, "frame_loss", nodes, rng.uniform(first_s, last_s), settings))
    return sorted(faults, key=lambda fault: fault.at_s)


def loses_frames(seed: int) -> bool:
    """One seed of eight: a kind that came later than the others, so that the seeds that have found something stand for the same as then."""
    return seed % 8 == 5


def _draw(rng: random.Random, kind: str, nodes: int, at_s: float, settings: Settings) -> Fault:
    names = [f"n{index}" for index in range(nodes)]
    a = rng.choice(names)
    b = rng.choice([name for name in names if name != a] or [a])
    for_s = rng.choice((0.3, 1.0, 3.0, 6.0))
    amount = 0.0
    if kind in ("isolate", "crash", "pause", "slow_disk", "power_cut", "frame_loss") and rng.random() < 0.4:
        a = rng.choice(ROLES)
    elif kind in ("pause", "isolate", "split", "worker_pause") and rng.random() < 0.15:
        for_s = max(settings.takeover_patience_s, settings.session_timeout_s) + 2.0  # longer than every timeout
    if kind == "split":
        a = "+".join(sorted(rng.sample(names, max(1, nodes // 2))))
    elif kind == "clock_step":
        amount = rng.choice((-LONG_AGO_S, -3600.0, -5.0, 5.0, 3600.0, LONG_AGO_S))
    elif kind == "clock_drift":
        amount = rng.choice((-0.5, -0.01, 0.01, 0.5))
    elif kind == "stale":
        amount = rng.uniform(*SNAPSHOT_AGE_S)
    elif kind == "rot":
        amount = rng.choice((0.05, 0.5, 1.0))
    elif kind == "full":
        amount = rng.choice((0.0, 1.0))
    elif kind in ("lossy", "reordering", "frame_loss"):
        amount = rng.choice((0.01, 0.1, 0.3))
    elif kind in ("power_cut_of_all", "crash_of_all"):
        amount = rng.choice((0.0, 0.3, 1.5))
    return Fault(kind, at_s, for_s, a, b, amount)


GENTLE = (
    ("crash", "crash", "leave", "shut_down", "clone", "full", "slow_disk", "clock_step", "clock_drift", "pause", "worker_pause"),
    ("isolate", "isolate", "cut", "one_way", "lossy", "reordering", "slow_disk", "clock_step", "clock_drift", "pause", "worker_pause"),
)
"""Kinds for one schedule: of processes, or of the network while every program is attached to the node on its own machine."""
GENTLE_S = (0.1, 0.3, 0.8, 1.5)
"""Shorter than the patience and than a worker's timeout."""
GENTLE_LOSS = 0.1
"""More of it lets heartbeats fail often enough for elections."""
GENTLE_PAUSE_S = 6.0


def gentle_schedule(seed: int, nodes: int, count: int, first_s: float, settings: Settings) -> list[Fault]:
    """Faults one after the other, with calm between, of kinds after which nothing may run twice."""
    rng = random.Random(seed * 7919 + 2)
    faults, at_s = [], first_s
    kinds: Sequence[str] = rng.choice(GENTLE)
    if loses_frames(seed):
        kinds = ("frame_loss", "isolate", "one_way")
    for _ in range(count):
        fault = _draw(rng, rng.choice(kinds), nodes, at_s, settings)
        amount = min(fault.amount, GENTLE_LOSS) if fault.kind == "lossy" else 0.0 if fault.kind == "full" else fault.amount
        fault = Fault(fault.kind, at_s, rng.choice(GENTLE_S), fault.a, fault.b, amount)
        faults.append(fault)
        at_s += fault.for_s + GENTLE_PAUSE_S
    return faults


def weight(faults: list[Fault], settings: Settings) -> int:
    """How many attempts of one task the faults can cost: one each, and one more for each time-out of a worker that they outlast."""
    return sum(1 + int(fault.for_s / min(settings.worker_timeout_s, settings.takeover_patience_s + 1e-9)) for fault in faults)


def sides(faults: list[Fault], settings: Settings) -> int:
    """How many coordinators can count the attempts of one task, each for itself.

    Two, if cuts outlast the patience; or whoever has counted is cut off when a node comes back that has missed it, and is a majority with
    others.
    """
    cuts = [fault for fault in faults if fault.kind in CUTS]
    if settings.partition == "available" and sum(fault.for_s for fault in cuts) > settings.takeover_patience_s:
        return 2
    return 2 if len(cuts) > 1 or (cuts and any(fault.kind in ABSENCES for fault in faults)) else 1


# -- beginning and end --------------------


def arm(world: World, faults: list[Fault]) -> None:
    """Let the faults happen at their times."""
    for fault in faults:
        world.after(fault.at_s, inflict, world, fault)
        if fault.kind == "stale":
            world.after(max(0.0, fault.at_s - fault.amount), _back_up, world, fault)


def _back_up(world: World, fault: Fault) -> None:
    for host in world.hosts.values():
        world.backups[fault.at_s, host.name] = (host.id, host.disk.snapshot())


def inflict(world: World, fault: Fault) -> None:
    """Begin a fault now; it ends by itself after its time."""
    if not world.healed:
        KINDS[fault.kind](world, fault, _target(world, fault.a.split("+")[0], None))


def _target(world: World, name: str, not_this: Host | None) -> Host:
    """The host of that name, or with that role now; any host when nobody has the role."""
    if name in world.hosts:
        return world.hosts[name]
    coordinators = world.coordinators()
    leader = coordinators[0] if coordinators else next(iter(world.hosts.values()))
    if name == "coordinator":
        return leader
    deputies = leader.machine.replication.deputies if leader.machine is not None else []
    if name == "deputy" and deputies and deputies[0] in world.by_id:
        return world.by_id[deputies[0]]
    others = [host for host in world.hosts.values() if host is not leader and host.id not in deputies and host is not not_this]
    return others[0] if others else leader


def heal(world: World) -> None:
    """End everything: the calm in which all must finish."""
    world.healed = True
    world.network.heal()
    for clone in list(world.clones):
        world.remove_clone(clone)
    for host in world.hosts.values():
        host.disk.commit_s = COMMIT_S
        host.disk.full = False
        host.disk_low("")
        host.steady_clock()
        _restart(world, host)
        if host.paused_until > world.now:
            host.paused_until = world.now
            host.resume(host.life)
    for worker in world.workers:
        worker.restart()
        if worker.paused_until > world.now:
            worker.paused_until = world.now
            worker.resume()


def forget_replaced(world: World) -> None:
    """``mesh forget``: an operator says of nodes that were replaced that they will not come back."""
    for host in world.coordinators():
        assert host.machine is not None
        for id in sorted(world.identities - world.by_id.keys()):
            member = host.machine.membership.members.get(id)
            client = next((client for client in world.clients if client.attached), None)
            if member is not None and member.present and client is not None:
                client.send(Query(1, "forget", id))
