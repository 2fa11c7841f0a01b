"""The real core under seeded faults; ``make simulate SEEDS=n`` runs more of the same."""

from __future__ import annotations

import pytest

from tests.simulation.faults import schedule
from tests.simulation.run import simulate


@pytest.mark.parametrize("seed", range(40))
def test_every_invariant_holds_under_faults(seed: int) -> None:
    world = simulate(seed)
    assert world.history.violations == [], f"reproduce: python -m tests.simulation.run --seed {seed}"
    assert world.history.confirmed


@pytest.mark.parametrize("seed", range(12))
def test_i14_without_faults_nothing_runs_twice(seed: int) -> None:
    world = simulate(seed, faults=[])
    assert world.history.violations == []
    assert world.history.duplicates() == 0
    assert set(world.history.finished) == world.history.published


def test_a_seed_gives_the_same_history_every_time() -> None:
    first, second = simulate(17), simulate(17)
    assert first.history.starts == second.history.starts
    assert first.history.contents == second.history.contents


def test_the_faults_follow_from_the_seed() -> None:
    assert schedule(5, 3, 6, 20.0) == schedule(5, 3, 6, 20.0)
    assert schedule(5, 3, 6, 20.0) != schedule(6, 3, 6, 20.0)
