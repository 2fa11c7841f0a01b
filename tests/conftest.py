"""What all tests share: order, markers, an environment without the user's own mesh, and reports of what processes said."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

ORDER = ("unit", "simulation", "docs", "acceptance", "lab")
"""Fast and telling tests first."""
MARKERS = {"lab": "lab", "acceptance": "acceptance"}
REPORTS = pytest.StashKey[list[Callable[[], str]]]()


def _folder(item: pytest.Item) -> str:
    parts = item.path.relative_to(Path(__file__).parent).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their folder, and run the folders in ORDER."""
    for item in items:
        if _folder(item) in MARKERS:
            item.add_marker(MARKERS[_folder(item)])
    items.sort(key=lambda item: ORDER.index(_folder(item)) if _folder(item) in ORDER else len(ORDER))


@pytest.fixture(autouse=True, scope="session")
def _no_mesh_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A test must never touch, or be steered by, the mesh of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("MESH_")]:
        del os.environ[name]
    os.environ["MESH_HOME"] = str(tmp_path_factory.mktemp("mesh-home"))


def report_on_failure(request: pytest.FixtureRequest, report: Callable[[], str]) -> None:
    """Show what ``report`` returns if the test fails; it is called before the fixtures of the test end."""
    request.node.stash.setdefault(REPORTS, []).append(report)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Attach the reports of a failed test."""
    outcome = yield
    if outcome.when == "call" and outcome.failed:
        for report in item.stash.get(REPORTS, []):
            outcome.sections.append(("what the processes said", report()))
    return outcome


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly that a part of the tests did not run."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if "tests/lab/" in report.nodeid]
    if skipped:
        reason = skipped[0].longrepr[2] if isinstance(skipped[0].longrepr, tuple) else str(skipped[0].longrepr)
        terminalreporter.write_sep("!", f"THE LAB DID NOT RUN: {len(skipped)} tests of several hosts", red=True, bold=True)
        terminalreporter.write_line(reason.removeprefix("Skipped: "), red=True)
