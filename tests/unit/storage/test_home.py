"""The state directory: where it is, who may read it, how its files are replaced."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import platformdirs
import pytest

from mesh.errors import InvalidSetting, StateNotOurs, StateRefused
from mesh.storage.home import SOCKET_PATH_BYTES_MAX, Home

posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither modes nor owners")
as_root = pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home("office", tmp_path / "state")
    home.create()
    return home


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_the_root_is_the_argument_else_mesh_home_else_the_platforms(tmp_path: Path):
    assert Home("a", tmp_path, {"MESH_HOME": "/elsewhere"}).path == tmp_path / "a"
    assert Home("a", None, {"MESH_HOME": str(tmp_path)}).path == tmp_path / "a"
    assert Home("a", None, {}).path == Path(platformdirs.user_state_dir("mesh", appauthor=False)) / "a"
    assert Home(environment={"MESH_HOME": "here"}).path == Path.cwd() / "here" / "default"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "é", "x" * 65, "a\n", ".hidden"])
def test_a_mesh_name_that_could_be_a_path_is_refused(name: str):
    with pytest.raises(InvalidSetting):
        Home(name)


@posix
def test_directories_are_made_for_the_owner_only(home: Home):
    assert [mode(path) for path in (home.root, home.path, home.run_dir)] == [0o700] * 3
    home.create()


@posix
def test_a_written_file_is_readable_by_the_owner_only_and_replaced_as_a_whole(home: Home):
    assert home.read("secret") is None
    home.write("secret", b"first")
    home.write("secret", b"second")
    assert home.read("secret") == b"second"
    assert mode(home.path / "secret") == 0o600
    assert sorted(path.name for path in home.path.iterdir()) == ["run", "secret"]


def test_a_write_that_fails_leaves_nothing_behind(home: Home):
    (home.path / "peers.json").mkdir()
    with pytest.raises(StateRefused):
        home.write("peers.json", b"{}")
    assert sorted(path.name for path in home.path.iterdir()) == ["peers.json", "run"]


@posix
@pytest.mark.parametrize("place", [".", "run"])
def test_a_directory_that_others_can_read_is_refused_with_the_command_that_mends_it(home: Home, place: str):
    path = home.path / place
    path.chmod(0o750)
    with pytest.raises(StateNotOurs) as refused:
        home.create()
    assert f"chmod -R go-rwx {path}" in str(refused.value)
    path.chmod(0o700)
    home.create()


@posix
@pytest.mark.parametrize("name", ["secret", "node.key"])
def test_a_secret_that_others_can_read_is_refused_with_the_command_that_mends_it(home: Home, name: str):
    home.write(name, b"x")
    (home.path / name).chmod(0o640)
    for use in (home.create, lambda: home.read(name)):
        with pytest.raises(StateNotOurs) as refused:
            use()
        assert str(refused.value).endswith(f"chmod go-rwx {home.path / name}")


@posix
def test_the_command_that_mends_quotes_the_path(tmp_path: Path):
    home = Home("m", tmp_path / "Application Support")
    home.create()
    home.path.chmod(0o755)
    with pytest.raises(StateNotOurs, match=r"chmod -R go-rwx '.*Application Support/m'$"):
        home.create()


@as_root
def test_what_belongs_to_another_user_is_refused_with_the_command_that_mends_it(home: Home):
    home.write("secret", b"x")
    os.chown(home.path / "secret", 12345, 12345)
    with pytest.raises(StateNotOurs, match="belongs to user 12345, not to 0: sudo chown 0 "):
        home.read("secret")
    os.chown(home.path, 12345, 12345)
    with pytest.raises(StateNotOurs, match="belongs to user 12345, not to 0: sudo chown -R 0 "):
        home.create()


@posix
def test_a_link_in_place_of_the_directory_is_refused(tmp_path: Path):
    (tmp_path / "target").mkdir(0o700)
    (tmp_path / "office").symlink_to(tmp_path / "target")
    with pytest.raises(StateRefused, match="not a directory"):
        Home("office", tmp_path).create()


def test_a_root_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "root").write_bytes(b"")
    with pytest.raises(StateRefused, match="can't be made"):
        Home("office", tmp_path / "root").create()


@posix
def test_a_socket_lies_in_the_run_directory_when_its_path_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    home = Home("m", "/tmp/x")
    assert home.socket_path("node.sock") == Path("/tmp/x/m/run/node.sock")


@posix
def test_a_socket_of_a_deep_home_lies_in_a_short_private_directory(tmp_path: Path):
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    home, other = Home("office", deep), Home("lab", deep)
    home.create()
    other.create()
    path = home.socket_path("node.sock")
    try:
        assert path == Home("office", deep).socket_path("node.sock")
        assert path.parent != other.socket_path("node.sock").parent
        assert path.parent.parent == Path(tempfile.gettempdir())
        assert len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX
        assert mode(path.parent) == 0o700
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        path.unlink()
        path.parent.chmod(0o777)
        for use in (home.create, lambda: home.socket_path("node.sock")):
            with pytest.raises(StateNotOurs):
                use()
    finally:
        path.parent.rmdir()
        other.socket_path("node.sock").parent.rmdir()


@posix
def test_a_link_in_place_of_the_short_directory_is_refused(tmp_path: Path):
    home = Home("office", tmp_path / ("d" * 60) / ("e" * 60))
    short = home.socket_path("node.sock").parent
    short.symlink_to(tmp_path)
    try:
        with pytest.raises(StateRefused, match="not a directory"):
            home.socket_path("node.sock")
    finally:
        short.unlink()


@posix
def test_a_temporary_directory_too_deep_for_sockets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 90)))
    with pytest.raises(StateRefused, match="TMPDIR"):
        Home("office", tmp_path / ("d" * 60) / ("e" * 60)).socket_path("node.sock")
