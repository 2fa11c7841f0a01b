"""Run seeds: ``python -m tests.simulation.run --seeds 1000`` or ``--seed 42`` for one, with its schedule and history.

A failing seed is shrunk by dropping faults that are not needed for the failure.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from mesh.config import Settings
from tests.simulation.faults import Fault, end_all, inflict, schedule
from tests.simulation.world import World

SPAN_S = 20.0
CALM_S = 45.0


def simulate(seed: int, *, faults: list[Fault] | None = None, nodes: int | None = None, settings: Settings | None = None) -> World:
    """One run: faults for a while, then calm; the world with its violations."""
    nodes = nodes or (1, 2, 3, 3, 3, 5)[seed % 6]
    world = World(seed, nodes, settings)
    world.start()
    if faults is None:
        faults = schedule(seed, nodes, count=2 + seed % 7, span_s=SPAN_S)
    for fault in faults:
        world.after(fault.at_s, inflict, world, fault)
    for client in world.clients:
        for _ in range(8):
            world.after(world.rng.uniform(1.0, SPAN_S), client.publish, world.rng.randint(1, 4))
    world.run_until(SPAN_S + 10)
    end_all(world)
    world.run_until(world.now + CALM_S)
    world.check_end()
    if not faults and world.history.duplicates():
        world.violate(f"I14: {world.history.duplicates()} tasks ran twice in a run without faults")
    return world


def shrink(seed: int, faults: list[Fault]) -> list[Fault]:
    """The faults that the failure needs: drop one after the other as long as it still fails."""
    needed = list(faults)
    for fault in faults:
        fewer = [other for other in needed if other is not fault]
        if simulate(seed, faults=fewer).history.violations:
            needed = fewer
    return needed


def failure(seed: int) -> tuple[int, list[str]]:
    """(seed, violations) of one run; an exception is a violation too."""
    try:
        return seed, simulate(seed).history.violations
    except Exception as error:  # the report names the seed
        return seed, [f"{type(error).__name__}: {error}"]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    if options.seed is not None:
        return _one(options.seed)
    began = time.perf_counter()
    failed = []
    with ProcessPoolExecutor(options.jobs) as pool:
        for seed, violations in pool.map(failure, range(options.first, options.first + options.seeds), chunksize=8):
            if violations:
                failed.append(seed)
                print(f"seed {seed}: {violations[0]}" + (f" (+{len(violations) - 1})" if len(violations) > 1 else ""), flush=True)
    seconds = time.perf_counter() - began
    print(f"{options.seeds} seeds, {len(failed)} failed, {options.seeds / seconds:.1f} seeds/s")
    if failed:
        print(f"reproduce: python -m tests.simulation.run --seed {failed[0]}")
    return 1 if failed else 0


def _one(seed: int) -> int:
    nodes = (1, 2, 3, 3, 3, 5)[seed % 6]
    faults = schedule(seed, nodes, count=2 + seed % 7, span_s=SPAN_S)
    world = simulate(seed)
    for fault in faults:
        print(fault)
    history = world.history
    print(f"published {len(history.published)}, confirmed {len(history.confirmed)}, ran twice {history.duplicates()}")
    for violation in history.violations:
        print("VIOLATED", violation)
    if history.violations:
        print("needed:", *shrink(seed, faults), sep="\n  ")
    return 1 if history.violations else 0


if __name__ == "__main__":
    sys.exit(main())
