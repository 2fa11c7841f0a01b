"""The local door speaks ZMTP by itself, and so do the programs that attach to it; each of them talks to a libzmq as well."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from mesh.transport import local
from mesh.transport.base import SessionFrame
from mesh.transport.sockets import HANDSHAKE_MS
from mesh.transport.zmtp import COMMAND, DEALER, MORE, frame, hello
from tests.unit.transport.parts import Net, Node

FRAME_BYTES_MAX = 1 << 20


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh") as name:
        yield Path(name) / "node.sock"


@pytest.fixture
def node(net: Net, path: Path) -> Node:
    return net.node(ipc_path=path, max_frame_bytes=FRAME_BYTES_MAX)


@pytest.fixture
def raw(path: Path, node: Node) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(str(path))
        connected.settimeout(5)
        yield connected


@pytest.fixture
def dealer(path: Path, node: Node) -> Iterator[zmq.Socket[bytes]]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as made:
        made.setsockopt(zmq.LINGER, 0)
        made.routing_id = b"Sby libzmq"
        made.connect(f"ipc://{path}")
        yield made


def payloads(node: Node) -> list[bytes]:
    return [event.payload for event in node.of(SessionFrame)]


def read(raw: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = raw.recv(count - len(data))
        assert piece, "the node has closed the connection"
        data += piece
    return data


def ended(net: Net, raw: socket.socket) -> None:
    """The node closes the connection."""
    raw.settimeout(0.001)

    def closed() -> bool:
        try:
            return raw.recv(65_536) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    net.until(closed, "the connection closed")


def greeted(net: Net, node: Node, raw: socket.socket) -> bytes:
    """Attach with a name; returns the session."""
    raw.sendall(hello(DEALER, b"Sraw") + frame(b"hello"))
    net.until(lambda: payloads(node) == [b"hello"], "attached")
    read(raw, len(hello(b"ROUTER")))
    return node.of(SessionFrame)[0].session


def test_a_program_that_uses_libzmq_talks_to_the_local_door(net: Net, node: Node, dealer: zmq.Socket[bytes]) -> None:
    dealer.send(b"short")
    dealer.send(b"l" * 100_000)
    net.until(lambda: payloads(node) == [b"short", b"l" * 100_000], "both messages")
    session = node.of(SessionFrame)[0].session
    assert session == b"LSby libzmq"
    for payload in (b"", b"x" * 255, b"x" * 256, b"x" * 100_000):
        assert node.transport.send_session(session, payload)
        assert dealer.poll(5000)
        assert dealer.recv() == payload


def test_a_message_of_several_frames_is_dropped_and_counted_and_the_next_one_heard(net: Net, node: Node, dealer: zmq.Socket[bytes]) -> None:
    dealer.send_multipart([b"two", b"frames"])
    dealer.send(b"good")
    net.until(lambda: payloads(node) == [b"good"], "the good one")
    net.until(lambda: node.transport.counters.frames_malformed == 1, "the other one counted")


def test_a_ping_is_answered_with_its_context(net: Net, node: Node, raw: socket.socket) -> None:
    greeted(net, node, raw)
    raw.sendall(frame(b"\4PING" + b"\0\1" + b"context", COMMAND) + frame(b"after"))
    net.until(lambda: payloads(node)[1:] == [b"after"], "what came after the ping")
    assert read(raw, 14) == frame(b"\4PONGcontext", COMMAND)


def test_whoever_does_not_shake_hands_is_cut_off(net: Net, node: Node, raw: socket.socket) -> None:
    raw.sendall(hello(DEALER)[:20])
    net.until(lambda: node.transport.counters.failed_handshakes == 1, "cut off", deadline_s=HANDSHAKE_MS / 1000 + 5)
    ended(net, raw)


@pytest.mark.parametrize(
    "content",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" + bytes(8) + b"\x7f\1",
        hello(DEALER).replace(b"NULL", b"CURV"),
        hello(b"PUB"),
        frame(b"too early").join([hello(DEALER)[:64], b""]),
        hello(DEALER) + b"\x02" + (FRAME_BYTES_MAX * 2).to_bytes(8, "big"),
        hello(DEALER) + b"\xf0\x01x",
        hello(DEALER)[:64] + frame(b"\5READY\xff", COMMAND),
    ],
)
def test_what_breaks_the_protocol_ends_its_connection_and_no_other(
    net: Net, node: Node, raw: socket.socket, dealer: zmq.Socket[bytes], content: bytes
) -> None:
    raw.sendall(content)
    ended(net, raw)
    dealer.send(b"hello")
    net.until(lambda: payloads(node) == [b"hello"], "the other one")


def test_nobody_takes_over_an_open_session(net: Net, node: Node, raw: socket.socket, path: Path) -> None:
    session = greeted(net, node, raw)
    with socket.socket(socket.AF_UNIX) as thief:
        thief.connect(str(path))
        thief.sendall(hello(DEALER, b"Sraw") + frame(b"theft"))
        ended(net, thief)
    assert payloads(node) == [b"hello"]
    assert node.transport.send_session(session, b"mine")
    assert read(raw, 6) == frame(b"mine")


def test_programs_without_a_name_get_names_of_their_own(net: Net, node: Node, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        for program in (one, two):
            program.connect(str(path))
            program.sendall(hello(DEALER) + frame(b"hello"))
        net.until(lambda: len(node.events) == 2, "both")
    assert len({event.session for event in node.of(SessionFrame)}) == 2


def test_what_a_program_does_not_read_yet_waits_and_comes_in_order(net: Net, node: Node, path: Path) -> None:
    program = net.attach_local(path)
    program.send(b"hello")
    net.until(lambda: node.events or program.recv(), "attached")
    session = node.of(SessionFrame)[0].session
    messages = [bytes([number]) * 100_000 for number in range(100)]
    assert all(node.transport.send_session(session, message) for message in messages)
    found: list[bytes] = []
    net.until(lambda: found.extend(message for message in [program.recv()] if message) or len(found) == 100, "all of it")
    assert found == messages


def test_what_a_node_does_not_read_yet_waits_and_comes_in_order(net: Net, node: Node, path: Path) -> None:
    program = net.attach_local(path)
    messages = [bytes([number]) * 100_000 for number in range(100)]
    assert all(program.send(message) for message in messages)
    net.until(lambda: program.recv() or len(node.events) == 100, "all of it")
    assert payloads(node) == messages


def test_a_program_that_has_stopped_reading_is_cut_off(net: Net, node: Node, raw: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "HEARTBEAT_TIMEOUT_MS", 100)
    session = greeted(net, node, raw)
    assert node.transport.send_session(session, b"x" * 1_000_000)
    assert node.transport.send_session(session, b"y")
    net.until(lambda: not node.transport.send_session(session, b"z"), "cut off")


def test_one_that_floods_does_not_keep_another_out(net: Net, node: Node, raw: socket.socket, dealer: zmq.Socket[bytes]) -> None:
    greeted(net, node, raw)
    raw.settimeout(0)
    flood = frame(b"f") * 20_000
    dealer.send(b"hello")

    def heard() -> bool:
        try:
            raw.send(flood)
        except BlockingIOError:
            pass
        return b"hello" in payloads(node)

    net.until(heard, "the other one")


def test_a_part_of_a_message_is_no_message(net: Net, node: Node, raw: socket.socket) -> None:
    greeted(net, node, raw)
    for byte in frame(b"x" * 300):
        raw.sendall(bytes([byte]))
        node.turn()
    raw.sendall(frame(b"1", MORE) + frame(b"2", MORE))
    raw.sendall(frame(b"3") + frame(b"end"))
    net.until(lambda: payloads(node)[1:] == [b"x" * 300, b"end"], "the whole ones")
    assert node.transport.counters.frames_malformed == 1
