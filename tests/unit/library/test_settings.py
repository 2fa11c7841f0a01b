"""Where an application's settings come from: keywords over the environment, that over config.toml, that over the defaults."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mesh import InvalidSetting, Mesh, MeshNotFound


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("MESH_NAME", "MESH_SEEDS", "MESH_SECRET", "MESH_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("MESH_DISCOVERY_TIMEOUT_S", "0.2")
    return tmp_path


def search(home: Path, **options: str) -> str:
    """What an application says that finds no node."""
    with Mesh("app", home=home, **options) as app, pytest.raises(MeshNotFound) as raised:
        app.client.greeting(time.monotonic() + 5)
    return str(raised.value)


def test_the_mesh_is_the_keywords_the_environments_the_files_or_the_default(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "mesh 'default'" in search(home)
    (home / "config.toml").write_text('mesh = "filemesh"\n')
    assert "mesh 'filemesh'" in search(home)
    monkeypatch.setenv("MESH_NAME", "envmesh")
    assert "mesh 'envmesh'" in search(home)
    assert "mesh 'given'" in search(home, mesh="given")


def test_the_environment_wins_over_the_file_of_the_mesh_and_that_over_the_users(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "config.toml").write_text("discovery_timeout_s = 0.3\n")
    assert "within 0.2 s" in search(home)
    monkeypatch.delenv("MESH_DISCOVERY_TIMEOUT_S")
    assert "within 0.3 s" in search(home)
    (home / "default").mkdir(mode=0o700, exist_ok=True)
    (home / "default" / "config.toml").write_text('discovery_timeout_s = 0.1\njoin = ["127.0.0.1:9"]\n')
    assert "within 0.1 s" in search(home)
    assert "seeds: 127.0.0.1:9" in search(home)


def test_a_file_that_can_not_be_read_is_named_at_the_first_need(home: Path) -> None:
    (home / "config.toml").write_text("colour = 3\n")
    app = Mesh("app", home=home)
    with pytest.raises(InvalidSetting, match=r"config\.toml has an unknown key 'colour'"):
        app.send_task("t")
