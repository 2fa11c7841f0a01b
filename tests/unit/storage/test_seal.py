"""R3: a state directory is sealed with a machine fingerprint; a copy elsewhere refuses to start."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from mesh.errors import StateCopied, StateDamaged
from mesh.storage import seal
from mesh.storage.home import Home
from mesh.storage.seal import SEAL, Seal, machine_id

KEY = bytes(range(32))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home("office", tmp_path / "state")
    home.create()
    return home


def make(home: Home, *, key: bytes = KEY, machine: str = "server", name: str = "") -> Seal:
    return Seal(home, key, machine, {"MESH_MACHINE_ID": name} if name else {})


def test_r3_a_directory_without_a_seal_is_sealed_and_opens_again(home: Home):
    make(home).check()
    make(home).check()
    assert home.read(SEAL) is not None


@pytest.mark.parametrize(
    ("changed", "where"),
    [({"machine": "laptop"}, "of another machine"), ({"name": "container-2"}, "of another machine"), ({"key": bytes(32)}, "machine")],
)
def test_r3_on_another_machine_it_is_refused_in_one_line_that_names_the_command(home: Home, changed: dict[str, object], where: str):
    make(home).check()
    with pytest.raises(StateCopied) as refused:
        make(home, **changed).check()  # type: ignore[arg-type]
    text = str(refused.value)
    assert where in text
    assert text.endswith("mesh identity reset --mesh office")
    assert "\n" not in text
    assert refused.value.exit_code == 3


def test_r3_in_another_place_of_the_same_machine_it_is_refused_and_said_to_be_from_here(home: Home, tmp_path: Path):
    make(home).check()
    shutil.copytree(home.root, tmp_path / "copy")
    with pytest.raises(StateCopied, match="of another place on this machine"):
        make(Home("office", tmp_path / "copy")).check()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_the_same_place_by_another_name_is_the_same(home: Home, tmp_path: Path):
    make(home).check()
    (tmp_path / "link").symlink_to(home.root)
    make(Home("office", tmp_path / "link")).check()


def test_r3_containers_that_share_a_machine_id_are_told_apart_by_a_variable(home: Home):
    make(home, name="container-1").check()
    make(home, name="container-1").check()
    with pytest.raises(StateCopied):
        make(home, name="container-2").check()


def test_a_renewed_seal_holds(home: Home):
    make(home).check()
    make(home, machine="laptop").renew()
    make(home, machine="laptop").check()


def test_r3_nothing_of_the_machine_or_the_place_can_be_read_from_the_seal(home: Home):
    make(home, machine="a-machine-id", name="a-name").check()
    text = home.read(SEAL)
    assert text is not None
    for secret in (b"a-machine-id", b"a-name", bytes(home.path), KEY, KEY.hex().encode()):
        assert secret not in text
    make(home, key=bytes(32), machine="a-machine-id", name="a-name").renew()
    other = home.read(SEAL)
    assert other is not None
    assert not set(text.split()[1::2]) & set(other.split()[1::2])  # the same machine under another key looks like another


def test_a_seal_that_is_no_seal_is_damaged(home: Home):
    home.write(SEAL, b"?")
    with pytest.raises(StateDamaged, match="remove that file"):
        make(home).check()


def test_this_machine_has_the_same_name_each_time_it_is_asked():
    assert machine_id() == machine_id()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep it elsewhere")
def test_the_first_file_that_holds_a_machine_id_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    empty, fresh, good = tmp_path / "empty", tmp_path / "fresh", tmp_path / "good"
    empty.write_text("\n")
    fresh.write_text("uninitialized\n")
    good.write_text("0123456789abcdef\n")
    monkeypatch.setattr(seal, "_ID_FILES", (tmp_path / "missing", empty, fresh, good))
    assert machine_id() == "0123456789abcdef"
    monkeypatch.setattr(seal, "_ID_FILES", (tmp_path / "missing", empty))
    assert machine_id() == ""
