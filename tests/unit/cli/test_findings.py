"""What `mesh doctor` finds on a machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from mesh.cli import findings
from mesh.cli.findings import Verdict


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


@pytest.mark.parametrize(("free", "verdict"), [(50 << 20, Verdict.FAIL), (500 << 20, Verdict.WARN), (5 << 30, Verdict.OK)])
def test_a_disk_without_room_is_found(free: int, verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda path: usage)
    found = findings.disk(tmp_path / "not" / "yet")
    assert found.verdict is verdict
    assert bool(found.todo) == (verdict is not Verdict.OK)


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
