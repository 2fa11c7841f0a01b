"""Every fault of the table once, with small loads; `make chaos` is the long form, docs/reliability.md what came of it.

A fault's function injects, heals and waits for calm; the row that it returns says which promises were broken. All are judged by files
that publishers and tasks append to and by the nodes' logs, not by what the mesh says of itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import report_on_failure
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import SHORT
from tests.lab.faults.stage import Stage
from tests.lab.faults.table import FAULTS, THREE, Fault, Stages

SHORT_FAULTS = [fault for fault in FAULTS if not fault.long_only]


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    stages = Stages()
    yield stages
    stages.close()


def inject(stages: Stages, request: pytest.FixtureRequest, fault: Fault) -> Row:
    report_on_failure(request, stages.logs)
    return stages.inject(fault, SHORT)


def nothing(stage: Stage, sizes: object) -> Row:
    """No fault at all."""
    act = stage.begin(publishers=stage.names)
    act.strike(lambda: None)
    act.resume_s()
    return act.end(Row("0", "no fault"))


def test_without_a_fault_nothing_runs_twice(stages: Stages, request: pytest.FixtureRequest) -> None:
    row = inject(stages, request, Fault(0, nothing, THREE))
    assert (row.lost, row.duplicated, row.elections) == (0, 0, 0), row.told()
    assert row.tasks > 60


@pytest.mark.parametrize("fault", SHORT_FAULTS, ids=lambda fault: fault.name)
def test_fault_breaks_no_promise(stages: Stages, request: pytest.FixtureRequest, fault: Fault) -> None:
    row = inject(stages, request, fault)
    if row.not_run:
        pytest.skip(row.not_run)
    assert row.broken == [], row.told()
    assert row.lost == row.excused, row.told()
    assert row.tasks > 0
