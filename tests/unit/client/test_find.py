"""Finding a node on another machine: a real node behind real doors, and a home that has none."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from mesh.discovery.remembered import Remembered

from mesh import ids
from mesh.client.find import NodeFinder
from mesh.config import Settings
from mesh.core.effects import Identity
from mesh.errors import InvalidSetting, MeshNotFound, UsageError
from mesh.node import Node
from mesh.storage.home import PEERS, SECRET, Home
from mesh.storage.memory import MemoryStore
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.zmq import ZmqTransport
from tests.unit.client.places import Place, drive


class RealNode:
    """A node in a thread, on loopback."""

    def __init__(self) -> None:
        self.secret = FleetSecret.make()
        keys = KeyPair.make()
        transport = ZmqTransport(keys, self.secret, my_id=ids.node_id(keys.public), host="127.0.0.1")
        self.lobby = f"127.0.0.1:{transport.lobby_port}"
        identity = Identity(
            id=ids.node_id(keys.public),
            name="remote",
            key=keys.public,
            mesh="default",
            mesh_id=self.secret.mesh_id(),
            bulk_journal=ids.journal_name(),
            shared_journal=ids.journal_name(),
            addresses=[f"127.0.0.1:{transport.door_port}"],
        )
        ready = threading.Event()
        self.node = Node(identity, MemoryStore(), transport, Settings(), on_ready=ready.set)
        self.thread = threading.Thread(target=self.node.run, daemon=True)
        self.thread.start()
        assert ready.wait(10)

    def stop(self) -> None:
        self.node.stop()
        self.thread.join(10)


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[RealNode]:
    monkeypatch.setenv("MESH_INTERFACE", "127.0.0.1")
    node = RealNode()
    yield node
    node.stop()


def test_the_secret_and_a_seed_lead_to_a_node_and_its_doors_are_remembered(
    place: Place, remote: RealNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESH_SECRET", remote.secret.text)
    link = place.link("worker", seeds=(remote.lobby,), discovery_timeout_s=10)
    drive(link, lambda: link.attached)
    assert link.attached is not None
    assert link.attached.node == "remote"
    link.close()
    assert [peer.name for peer in Remembered(place.home.path / PEERS).load()] == ["remote"]

    monkeypatch.delenv("MESH_SECRET")
    again = place.link(discovery_timeout_s=10)  # neither seed nor secret: its key was admitted, and it knows the door
    drive(again, lambda: again.attached)
    assert again.attached is not None
    assert again.attached.node == "remote"
    again.close()


def test_guests_do_not_count_as_durable_members(place: Place, remote: RealNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", remote.secret.text)
    link = place.link(seeds=(remote.lobby,), discovery_timeout_s=10)
    drive(link, lambda: link.attached)
    guest = place.finder().guest()
    assert remote.node.machine.membership.members[guest.id].durable is False
    link.close()


def test_the_secret_of_the_home_is_used(place: Place, remote: RealNode) -> None:
    place.home.write(SECRET, remote.secret.text.encode())
    link = place.link(seeds=(remote.lobby,), discovery_timeout_s=10)
    drive(link, lambda: link.attached)
    link.close()


def test_a_wrong_secret_is_told_from_silence_as_far_as_one_can(place: Place, remote: RealNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", FleetSecret.make().text)
    link = place.link(seeds=(remote.lobby,), discovery_timeout_s=1.5)
    with pytest.raises(MeshNotFound, match=f"{remote.lobby} did not answer, or does not know this secret"):
        drive(link, lambda: False)
    link.close()


def test_a_secret_that_is_none_is_reported(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", "hunter2")
    link = place.link()
    with pytest.raises(MeshNotFound, match="at least 128 random bits"):
        drive(link, lambda: False)
    link.close()


def test_a_home_with_a_node_of_its_own_does_not_knock_as_a_guest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", FleetSecret.make().text)
    place.home.state_path.touch(mode=0o600)
    link = place.link()
    with pytest.raises(MeshNotFound, match="a member with a node of its own"):
        drive(link, lambda: False)
    link.close()


def test_a_remembered_peer_that_is_gone_delays_nothing_else(place: Place, remote: RealNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET", remote.secret.text)
    first = place.link(seeds=(remote.lobby,), discovery_timeout_s=10)
    drive(first, lambda: first.attached)
    first.close()
    node = place.node()
    link = place.link(discovery_timeout_s=10)
    drive(link, lambda: link.attached)
    assert link.attached is not None
    assert link.attached.node == "server"  # the node on this machine comes first
    node.stop()
    drive(link, lambda: link.attached is not None and link.attached.node == "remote")
    link.close()


def test_finders_of_the_same_places_are_equal(tmp_path: Path) -> None:
    def key(*seeds: str) -> object:
        return NodeFinder("default", tmp_path, seeds, Settings()).key

    assert key("a:1", "b") == key("a:1, b:7117")
    assert key("a:1") != key()
    assert key() != NodeFinder("other", tmp_path, (), Settings()).key


def test_what_can_not_be_read_is_refused_at_the_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="port must be a number"):
        NodeFinder("default", tmp_path, ("host:http",), Settings())
    with pytest.raises(InvalidSetting, match="a mesh is named by"):
        NodeFinder("my mesh", tmp_path, (), Settings())
    monkeypatch.setenv("MESH_HOME", str(tmp_path / "elsewhere"))
    assert NodeFinder("default", None, (), Settings()).home.path == Home("default", tmp_path / "elsewhere", os.environ).path
