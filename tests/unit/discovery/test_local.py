"""The rendezvous: only a node that runs now is found through it."""

import json
import os
import stat
import subprocess
import sys

import pytest
from mesh.discovery.local import FILE_NAME, Rendezvous, process_marker, publish, read, withdraw


def rendezvous(pid: int | None = None, **changes) -> Rendezvous:
    pid = os.getpid() if pid is None else pid
    fields = {
        "pid": pid,
        "process": process_marker(pid),
        "started": 1_760_000_000.5,
        "ipc_path": "/run/mesh/node.sock",
        "name": "laptop",
        "mesh": "default",
        "mesh_id": "abcd",
        "node_id": "efgh",
        "lobby_port": 7700,
        "door_port": 7701,
        "version": "0.1.0",
    }
    return Rendezvous(**fields | changes)


def sleeper() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)


def test_what_is_published_is_read(tmp_path):
    publish(tmp_path / "run", rendezvous())
    assert read(tmp_path / "run") == rendezvous()


def test_publishing_again_replaces(tmp_path):
    publish(tmp_path, rendezvous())
    publish(tmp_path, rendezvous(door_port=9000))
    assert read(tmp_path).door_port == 9000
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_only_the_owner_can_read_the_file_and_its_directory(tmp_path):
    publish(tmp_path / "run", rendezvous())
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "run" / FILE_NAME).stat().st_mode) == 0o600


def test_no_file_is_no_node(tmp_path):
    assert read(tmp_path) is None
    assert read(tmp_path / "absent") is None


def test_a_dead_process_is_no_node(tmp_path):
    process = sleeper()
    publish(tmp_path, rendezvous(process.pid))
    assert read(tmp_path) is not None
    process.communicate()
    assert read(tmp_path) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows zombies in /proc")
def test_a_dead_process_that_nobody_reaped_is_no_node(tmp_path):
    process = sleeper()
    publish(tmp_path, rendezvous(process.pid))
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert read(tmp_path) is None
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_another_process_with_the_same_pid_is_no_node(tmp_path):
    init = process_marker(1)  # older than this process by far more than the clock tick that start times are told in
    publish(tmp_path, rendezvous(process=init))
    assert read(tmp_path) is None


def test_where_the_platform_has_no_marker_the_pid_alone_counts(tmp_path):
    publish(tmp_path, rendezvous(process=None))
    assert read(tmp_path) is not None
    process = sleeper()
    process.communicate()
    publish(tmp_path, rendezvous(process.pid, process=None))
    assert read(tmp_path) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b"\xff\x00", b'{"pid": 1}', b"x" * 100_000],
)
def test_a_malformed_file_is_no_node(tmp_path, data):
    (tmp_path / FILE_NAME).write_bytes(data)
    assert read(tmp_path) is None


@pytest.mark.parametrize("change", [{"pid": 0}, {"pid": "7"}, {"pid": 10**30}, {"lobby_port": 0}, {"door_port": 65536}, {"name": None}])
def test_a_value_out_of_range_is_no_node(tmp_path, change):
    publish(tmp_path, rendezvous(process=None))
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read(tmp_path) is None


def test_withdrawing_removes_the_own_and_a_dead_rendezvous(tmp_path):
    withdraw(tmp_path)
    publish(tmp_path, rendezvous())
    withdraw(tmp_path)
    assert not (tmp_path / FILE_NAME).exists()
    (tmp_path / FILE_NAME).write_bytes(b"garbage")
    withdraw(tmp_path)
    assert not (tmp_path / FILE_NAME).exists()


def test_withdrawing_leaves_the_rendezvous_of_another_live_process(tmp_path):
    process = sleeper()
    publish(tmp_path, rendezvous(process.pid))
    withdraw(tmp_path)
    assert read(tmp_path) is not None
    process.communicate()
