"""Nodes' sockets for tests: made, turned and closed in one place, all on 127.0.0.1."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mesh.ids import node_id
from mesh.transport.attach import LocalSocket, NodeSocket
from mesh.transport.base import PeerConnected, PeerFrames, TransportEvent
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.zmq import ZmqTransport

HOST = "127.0.0.1"
DEADLINE_S = 10.0
E = TypeVar("E", bound=TransportEvent)


class Node:
    """A transport with its keys, and all events that it has given."""

    def __init__(self, secret: FleetSecret, keys: KeyPair | None = None, **options: object) -> None:
        self.keys = keys or KeyPair.make()
        self.id = node_id(self.keys.public)
        self.transport = ZmqTransport(self.keys, secret, my_id=self.id, host=HOST, **options)  # type: ignore[arg-type]
        self.events: list[TransportEvent] = []

    @property
    def door(self) -> str:
        return f"{HOST}:{self.transport.door_port}"

    @property
    def lobby(self) -> str:
        return f"{HOST}:{self.transport.lobby_port}"

    def turn(self) -> None:
        self.transport.poll(0.01)
        self.events += self.transport.drain(256)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def dial(self, other: Node) -> None:
        self.transport.dial(other.id, other.keys.public, [other.door])

    def close(self) -> None:
        self.transport.close()


class Net:
    """Some nodes and attached programs; everything is closed with it."""

    def __init__(self) -> None:
        self.secret = FleetSecret.make()
        self.nodes: list[Node] = []
        self._closing: list[Callable[[], object]] = []

    def node(self, secret: FleetSecret | None = None, keys: KeyPair | None = None, **options: object) -> Node:
        node = Node(secret or self.secret, keys, **options)
        self.nodes.append(node)
        self._closing.append(node.close)
        return node

    def pair(self) -> tuple[Node, Node]:
        """Two nodes that have admitted and reached each other."""
        one, two = self.node(), self.node()
        introduce(one, two)
        self.until(lambda: one.of(PeerConnected) and two.of(PeerConnected), "linked")
        assert one.transport.send_peer(two.id, b"e", b"hello")
        assert two.transport.send_peer(one.id, b"e", b"hello")
        self.until(lambda: one.of(PeerFrames) and two.of(PeerFrames), "heard")
        return one, two

    def attach(self, node: Node, keys: KeyPair, session_id: bytes = b"s" * 16) -> NodeSocket:
        program = NodeSocket(node.door, node.keys.public, keys, session_id)
        self._closing.append(program.close)
        return program

    def attach_local(self, path: Path, session_id: bytes = b"s" * 16) -> LocalSocket:
        program = LocalSocket(path, session_id)
        self._closing.append(program.close)
        return program

    def silent(self, port: int) -> socket.socket:
        connection = socket.create_connection((HOST, port))
        self._closing.append(connection.close)
        return connection

    def listener(self) -> str:
        """An address where connections are accepted by the kernel and never answered."""
        listening = socket.create_server((HOST, 0))
        self._closing.append(listening.close)
        return f"{HOST}:{listening.getsockname()[1]}"

    def until(self, predicate: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
        """Turn all nodes until it is true."""
        deadline = time.monotonic() + deadline_s
        while not predicate():
            assert time.monotonic() < deadline, f"not within {deadline_s} s: {what}"
            for node in self.nodes:
                node.turn()

    def turn_for(self, duration_s: float) -> None:
        """Turn all nodes for a while: for showing that something does not happen."""
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            for node in self.nodes:
                node.turn()

    def remove(self, node: Node) -> None:
        self.nodes.remove(node)
        node.close()

    def child(self, keys: KeyPair, parent: Node, port: int | None = None) -> Child:
        child = Child(keys, parent, port)
        self._closing.append(child.end)
        return child

    def close(self) -> None:
        for close in reversed(self._closing):
            close()


class Child:
    """A node's transport in a process of its own; it has admitted ``parent`` and answers nothing."""

    def __init__(self, keys: KeyPair, parent: Node, port: int | None) -> None:
        order = {"secret": keys.secret.hex(), "parent": parent.keys.public.hex(), "parent_id": parent.id, "port": port}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.transport.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.lobby_port = int(self.process.stdout.readline())
        self.door = f"{HOST}:{self.lobby_port + 1}"

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def introduce(*nodes: Node) -> None:
    """All admit and dial each other."""
    for node in nodes:
        others = [other for other in nodes if other is not node]
        node.transport.admit({other.keys.public: other.id for other in others})
        for other in others:
            node.dial(other)


def resident_bytes() -> int:
    """Physical memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
