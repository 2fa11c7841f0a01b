from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path

import pytest
import zmq

from mesh.errors import InvalidSetting, MachineError, PortInUse
from mesh.ids import node_id
from mesh.transport.base import PeerConnected, PeerFrames, SessionFrame
from mesh.transport.curve import KeyPair
from mesh.transport.doors import DEFAULT_PORT
from mesh.transport.zmq import ZmqTransport
from tests.unit.transport.parts import DEADLINE_S, Net, introduce

STRANGERS = 100


def stranger(context: zmq.Context[zmq.Socket[bytes]], address: str, **options: bytes | int) -> zmq.Socket[bytes]:
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    for name, value in options.items():
        socket.setsockopt(getattr(zmq, name), value)
    socket.connect(f"tcp://{address}")
    with contextlib.suppress(zmq.Again):  # refused already
        socket.send_multipart([b"envelope", b"payload"], zmq.DONTWAIT)
    return socket


def test_members_talk_both_ways_under_the_id_of_their_key(net: Net) -> None:
    one, two = net.pair()
    assert one.transport.send_peer(two.id, b"envelope", b"x" * 100_000)
    net.until(lambda: two.events[-1] == PeerFrames(one.id, b"envelope", b"x" * 100_000), "the frames of one")
    assert one.of(PeerFrames) == [PeerFrames(two.id, b"e", b"hello")]
    assert one.of(PeerConnected) == [PeerConnected(two.id)]


def test_messages_of_one_member_arrive_in_order(net: Net) -> None:
    one, two = net.pair()
    two.events.clear()
    for number in range(2000):
        assert one.transport.send_peer(two.id, b"e", b"%d" % number)
    net.until(lambda: len(two.events) == 2000, "all messages")
    assert [int(event.payload) for event in two.of(PeerFrames)] == list(range(2000))


def test_nothing_is_sent_to_a_peer_that_is_not_connected(net: Net) -> None:
    one = net.node()
    assert not one.transport.send_peer("nobody", b"e", b"p")
    one.transport.dial("silent", KeyPair.make().public, [net.listener()])
    assert not one.transport.send_peer("silent", b"e", b"p")
    assert one.transport.counters.frames_unsent == 2


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN", "CURVE"])
def test_strangers_are_never_accepted(net: Net, mechanism: str) -> None:
    node, friend = net.pair()
    node.events.clear()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        strangers = []
        for _ in range(STRANGERS):
            keys = KeyPair.make()
            options: dict[str, dict[str, bytes | int]] = {
                "NULL": {},
                "PLAIN": {"PLAIN_USERNAME": b"admin", "PLAIN_PASSWORD": b"admin"},
                "CURVE": {"CURVE_SERVERKEY": node.keys.public, "CURVE_PUBLICKEY": keys.public, "CURVE_SECRETKEY": keys.secret},
            }
            claim = b"N" + friend.id.encode() + b"12345678"
            strangers.append(stranger(context, node.door, ROUTING_ID=claim, **options[mechanism]))
        counters = node.transport.counters
        net.until(lambda: counters.refused_keys + counters.failed_handshakes >= STRANGERS, "all strangers refused")
    finally:
        context.destroy(linger=0)
    assert node.events == []
    assert friend.transport.send_peer(node.id, b"e", b"still here")
    net.until(lambda: node.of(PeerFrames), "the friend")


def test_a_stranger_with_a_wrong_server_key_is_never_accepted(net: Net) -> None:
    node = net.node()
    keys = KeyPair.make()
    node.transport.admit({keys.public: "member"})
    program = net.attach(node, keys)
    wrong = net.node()
    imposter = net.attach(wrong, keys)  # an admitted key, but the other end is not the node whose key is expected
    program.send(b"right")
    imposter.send(b"wrong")
    net.until(lambda: node.of(SessionFrame) and imposter.lost, "one in, one out")
    assert wrong.events == []


