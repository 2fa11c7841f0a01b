"""The arithmetic of the benchmarks: a wrong percentile would make every figure a lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Figure


@pytest.mark.parametrize(("percent", "expected"), [(50, 10), (95, 19), (99, 20), (100, 20), (1, 1)])
def test_percentiles_are_of_the_nearest_rank(percent: int, expected: int) -> None:
    assert harness.percentile(range(20, 0, -1), percent) == expected


def test_a_figure_is_the_median_of_its_samples() -> None:
    assert Figure("rate", "tasks/s", (3.0, 1000.0, 5.0)).value == 5


@pytest.mark.parametrize(
    ("value", "target", "at_most", "reached"),
    [(1, 2, True, True), (3, 2, True, False), (3, 2, False, True), (1, 2, False, False), (0, 0, True, True), (1, None, True, None)],
)
def test_a_target_is_a_ceiling_or_a_floor(value: float, target: float | None, at_most: bool, reached: bool | None) -> None:
    assert Figure("any", "s", (value,), target, at_most=at_most).reached is reached


def test_the_json_has_every_figure_and_where_it_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    kept = json.loads(harness.write_json([Figure("rate", "tasks/s", (1.0, 2.0, 9.0), 2)], harness.machine()).read_text())
    assert kept["figures"][0] | {"name": "rate", "median": 2.0, "reached": True} == kept["figures"][0]
    assert kept["machine"]["libraries"]["pyzmq"]
