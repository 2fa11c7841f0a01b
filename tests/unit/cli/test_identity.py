"""`mesh identity`: what it shows, and what a reset keeps and replaces."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from mesh.cli.main import run
from mesh.discovery import local
from mesh.discovery.local import Rendezvous

from mesh.core.effects import Batch
from mesh.storage.home import NODE_KEY, Home
from mesh.storage.seal import Seal
from mesh.storage.sqlite import SqliteStore
from mesh.transport.curve import KeyPair


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A sealed state directory that holds an entry."""
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "state"))
    home = Home()
    home.create()
    Seal(home, KeyPair.load_or_make(home.path / NODE_KEY).secret).check()
    store = SqliteStore(home.state_path)
    store.commit(Batch(1, [(b"j" * 16, 1, b"kept")]))
    store.close()
    return home


def shown(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert run(["identity", "show", "--json"]) == 0
    answer: dict[str, str] = json.loads(capsys.readouterr().out)
    return answer


def test_show_tells_id_key_and_seal_and_changes_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()}
    first = shown(capsys)
    assert first["seal"] == ""
    assert len(bytes.fromhex(first["key"])) == 32
    assert shown(capsys) == first
    assert {path: path.read_bytes() for path in home.path.iterdir() if path.is_file()} == before


def test_show_of_a_copy_says_how_to_mend_it(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home.root, tmp_path / "copy")
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "copy"))
    assert "mesh identity reset" in shown(capsys)["seal"]


def test_reset_makes_a_new_key_and_keeps_the_entries(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = shown(capsys)
    shutil.copytree(home.root, tmp_path / "copy")
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "copy"))
    assert run(["identity", "reset"]) == 0
    said = capsys.readouterr().out
    new = shown(capsys)
    assert new["seal"] == ""
    assert new["id"] != old["id"]
    assert new["id"] in said
    assert old["id"] in said
    store = SqliteStore(Home().state_path)
    assert list(store.load().entries) == [(b"j" * 16, 1, b"kept")]
    store.close()
    monkeypatch.setenv("MESH_HOME", str(home.root))
    assert shown(capsys) == old  # the original is untouched


def test_reset_of_a_running_node_is_refused(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    pid = os.getpid()
    local.publish(home.run_dir, Rendezvous(pid, local.process_marker(pid), time.time(), "x", "n", "default", "m", "i", 1, 2, "0"))
    try:
        assert run(["identity", "reset"]) == 1
        assert "mesh down" in capsys.readouterr().err
    finally:
        local.withdraw(home.run_dir)


@pytest.mark.parametrize("command", ["show", "reset"])
def test_without_a_key_there_is_no_identity(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_HOME", str(tmp_path))
    assert run(["identity", command]) == 3
    assert "mesh up" in capsys.readouterr().err
