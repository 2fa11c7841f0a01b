from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mesh.errors import MachineError, StateNotOurs
from mesh.ids import session_id
from mesh.transport.attach import NodeSocket
from mesh.transport.base import SessionFrame
from mesh.transport.curve import KeyPair
from tests.polling import poll_until
from tests.unit.transport.parts import Net


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short private directory: pytest's own may be longer than a socket's path can be."""
    with tempfile.TemporaryDirectory(prefix="mesh") as name:
        yield Path(name)


def test_a_local_program_and_its_node_talk_both_ways(net: Net, run_dir: Path) -> None:
    node = net.node(ipc_path=run_dir / "node.sock")
    program = net.attach_local(run_dir / "node.sock", session_id())
    assert program.send(b"question")
    net.until(lambda: node.events or program.recv(), "the question")
    session = node.of(SessionFrame)[0].session
    assert node.transport.send_session(session, b"answer")
    assert poll_until(program.recv, 5, "the answer", pause_s=0.01) == b"answer"
    assert not program.lost


def test_a_remote_program_and_its_node_talk_both_ways(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    program = net.attach(node, keys, session_id())
    assert program.send(b"q" * 50_000)
    net.until(lambda: node.events, "the question")
    frame = node.of(SessionFrame)[0]
    assert frame.payload == b"q" * 50_000
    assert node.transport.send_session(frame.session, b"answer")
    assert poll_until(program.recv, 5, "the answer", pause_s=0.01) == b"answer"


def test_a_path_longer_than_a_socket_address_still_works(net: Net, run_dir: Path) -> None:
    path = run_dir / ("d" * 120) / "node.sock"
    path.parent.mkdir(mode=0o700)
    node = net.node(ipc_path=path)
    program = net.attach_local(path)
    program.send(b"hello")
    net.until(lambda: node.events or program.recv(), "the local program")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_directory_that_others_may_enter_is_refused_on_both_sides(net: Net, run_dir: Path) -> None:
    run_dir.chmod(0o755)
    with pytest.raises(StateNotOurs, match=f"chmod 700 {run_dir}"):
        net.node(ipc_path=run_dir / "node.sock")
    with pytest.raises(StateNotOurs, match="chmod 700"):
        net.attach_local(run_dir / "node.sock")


def test_a_session_is_gone_when_its_program_is(net: Net, run_dir: Path) -> None:
    node = net.node(ipc_path=run_dir / "node.sock")
    program = net.attach_local(run_dir / "node.sock")
    program.send(b"hello")
    net.until(lambda: node.events or program.recv(), "the program")
    program.close()
    session = node.of(SessionFrame)[0].session
    net.until(lambda: not node.transport.send_session(session, b"anyone?"), "the session gone")
    assert not node.transport.send_session(b"Lnobody", b"anyone?")
    assert not node.transport.send_session(b"", b"anyone?")


def test_a_program_reads_what_came_before_its_node_was_lost(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    program = net.attach(node, keys)
    program.send(b"hello")
    net.until(lambda: node.events, "the program")
    assert not program.lost
    for number in range(100):
        assert node.transport.send_session(node.of(SessionFrame)[0].session, b"%d" % number)
    net.remove(node)
    poll_until(lambda: program.lost, 5, "the program knows", pause_s=0.01)
    assert [program.recv() for _ in range(101)] == [*(b"%d" % number for number in range(100)), None]


def test_a_program_knows_when_there_is_no_node(net: Net, run_dir: Path) -> None:
    absent = net.attach_local(run_dir / "node.sock")
    gone = net.node()
    keys = KeyPair.make()
    net.remove(gone)
    refused = net.attach(gone, keys)
    poll_until(lambda: absent.lost and refused.lost, 5, "both know", pause_s=0.01)


def test_a_program_that_is_not_admitted_knows(net: Net) -> None:
    node = net.node()
    program = net.attach(node, KeyPair.make())
    net.until(lambda: program.lost, "refused")
    assert node.transport.counters.refused_keys == 1


def test_what_is_no_address_is_told() -> None:
    keys = KeyPair.make()
    with pytest.raises(MachineError, match="nonsense"):
        NodeSocket("nonsense", keys.public, keys, b"s" * 16)


def test_a_valid_member_can_not_take_over_an_open_session(net: Net) -> None:
    node, victim_keys, thief_keys = net.node(), KeyPair.make(), KeyPair.make()
    node.transport.admit({victim_keys.public: "victim", thief_keys.public: "thief"})
    victim = net.attach(node, victim_keys)
    victim.send(b"mine")
    net.until(lambda: node.events, "the victim")
    session = node.of(SessionFrame)[0].session
    thief = net.attach(node, thief_keys)  # the same session id
    thief.send(b"theft")
    net.turn_for(0.3)
    assert all(frame.session != session for frame in node.of(SessionFrame)[1:])
    assert node.transport.send_session(session, b"for the victim")
    assert poll_until(victim.recv, 5, "the answer", pause_s=0.01) == b"for the victim"
    assert thief.recv() is None


def test_a_valid_member_that_reuses_a_closed_sessions_id_gets_a_session_of_its_own(net: Net) -> None:
    node, victim_keys, thief_keys = net.node(), KeyPair.make(), KeyPair.make()
    node.transport.admit({victim_keys.public: "victim", thief_keys.public: "thief"})
    victim = net.attach(node, victim_keys)
    victim.send(b"mine")
    net.until(lambda: node.events, "the victim")
    session = node.of(SessionFrame)[0].session
    victim.close()
    net.until(lambda: not node.transport.send_session(session, b"still there?"), "the victim gone")
    net.attach(node, thief_keys).send(b"theft")
    net.until(lambda: len(node.events) == 2, "the thief")
    assert node.of(SessionFrame)[1].session != session


def test_a_removed_key_gets_nothing_on_its_open_session(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    program = net.attach(node, keys)
    program.send(b"hello")
    net.until(lambda: node.events, "the program")
    node.transport.admit({})
    program.send(b"too late")
    net.until(lambda: node.transport.counters.frames_not_admitted == 1, "the dropped message")
    assert not node.transport.send_session(node.of(SessionFrame)[0].session, b"results")
    assert len(node.events) == 1
