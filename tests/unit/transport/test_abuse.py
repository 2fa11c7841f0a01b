from __future__ import annotations

import random
import socket
import struct
import sys
import time

import pytest
import zmq

from mesh.transport.attach import NodeSocket
from mesh.transport.base import PeerFrames, SessionFrame
from mesh.transport.curve import KeyPair
from tests.polling import poll_until
from tests.unit.transport.parts import Net, Node, resident_bytes

SILENT = 200
MEMORY_BYTES_MAX = 32 << 20
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00"


def greeting(mechanism: bytes) -> bytes:
    return GREETING + mechanism.ljust(20, b"\0") + bytes(32)


def ping_s(net: Net, node: Node, program: NodeSocket) -> float:
    """Seconds from a program's frame to the node's answer in its hands."""
    node.events.clear()
    started_s = time.monotonic()
    assert program.send(b"ping")
    net.until(lambda: node.of(SessionFrame), "the ping")
    assert node.transport.send_session(node.of(SessionFrame)[0].session, b"pong")
    poll_until(program.recv, 5, "the pong", pause_s=0.001)
    return time.monotonic() - started_s


def send_raw(net: Net, port: int, content: bytes) -> socket.socket:
    connection = net.silent(port)
    try:
        connection.sendall(content)
    except OSError:  # the node may close while we still send
        return connection
    return connection


def ended(connection: socket.socket) -> bool:
    """Whether the node has closed it; what it said before is passed over."""
    connection.setblocking(False)
    try:
        while connection.recv(65_536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_silent_connections_do_not_keep_a_valid_one_out(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    for number in range(SILENT):
        net.silent(node.transport.door_port if number % 2 else node.transport.lobby_port)
    assert ping_s(net, node, net.attach(node, keys)) < 1.0
    net.until(lambda: node.transport.counters.failed_handshakes >= SILENT, "the silent ones cut", deadline_s=5.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc for the memory in use")
def test_frames_declared_huge_before_the_handshake_cost_no_memory(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    before = resident_bytes()
    connections = [
        send_raw(net, node.transport.door_port, greeting(mechanism) + struct.pack(">BQ", flags, 1 << 30) + b"x" * 10_000)
        for mechanism in (b"CURVE", b"NULL", b"PLAIN")
        for flags in (0x02, 0x06, 0x03)  # a long message, a long command, a long message with more to come
        for _ in range(20)
    ]
    net.until(lambda: all(ended(connection) for connection in connections), "all cut")
    assert ping_s(net, node, net.attach(node, keys)) < 1.0
    assert resident_bytes() - before < MEMORY_BYTES_MAX


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc for the memory in use")
def test_a_message_of_a_million_parts_before_the_handshake_costs_no_memory(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    before = resident_bytes()
    connections = [
        send_raw(net, port, greeting(mechanism) + b"\x01\x01x" * 1_000_000)
        for port in (node.transport.door_port, node.transport.lobby_port)
        for mechanism in (b"NULL", b"CURVE")
    ]
    net.until(lambda: all(ended(connection) for connection in connections), "all cut")
    assert ping_s(net, node, net.attach(node, keys)) < 1.0
    assert resident_bytes() - before < MEMORY_BYTES_MAX


def test_garbage_does_not_hurt(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    chance = random.Random(20)
    for number in range(150):
        content = chance.randbytes(chance.randrange(1, 2000))
        start = (b"", GREETING, greeting(b"CURVE"), greeting(b"CURVE") + b"\x04\xc8\x05HELLO")[number % 4]
        send_raw(net, node.transport.door_port if number % 2 else node.transport.lobby_port, start + content).close()
    assert ping_s(net, node, net.attach(node, keys)) < 1.0
    net.until(lambda: node.transport.counters.failed_handshakes >= 75, "the bad greetings and handshakes counted")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc for the memory in use")
def test_an_oversized_frame_of_a_member_ends_its_connection_and_costs_no_memory(net: Net) -> None:
    node, keys = net.node(max_frame_bytes=1 << 20), KeyPair.make()
    node.transport.admit({keys.public: "guest"})
    largest = b"x" * (1 << 20)
    program = net.attach(node, keys)
    program.send(largest)
    net.until(lambda: node.events, "the largest frame that is allowed")
    oversized = bytes(40 << 20)
    program.send(oversized)
    before = resident_bytes()
    net.until(lambda: program.lost, "the connection ended")
    assert resident_bytes() - before < MEMORY_BYTES_MAX + len(oversized)  # the sender is this process and encrypts a copy
    assert len(node.events) == 1


def test_a_frame_at_the_limit_passes_between_members(net: Net) -> None:
    one, two = net.pair()
    assert one.transport.send_peer(two.id, b"e", bytes(8 << 20))
    net.until(lambda: two.events[-1] == PeerFrames(one.id, b"e", bytes(8 << 20)), "eight MiB")


def test_a_member_that_sends_a_message_of_many_parts_does_not_hold_up_the_loop(net: Net) -> None:
    node, keys, other = net.node(), KeyPair.make(), KeyPair.make()
    node.transport.admit({keys.public: "guest", other.public: "other"})
    program = net.attach(node, keys)
    program.send(b"hello")
    net.until(lambda: node.events, "the program")
    for _ in range(300_000):
        program.socket.send(b"x", zmq.SNDMORE)
    program.send(b"end")
    longest_s = 0.0
    deadline_s = time.monotonic() + 10
    while node.transport.counters.frames_malformed == 0:
        assert time.monotonic() < deadline_s
        node.turn()
    witness = net.attach(node, other, b"w" * 16)
    witness.send(b"witness")
    while not [event for event in node.of(SessionFrame) if event.payload == b"witness"]:
        assert time.monotonic() < deadline_s
        started_s = time.thread_time()
        node.transport.poll(0.0)
        node.events += node.transport.drain(256)
        longest_s = max(longest_s, time.thread_time() - started_s)
    assert longest_s < 0.1
