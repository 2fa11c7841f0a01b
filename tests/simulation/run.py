"""Run seeds: ``python -m tests.simulation.run --seeds 1000`` or ``--seed 42`` for one, with its schedule and history.

A failing seed is shrunk by dropping faults that are not needed for the failure.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace

from mesh.config import Settings
from tests.simulation import expiry, fleeting, invariants, plain, retrying, steps, topology
from tests.simulation.faults import Fault, arm, forget_replaced, gentle_schedule, heal, schedule, sides, weight
from tests.simulation.world import Load, World

FAULTS_FROM_S, FAULTS_UNTIL_S = 2.0, 12.0
TAIL_S = 1.0
"""The calm begins so long after the last fault."""
LONGEST_FAULT_S = 14.0
LOOK_S = 0.25
"""How often the calm is looked at."""
QUIET_S = 2.0
"""When all is done it has to stay so for this long."""
AGREEMENT_S = 6.0
"""I3: from healing to one coordinator that has reconciled with all."""
FINISH_S = 15.0
"""I3: from healing to the last result, beyond the patience."""
PROGRESS_S = 30.0


@dataclass(frozen=True)
class Plan:
    """All that a run follows from, beside the dice of its seed."""

    seed: int
    nodes: int
    settings: Settings
    load: Load
    faults: list[Fault] = field(default_factory=list)
    gentle: bool = False
    """After these faults nothing may have run twice."""


def plan(seed: int) -> Plan:
    """What a seed stands for: the size of the mesh, its settings, what is published, and the faults."""
    rng = random.Random(seed * 104_729 + 3)
    nodes = (1, 2, 3, 3, 3, 5)[seed % 6]
    poison = rng.random() < 0.25
    small = rng.random() < 0.25
    gentle = rng.random() < 0.15
    settings = Settings(
        copies=2 if gentle else rng.choice((1, 2, 2, 2, 2, 3)),
        partition="strict" if rng.random() < 0.2 else "available",
        result_expires_s=31_536_000,
        takeover_patience_s=10.0 if gentle else rng.choice((1.5, 3.0, 3.0, 10.0)),
        max_deliveries=5 if poison else 1000,
        replicate_batch_bytes=1 << 12 if small else 1 << 20,
        chunk_bytes=64,
        link_window_bytes=1 << 16 if small else 16 << 20,
        window_bytes=random.Random(seed * 7 + 5).choice((0, 4_000, *4 * [32 << 20])),
        max_length=random.Random(seed * 11 + 7).choice((0, 0, 0, 5)),
    )
    burst = 25 if settings.window_bytes < 1 << 20 else 0  # so that queues are longer than what a node holds in memory
    large = 0.15 if random.Random(seed * 11 + 1).random() < 0.3 else 0.0
    big = 0.03 if rng.random() < 0.1 else 0.0
    routed = not settings.max_length and random.Random(seed * 13 + 3).random() < 0.3
    expiring = not settings.max_length and random.Random(seed * 17 + 5).random() < 0.2
    passing = not settings.max_length and random.Random(seed * 19 + 7).random() < 0.25
    workflows = not settings.max_length and not poison and random.Random(seed * 29 + 13).random() < 0.4
    talking = not settings.max_length and random.Random(seed * 23 + 11).random() < 0.4
    asking = random.Random(seed * 29 + 13).random() < 0.3
    load = Load(
        poison=0.1 if poison else 0.0,
        stubborn=0.2 if asking else 0.0,
        big=big,
        large=large,
        burst=burst,
        topology=routed,
        expiring=expiring,
        fleeting=passing,
        plain=talking,
        workflows=workflows,
    )
    if gentle:
        faults = gentle_schedule(seed, nodes, 3, FAULTS_FROM_S, settings)
    else:
        faults = schedule(seed, nodes, 2 + seed % 7, FAULTS_FROM_S, FAULTS_UNTIL_S, settings)
    return Plan(seed, nodes, settings, load, faults, gentle)


def simulate(seed: int | Plan, *, faults: list[Fault] | None = None) -> World:
    """One run: faults for a while, then calm; the world with its violations."""
    given = plan(seed) if isinstance(seed, int) else seed
    faults = given.faults if faults is None else faults
    world = World(given.seed, given.nodes, given.settings, given.load)
    world.start()
    arm(world, faults)
    until_s = max([FAULTS_UNTIL_S, *(fault.at_s + min(fault.for_s, LONGEST_FAULT_S) for fault in faults)])
    for client in world.clients:
        for _ in range(8):
            world.after(world.rng.uniform(1.0, until_s), client.publish, world.rng.randint(1, 4))
        if given.load.burst:
            world.after(world.rng.uniform(1.0, until_s), client.publish, given.load.burst)
    world.run_until(until_s + TAIL_S)
    heal(world)
    _calm_down(world)
    _check_end(world, faults)
    if not faults:
        plain.i20_without_faults_nothing_comes_twice(world)
        invariants.a_queue_keeps_its_limit(world)
    if given.gentle or not faults:
        invariants.i14_without_faults_nothing_runs_twice(world)
    return world


def _calm_down(world: World) -> None:
    """I3: wait until all is done, as long as it may take; measure how long it took."""
    began = world.now
    limit_s = FINISH_S + world.settings.takeover_patience_s + (retrying.WISHED_S if world.load.stubborn else 0.0)
    agreement_s = AGREEMENT_S
    if any(host.disk.salvage is not None for host in world.hosts.values()):
        agreement_s += world.settings.takeover_patience_s  # who is not whole waits for somebody who is (R20)
    missing = "not looked yet"
    while missing and world.now - began < limit_s:
        world.run_until(world.now + LOOK_S)
        forget_replaced(world)
        if not world.history.agreed_after_s and not invariants.disagreement(world):
            world.history.agreed_after_s = world.now - began
        missing = _unfinished(world)
    if missing:
        if not invariants.is_full_of_what_is_excused(world):
            world.violate(f"I2/I3: {missing}, {limit_s:.0f} s after healing")
        return
    world.history.finished_after_s = world.now - began
    if world.history.agreed_after_s > agreement_s:
        world.violate(f"I3: {world.history.agreed_after_s:.1f} s until all agreed on a coordinator")
    world.run_until(world.now + QUIET_S)
    missing = _still_missing(world)
    again = world.history.started_after(began + world.history.finished_after_s) - invariants.excused(world)
    if missing or again:
        world.violate(f"I6: all was done, and then it was not: {missing or sorted(again)}")


def _still_missing(world: World) -> str:
    """What is not done although all was; what was excused, or a journal that nobody needs, may have come to its end a moment ago."""
    missing = _unfinished(world)
    if missing:
        world.run_until(world.now + LOOK_S)
        missing = _unfinished(world)
    return missing


def _unfinished(world: World) -> str:
    return invariants.unfinished(world) or topology.unfinished(world) or expiry.still_to_die(world) or plain.unfinished(world)


def _check_end(world: World, faults: list[Fault]) -> None:
    invariants.i1_confirmed_is_kept(world)
    plain.i20_confirmed_is_seen_or_live(world)
    invariants.i8_attempts_are_limited(world, weight(faults, world.settings), sides(faults, world.settings))
    if world.declarers and not world.history.violations:
        topology.i16_all_nodes_have_the_same_topology(world)
        topology.i16_what_was_answered_is_so(world)
        topology.i17_what_was_routed_is_kept(world)
        expiry.i18_the_dead_are_where_they_belong(world)
        fleeting.i19_it_lives_as_long_as_a_holder(world)
    if not world.history.violations:
        steps.i9_each_step_is_settled_once(world)
    if not world.history.violations:
        if any(machine.replication.copies.waited_for for machine in world.machines().values()):
            world.run_until(world.now + LOOK_S)  # something that was said again is on its way to the disks
        invariants.i12_everything_is_bounded(world)


def shrink(given: Plan) -> list[Fault]:
    """The faults that the failure needs: without any one of them it does not fail."""
    needed = list(given.faults)
    for fault in given.faults:
        fewer = [other for other in needed if other is not fault]
        if failure(given, fewer):
            needed = fewer
    return needed if len(needed) == len(given.faults) else shrink(replace(given, faults=needed))


def failure(given: Plan, faults: list[Fault] | None = None) -> list[str]:
    """The violations of one run; an exception is a violation too."""
    try:
        return simulate(given, faults=faults).history.violations
    except Exception as error:  # the report names the seed
        return [f"{type(error).__name__}: {error}"]


def _run_seed(seed: int) -> tuple[int, list[str]]:
    return seed, failure(plan(seed))


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    if options.seed is not None:
        return _one(plan(options.seed))
    return _many(range(options.first, options.first + options.seeds), options.jobs)


def _many(seeds: range, jobs: int) -> int:
    began = told = time.perf_counter()
    failed: list[int] = []
    for done, (seed, violations) in enumerate(_run_seeds(seeds, jobs), 1):
        if violations:
            failed.append(seed)
            print(f"seed {seed}: {violations[0]}" + (f" (+{len(violations) - 1})" if len(violations) > 1 else ""), flush=True)
        now = time.perf_counter()
        if now - told > PROGRESS_S:
            told = now
            print(f"... {done} of {len(seeds)} seeds, {len(failed)} failed, {done / (now - began):.1f} seeds/s", flush=True)
    seconds = time.perf_counter() - began
    print(f"{len(seeds)} seeds, {len(failed)} failed, {len(seeds) / seconds:.1f} seeds/s")
    if failed:
        print(f"reproduce: make simulate SEED={failed[0]}")
    return 1 if failed else 0


def _run_seeds(seeds: range, jobs: int) -> Iterator[tuple[int, list[str]]]:
    if jobs == 1:
        yield from map(_run_seed, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(_run_seed, seeds, chunksize=8)


def _one(given: Plan) -> int:
    print(*given.faults, sep="\n")
    world = simulate(given)
    history = world.history
    print(f"published {len(history.published)}, confirmed {len(history.confirmed)}, ran twice {len(history.duplicates())}")
    print(f"agreed {history.agreed_after_s:.2f} s and finished {history.finished_after_s:.2f} s after healing")
    print(f"digest {history.digest()[:16]}")
    for violation in history.violations:
        print("VIOLATED", violation)
    if history.violations:
        print("needed:", *shrink(given), sep="\n  ")
    return 1 if history.violations else 0


if __name__ == "__main__":
    sys.exit(main())
