"""What `mesh doctor` finds on a machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from mesh.cli import findings
from mesh.cli.findings import Verdict

from mesh.config import Settings
from mesh.storage import damage


@pytest.fixture
def listening() -> str:  # type: ignore[misc]
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{unused.getsockname()[1]}"


def test_this_machine_can_run_a_node() -> None:
    assert findings.python().verdict is Verdict.OK
    assert findings.encryption().verdict is Verdict.OK
    assert findings.clock().verdict is Verdict.OK


@pytest.mark.parametrize(("free", "verdict"), [(500 << 20, Verdict.FAIL), (1 << 30, Verdict.WARN), (5 << 30, Verdict.OK)])
def test_a_disk_without_room_is_found_as_the_node_finds_it(
    free: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": free, "total": 100 << 30})
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda path: usage)
    found = findings.disk(tmp_path / "not" / "yet", Settings())
    assert found.verdict is verdict
    assert bool(found.todo) == (verdict is not Verdict.OK)


def report(folder: Path, **more: Any) -> None:
    gaps = [f"{'ab' * 16}:{number} (task t{number})" for number in range(8)]
    fields: dict[str, Any] = {"found_at": 1.7e9, "what": "damaged", "file": "state.db.damaged-x", "salvaged": 7, "unreadable": gaps}
    damage.write(folder, damage.Damage(**{**fields, **more}))


def test_a_state_that_was_never_damaged_is_well(tmp_path: Path) -> None:
    assert [found.verdict for found in findings.damage(tmp_path)] == [Verdict.OK]


def test_damage_that_cost_entries_fails_and_names_them(tmp_path: Path) -> None:
    report(tmp_path, whole_at=1.7e9, lost=[f"{'ab' * 16}:{number} (task t{number})" for number in range(8)])
    [found] = findings.damage(tmp_path)
    assert found.verdict is Verdict.FAIL
    assert f"{'ab' * 16}:4 (task t4); and 3 more" in found.text
    assert "damage-" in found.todo


def test_damage_is_a_warning_until_others_have_answered_and_when_they_had_everything(tmp_path: Path) -> None:
    report(tmp_path)
    [found] = findings.damage(tmp_path)
    assert (found.verdict, "8 places" in found.text) == (Verdict.WARN, True)
    report(tmp_path, whole_at=1.7e9)
    [found] = findings.damage(tmp_path)
    assert (found.verdict, "nothing was lost" in found.text) == (Verdict.WARN, True)


def test_a_clock_that_was_never_set_is_found() -> None:
    assert findings.clock(now_s=86_400.0).verdict is Verdict.FAIL


def test_a_door_that_takes_connections_is_well(listening: str) -> None:
    assert findings.door([listening]).verdict is Verdict.OK


def test_a_door_that_takes_connections_at_some_addresses_is_a_warning_that_names_the_others(listening: str, closed: str) -> None:
    found = findings.door([listening, closed])
    assert found.verdict is Verdict.WARN
    assert closed in found.text
    assert listening not in found.text


def test_a_door_that_nobody_can_reach_fails(closed: str) -> None:
    assert findings.door([closed]).verdict is Verdict.FAIL


def test_a_firewall_that_is_on_comes_with_the_command_for_these_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "_ufw_enabled", lambda: True)
    found = findings.firewall((7700, 7701))
    assert found.verdict is Verdict.WARN
    assert "7700:7701/tcp" in found.todo
