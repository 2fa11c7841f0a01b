"""Homes with and without a fake node, and ways to drive a link."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mesh.discovery import local

from mesh import ids
from mesh.client.find import NodeFinder
from mesh.client.link import Link
from mesh.config import Settings
from mesh.storage.home import Home
from mesh.transport.poller import Poller
from mesh.wire.entries import Message
from mesh.wire.messages import SessionReply
from tests.unit.client.fake_node import FakeNode, Run, run_nothing

QUICK = {"discovery_timeout_s": 0.5, "worker_beat_s": 0.1}


class Place:
    """A home, its fake nodes, and what reaches them; everything is closed by the fixture."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home("default", root)
        self.home.create()
        self.nodes: list[FakeNode] = []

    def node(self, run: Run = run_nothing, **options: Any) -> FakeNode:
        """A new node on this machine; the rendezvous leads to it from now on."""
        path = self.home.socket_path(f"n{len(self.nodes)}.sock")
        node = FakeNode(path, run, **options)
        node.start()
        self.nodes.append(node)
        self.publish(node)
        return node

    def publish(self, node: FakeNode) -> None:
        pid = os.getpid()
        marker = local.process_marker(pid)
        where = local.Rendezvous(pid, marker, time.time(), str(node.path), "server", "default", "meshid", "nodeid", 7117, 7118, "0")
        local.publish(self.home.run_dir, where)

    def finder(self, seeds: tuple[str, ...] = (), **settings: float) -> NodeFinder:
        return NodeFinder("default", self.root, seeds, Settings(**(QUICK | settings)))

    def link(self, kind: str = "client", seeds: tuple[str, ...] = (), **settings: float) -> Link:
        return Link(self.finder(seeds, **settings), kind, "test", Settings(**(QUICK | settings)))

    def close(self) -> None:
        for node in self.nodes:
            node.stop()


def drive(link: Link, until: Callable[[], object], deadline_s: float = 10.0) -> list[SessionReply]:
    """Run a link's loop until something is true; returns what it received."""
    poller = Poller()
    link.register(poller)
    replies: list[SessionReply] = []
    deadline = time.monotonic() + deadline_s
    while not until():
        assert time.monotonic() < deadline, "did not happen before the deadline"
        poller.poll(min(link.pause_s(), 0.02))
        replies += link.receive()
        link.tick(time.monotonic())
    return replies


def message(id: str | None = None, body: bytes = b"body") -> Message:
    """A task to publish."""
    return Message(id or ids.task_id(), "default", "tasks.add", body)


def soon(seconds: float = 10.0) -> float:
    """A deadline, monotonic."""
    return time.monotonic() + seconds
