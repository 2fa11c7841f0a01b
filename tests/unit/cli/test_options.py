"""Options win over the environment, the environment over files, files over defaults."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.client.options import DEFAULT_PORT, KEYS, Options
from mesh.errors import InvalidSetting

OPTION = {
    "mesh": "optmesh",
    "name": "opt",
    "port": 7001,
    "interface": "127.0.0.1",
    "advertise": "10.0.0.1",
    "join": ("10.0.0.1:1",),
    "weight": 1,
    "log_level": "error",
}
ENVIRONMENT = {
    "mesh": "envmesh",
    "name": "env",
    "port": "7002",
    "interface": "127.0.0.2",
    "advertise": "10.0.0.2",
    "join": "10.0.0.2:2, [::1]:2",
    "weight": "2",
    "log_level": "WARNING",
}
FILE = {
    "mesh": "filemesh",
    "name": "file",
    "port": 7003,
    "interface": "127.0.0.3",
    "advertise": "10.0.0.3",
    "join": ["10.0.0.3:3"],
    "weight": 3,
    "log_level": "debug",
}
READ_FROM_ENVIRONMENT = ENVIRONMENT | {"port": 7002, "weight": 2, "log_level": "warning", "join": ("10.0.0.2:2", "[::1]:2")}
READ_FROM_FILE = FILE | {"join": ("10.0.0.3:3",)}


def write_file(directory: Path, key: str) -> None:
    value = FILE[key]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.toml").write_text(f"{key} = {value!r}\n".replace("'", '"'))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {"MESH_HOME": str(tmp_path)}


@pytest.mark.parametrize("key", KEYS)
def test_without_anything_the_default_stands(key: str, environment: dict[str, str]) -> None:
    assert Options({}, environment).find(key) == (KEYS[key].default, "default")


@pytest.mark.parametrize("key", KEYS)
def test_a_file_wins_over_the_default(key: str, environment: dict[str, str], tmp_path: Path) -> None:
    write_file(tmp_path, key)
    assert Options({}, environment).find(key) == (READ_FROM_FILE[key], str(tmp_path / "config.toml"))


@pytest.mark.parametrize("key", KEYS)
def test_the_environment_wins_over_a_file(key: str, environment: dict[str, str], tmp_path: Path) -> None:
    write_file(tmp_path, key)
    environment[KEYS[key].variable] = ENVIRONMENT[key]
    assert Options({}, environment).find(key) == (READ_FROM_ENVIRONMENT[key], KEYS[key].variable)


@pytest.mark.parametrize("key", KEYS)
def test_an_option_wins_over_the_environment_and_a_file(key: str, environment: dict[str, str], tmp_path: Path) -> None:
    write_file(tmp_path, key)
    environment[KEYS[key].variable] = ENVIRONMENT[key]
    assert Options({key: OPTION[key]}, environment).find(key) == (OPTION[key], "option")


def test_the_file_of_one_mesh_wins_over_the_file_of_all(environment: dict[str, str], tmp_path: Path) -> None:
    write_file(tmp_path, "weight")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "config.toml").write_text("weight = 9\n")
    assert Options({"mesh": "shop"}, environment)["weight"] == 9
    assert Options({"mesh": "other"}, environment)["weight"] == 3


def test_an_unknown_key_in_a_file_is_refused_by_name(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("colour = 1\n")
    with pytest.raises(InvalidSetting, match="colour") as caught:
        Options({}, environment)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("port", "http"),
        ("port", "70000"),
        ("weight", "heavy"),
        ("log_level", "loud"),
        ("join", "server:http"),
        ("join", "::1:80"),
        ("interface", "eth0"),
        ("interface", "0.0.0.0"),
        ("advertise", "server.lan"),
        ("mesh", "../up"),
        ("mesh", "a b"),
        ("name", "two\nlines"),
        ("name", "n" * 256),
    ],
)
def test_a_value_that_cannot_be_read_names_its_variable(key: str, text: str, environment: dict[str, str]) -> None:
    environment[KEYS[key].variable] = text
    with pytest.raises(InvalidSetting, match=KEYS[key].variable):
        Options({}, environment)[key]


@pytest.mark.parametrize("text", ["port = 'x'", "weight = true", "join = 5", "name = 1", "not toml"])
def test_a_value_of_the_wrong_type_in_a_file_names_the_file(text: str, environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InvalidSetting, match=r"config\.toml"):
        [Options({}, environment)[key] for key in KEYS]


def test_a_seed_without_a_port_gets_the_default_one(environment: dict[str, str]) -> None:
    environment["MESH_SEEDS"] = "server, [::1]"
    assert Options({}, environment)["join"] == (f"server:{DEFAULT_PORT}", f"[::1]:{DEFAULT_PORT}")


def test_settings_come_from_the_environment_over_the_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("copies = 3\nheartbeat_timeout_s = 2\n")
    environment["MESH_COPIES"] = "1"
    settings = Options({}, environment).settings()
    assert (settings.copies, settings.heartbeat_timeout_s, settings.worker_beat_s) == (1, 2, 0.5)


def test_a_setting_out_of_range_in_a_file_is_refused_by_name_and_file(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("copies = 99\n")
    with pytest.raises(InvalidSetting, match=r"config\.toml: copies"):
        Options({}, environment)


def test_the_state_directory_is_the_meshs_own_under_mesh_home(environment: dict[str, str], tmp_path: Path) -> None:
    assert Options({"mesh": "shop"}, environment).home.path == tmp_path / "shop"
