"""What `mesh status` and `mesh doctor` say of clocks, and how soon a command says that there is no node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from mesh.cli.attach import attached
from mesh.cli.doctor import health
from mesh.cli.findings import Verdict
from mesh.cli.status import draw
from rich.console import Console

from mesh.client.options import Options
from mesh.errors import MeshNotFound


def state(**skews_ms: int | None) -> dict[str, Any]:
    nodes = [
        {"name": name, "role": "member", "state": "alive", "address": "", "pid": 1, "version": "1", "skew_ms": skew_ms}
        for name, skew_ms in skews_ms.items()
    ]
    return {"mesh": "m", "id": "i", "coordinator": "a", "deputies": [], "term": 1, "nodes": nodes, "under_replicated": 0}


def shown(state: dict[str, Any]) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(draw(state))
    return capture.get()


def test_r23_a_clock_that_is_off_by_more_than_two_seconds_is_shown_and_warned_of() -> None:
    text = shown(state(a=0, b=2500, c=-3_600_000, d=1999, e=None))
    assert "the clock of b is 2.5 s ahead of the coordinator's; set it by NTP" in text
    assert "the clock of c is 3600.0 s behind the coordinator's" in text
    assert "clock of d" not in text
    assert "1999" in text


@pytest.mark.parametrize(("absent_s", "text"), [(61, "lost (1 min)"), (7300, "lost (2 h)"), (200_000, "lost (2 d)"), (None, "lost")])
def test_r14_a_node_that_is_gone_is_shown_with_how_long(absent_s: int | None, text: str) -> None:
    rows = state(a=0, b=None)
    rows["nodes"][1] |= {"state": "lost", "absent_s": absent_s, "forgotten": False}
    assert f" {text} " in shown(rows)
    rows["nodes"][1] |= {"state": "away", "absent_s": 3_000_000, "forgotten": True}
    assert " forgotten (34 d) " in shown(rows)


def test_r23_doctor_warns_of_clocks() -> None:
    found = {finding.check: finding for finding in health(state(a=0, b=2500))}
    assert (found["clocks"].verdict, found["clocks"].text) == (Verdict.WARN, "that of b is 2.5 s ahead of the coordinator's")
    assert {finding.check: finding.verdict for finding in health(state(a=0, b=100))}["clocks"] is Verdict.OK


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options({}, {"MESH_HOME": str(tmp_path), "MESH_DISCOVERY_TIMEOUT_S": "60"})


def test_a_command_with_nowhere_to_look_says_so_at_once(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("MESH_SECRET", "MESH_SEEDS"):
        monkeypatch.delenv(variable, raising=False)
    began = time.monotonic()
    with pytest.raises(MeshNotFound, match=r"nowhere else to look .*start one here with: mesh up"), attached(options) as questions:
        questions.query("status")
    assert time.monotonic() - began < 10, "a sixth of the time that a search may take"


def test_a_command_that_has_a_seed_looks_there(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SEEDS", "127.0.0.1:9")
    monkeypatch.setenv("MESH_SECRET", "0123456789abcdef0123456789ABCDEF")
    quick = Options({}, {"MESH_HOME": str(options.home.root), "MESH_DISCOVERY_TIMEOUT_S": "0.3", "MESH_SEEDS": "127.0.0.1:9"})
    with pytest.raises(MeshNotFound, match=r"within 0\.3 s"), attached(quick) as questions:
        questions.query("status")
