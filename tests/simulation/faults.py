"""Faults as data: a schedule follows from the seed, and shrinks by dropping faults."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.simulation.world import World


@dataclass(frozen=True)
class Fault:
    """One fault: what, when, for how long, to whom."""

    kind: str
    at_s: float
    for_s: float
    a: str
    b: str = ""

    def __str__(self) -> str:
        return f"{self.at_s:.2f}s {self.kind} {self.a} {self.b} for {self.for_s:.2f}s"


KINDS = ("crash", "crash", "cut", "one_way", "isolate", "pause", "worker_crash", "lossy")


def schedule(seed: int, nodes: int, count: int, span_s: float) -> list[Fault]:
    """``count`` faults within ``span_s`` seconds."""
    rng = random.Random(seed * 7919 + 1)
    names = [f"n{index}" for index in range(nodes)]
    faults = []
    for _ in range(count):
        kind = rng.choice(KINDS)
        a = rng.choice(names)
        b = rng.choice([name for name in names if name != a] or [a])
        faults.append(Fault(kind, rng.uniform(2.0, span_s), rng.choice((0.3, 1.0, 3.0, 8.0)), a, b))
    return sorted(faults, key=lambda fault: fault.at_s)


def inflict(world: World, fault: Fault) -> None:
    """Begin a fault now, and end it after its time."""
    host = world.hosts[fault.a]
    pairs: set[tuple[str, str]] = set()
    if fault.kind == "crash":
        host.crash(commit_lands=world.rng.random() < 0.5)
        world.after(fault.for_s, _restart, world, fault.a)
    elif fault.kind == "pause":
        world.pause(host, fault.for_s)
    elif fault.kind == "worker_crash":
        worker = world.workers[int(fault.a[1:])]
        worker.crash()
        world.after(fault.for_s, worker.restart)
    elif fault.kind == "lossy":
        world.network.loss, world.network.duplication = 0.1, 0.05
        world.after(fault.for_s, _calm_network, world)
    elif fault.kind == "cut":
        pairs = {(fault.a, fault.b), (fault.b, fault.a)}
    elif fault.kind == "one_way":
        pairs = {(fault.a, fault.b)}
    elif fault.kind == "isolate":
        pairs = {pair for other in world.hosts if other != fault.a for pair in ((fault.a, other), (other, fault.a))}
    if pairs:
        world.network.cut |= pairs
        world.after(fault.for_s, world.network.cut.difference_update, pairs)


def _restart(world: World, name: str) -> None:
    if world.hosts[name].machine is None:
        world.hosts[name].start()


def _calm_network(world: World) -> None:
    world.network.loss = world.network.duplication = 0.0


def end_all(world: World) -> None:
    """Heal everything: the calm in which all must finish."""
    world.network.heal()
    for name, host in world.hosts.items():
        _restart(world, name)
        if host.paused_until > world.now:
            host.paused_until = world.now
            world.after(0.0, world._resume, host, host.life)
    for worker in world.workers:
        if not worker.alive:
            worker.restart()
