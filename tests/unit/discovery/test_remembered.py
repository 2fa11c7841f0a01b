"""Remembered peers: a help, never a reason to fail."""

import logging
import os
import stat

import pytest
from mesh.discovery.remembered import ADDRESSES_MAX, PEERS_MAX, Remembered, RememberedPeer


def peer(number: int = 0, addresses: tuple[str, ...] = ("10.0.0.1:7701", "[fd00::1]:7701")) -> RememberedPeer:
    return RememberedPeer(f"id{number}", f"node-{number}", f"{number:064x}", addresses)


def test_what_was_saved_is_loaded_in_order(tmp_path):
    Remembered(tmp_path / "state" / "peers.json").save([peer(2), peer(1)])
    assert Remembered(tmp_path / "state" / "peers.json").load() == [peer(2), peer(1)]


def test_no_file_is_no_peers(tmp_path, caplog):
    assert Remembered(tmp_path / "peers.json").load() == []
    assert not caplog.records


def test_the_first_peers_and_addresses_stay_when_there_are_too_many(tmp_path):
    remembered = Remembered(tmp_path / "peers.json")
    remembered.save(peer(number, tuple(f"10.0.0.{host}:1" for host in range(40))) for number in range(PEERS_MAX + 10))
    loaded = Remembered(tmp_path / "peers.json").load()
    assert [one.id for one in loaded] == [f"id{number}" for number in range(PEERS_MAX)]
    assert loaded[0].addresses == tuple(f"10.0.0.{host}:1" for host in range(ADDRESSES_MAX))


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'[{"id": "a"}]', b"\x00" * 64, b'[{"id":"a","name":"b","key":"not hex","addresses":[]}]', b"[" * (1 << 21)],
)
def test_a_damaged_file_is_empty_and_said_once(tmp_path, caplog, data):
    path = tmp_path / "peers.json"
    path.write_bytes(data)
    remembered = Remembered(path)
    with caplog.at_level(logging.WARNING):
        assert remembered.load() == []
        assert remembered.load() == []
    assert len(caplog.records) == 1
    assert str(path) in caplog.text


def test_saving_mends_a_damaged_file(tmp_path):
    path = tmp_path / "peers.json"
    path.write_bytes(b"damage")
    remembered = Remembered(path)
    remembered.load()
    remembered.save([peer()])
    assert Remembered(path).load() == [peer()]


def test_a_disk_that_refuses_is_said_once_and_tried_again(tmp_path, caplog):
    blocker = tmp_path / "state"
    blocker.write_bytes(b"a file where the directory should be")
    remembered = Remembered(blocker / "peers.json")
    remembered.save([peer()])
    remembered.save([peer()])
    assert len(caplog.records) == 1
    blocker.unlink()
    remembered.save([peer()])
    assert remembered.load() == [peer()]


def test_nothing_is_written_when_nothing_changed(tmp_path):
    path = tmp_path / "peers.json"
    remembered = Remembered(path)
    remembered.save([peer()])
    path.unlink()
    remembered.save([peer()])
    assert not path.exists()


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_the_owner_can_read_the_file(tmp_path):
    Remembered(tmp_path / "peers.json").save([peer()])
    assert stat.S_IMODE((tmp_path / "peers.json").stat().st_mode) == 0o600
