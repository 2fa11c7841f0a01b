"""Known bugs in the core, each of which the simulation has to notice (tests/simulation/planted.py)."""

from __future__ import annotations

import pytest

from tests.simulation import planted, run

SEEDS = 60
EASY = ("lazy_fsync", "copies_over_live_nodes", "context_kept_when_entries_are_dropped", "journal_reopened_after_restart", "votes_not_kept")
"""Caught by the first few of the seeds that ``make simulate`` runs."""


@pytest.mark.parametrize("name", EASY)
def test_a_planted_bug_is_caught_by_the_first_seeds(name: str) -> None:
    with planted.BUGS[name]():
        assert any(run.failure(run.plan(seed)) for seed in range(SEEDS))