def test_a_removed_key_is_cut_at_its_next_message_on_the_open_connection(net: Net) -> None:
    one, two = net.pair()
    two.events.clear()
    two.transport.admit({})
    assert one.transport.send_peer(two.id, b"e", b"too late")
    net.until(lambda: two.transport.counters.frames_not_admitted == 1, "the dropped message")
    assert two.events == []
    two.transport.admit({one.keys.public: one.id})
    assert one.transport.send_peer(two.id, b"e", b"again")
    net.until(lambda: two.of(PeerFrames) == [PeerFrames(one.id, b"e", b"again")], "admitted again")


@pytest.mark.parametrize("claimed", ["", "a" * 16, "x"])
def test_a_member_can_not_speak_under_another_members_id(net: Net, claimed: str) -> None:
    node, friend = net.pair()
    keys = KeyPair.make()
    node.transport.admit({friend.keys.public: friend.id, keys.public: node_id(keys.public)})
    node.events.clear()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    routing_id = b"N" + (claimed or friend.id).encode() + b"12345678"
    curve: dict[str, bytes | int] = {
        "CURVE_SERVERKEY": node.keys.public,
        "CURVE_PUBLICKEY": keys.public,
        "CURVE_SECRETKEY": keys.secret,
    }
    try:
        member = stranger(context, node.door, ROUTING_ID=routing_id, **curve)
        net.until(lambda: node.transport.counters.frames_malformed == 1, "the false claim dropped")
        assert not member.closed
    finally:
        context.destroy(linger=0)
    assert node.events == []


def test_messages_of_the_wrong_number_of_frames_are_dropped_and_counted(net: Net) -> None:
    node = net.node()
    keys = KeyPair.make()
    node.transport.admit({keys.public: "member"})
    program = net.attach(node, keys)
    program.socket.send_multipart([b"two", b"frames"])
    program.socket.send_multipart([b"part"] * 10_000)
    program.send(b"well formed")
    net.until(lambda: node.events, "the good message")
    assert [event.payload for event in node.of(SessionFrame)] == [b"well formed"]
    assert node.transport.counters.frames_malformed == 2


def test_a_taken_port_is_told_and_nothing_stays_open(net: Net) -> None:
    first = net.node()
    for taken in (first.transport.lobby_port, first.transport.door_port, first.transport.lobby_port - 1):
        with pytest.raises(PortInUse, match="--port"):
            net.node(port=taken)
    port = first.transport.lobby_port
    net.remove(first)
    assert net.node(port=port).transport.door_port == port + 1


def test_without_a_port_each_node_finds_a_free_pair_and_prefers_the_usual_one(net: Net) -> None:
    nodes = [net.node() for _ in range(20)]
    ports = [port for node in nodes for port in (node.transport.lobby_port, node.transport.door_port)]
    assert len(set(ports)) == 40
    assert all(node.transport.door_port == node.transport.lobby_port + 1 for node in nodes)
    assert any(DEFAULT_PORT <= port < DEFAULT_PORT + 32 for port in ports)


def test_an_address_or_port_that_can_not_be_bound_is_told(net: Net) -> None:
    with pytest.raises(InvalidSetting, match="65534"):
        net.node(port=65_535)
    with pytest.raises(MachineError, match=r"192\.0\.2\.1"):
        ZmqTransport(KeyPair.make(), net.secret, my_id="me", host="192.0.2.1")


def test_neither_door_starves_the_other(net: Net) -> None:
    with tempfile.TemporaryDirectory(prefix="mesh") as run_dir:
        path = Path(run_dir) / "node.sock"
        node, peer = net.node(ipc_path=path), net.node()
        introduce(node, peer)
        net.until(lambda: peer.of(PeerConnected), "linked")
        program = net.attach_local(path)
        assert program.send(b"hello")
        net.until(lambda: node.of(SessionFrame) or program.recv(), "attached")
        for number in range(1000):
            assert peer.transport.send_peer(node.id, b"e", b"%d" % number)
            assert program.send(b"%d" % number)
        kinds: set[type] = set()
        deadline_s = time.monotonic() + DEADLINE_S
        while not {PeerFrames, SessionFrame} <= kinds:
            assert time.monotonic() < deadline_s
            node.transport.poll(1.0)
            events = node.transport.drain(100)
            assert len(events) <= 100
            kinds = {type(event) for event in events}
        assert node.transport.drain(0) == []
