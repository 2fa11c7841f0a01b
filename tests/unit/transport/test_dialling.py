from __future__ import annotations

import signal
import socket
import threading
import time

import pytest

from mesh.ids import node_id
from mesh.transport import sockets
from mesh.transport.base import PeerConnected, PeerFrames, PeerRefused
from mesh.transport.curve import KeyPair
from tests.unit.transport.parts import Net


def test_of_several_addresses_the_one_that_proves_the_key_counts(net: Net) -> None:
    one, two, other = net.node(), net.node(), net.node()
    gone = net.node()
    net.remove(gone)
    two.transport.admit({one.keys.public: one.id})
    other.transport.admit({one.keys.public: one.id})
    one.transport.dial(two.id, two.keys.public, [gone.door, other.door, net.listener(), "nonsense", two.door])
    net.until(lambda: one.of(PeerConnected) == [PeerConnected(two.id)], "the right door", deadline_s=1.0)
    assert one.transport.send_peer(two.id, b"e", b"p")
    net.until(lambda: two.of(PeerFrames), "the frames at the right node")
    assert other.events == []


def test_a_peer_that_does_not_know_us_yet_is_reached_soon_after_it_admits_us(net: Net) -> None:
    one, two = net.node(), net.node()
    one.dial(two)
    net.until(lambda: two.transport.counters.refused_keys >= 3, "refused several times")
    two.transport.admit({one.keys.public: one.id})
    admitted_s = time.monotonic()
    net.until(lambda: one.of(PeerConnected), "connected")
    assert time.monotonic() - admitted_s < 0.6  # a retry each 0.2 s; the rest is for a busy machine


def test_dialling_again_with_the_same_key_and_addresses_changes_nothing(net: Net) -> None:
    one, two = net.pair()
    one.dial(two)
    one.transport.dial(two.id, two.keys.public, [two.door, two.door])
    assert one.transport.send_peer(two.id, b"e", b"p")
    net.turn_for(0.2)
    assert one.transport.counters.connects == 1


def test_a_living_link_survives_a_false_address(net: Net) -> None:
    one, two = net.pair()
    one.transport.dial(two.id, two.keys.public, [net.listener()])
    net.turn_for(0.3)
    assert one.transport.send_peer(two.id, b"e", b"still here")
    net.until(lambda: two.events[-1] == PeerFrames(one.id, b"e", b"still here"), "heard")
    assert one.transport.counters.disconnects == 0


def test_a_new_key_ends_the_link(net: Net) -> None:
    one, two = net.pair()
    one.transport.dial(two.id, KeyPair.make().public, [two.door])
    assert not one.transport.send_peer(two.id, b"e", b"p")


def test_hanging_up_lets_the_last_message_leave_and_ends_the_dialling(net: Net) -> None:
    one, two = net.pair()
    one.transport.send_peer(two.id, b"e", b"goodbye")
    one.transport.hang_up(two.id)
    one.transport.hang_up(two.id)
    assert not one.transport.send_peer(two.id, b"e", b"p")
    net.until(lambda: two.events[-1] == PeerFrames(one.id, b"e", b"goodbye"), "the goodbye")
    net.turn_for(0.3)
    assert one.of(PeerRefused) == []
    assert one.transport.counters.connects == 1


def test_a_killed_peer_is_reported_refused_at_once_and_once(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    child = net.child(keys, node)
    peer = node_id(keys.public)
    node.transport.dial(peer, keys.public, [child.door])
    net.until(lambda: node.of(PeerConnected), "connected")
    child.signal(signal.SIGKILL)
    killed_s = time.monotonic()
    net.until(lambda: node.of(PeerRefused) == [PeerRefused(peer)], "refused")
    assert time.monotonic() - killed_s < 1.0
    net.turn_for(1.5)
    assert node.of(PeerRefused) == [PeerRefused(peer)]


def test_a_peer_that_was_never_reached_and_whose_only_address_refuses_is_reported(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"  # bound but not listening: refuses, and nobody else can take it
        peer = node_id(keys.public)
        node.transport.dial(peer, keys.public, [address])
        net.until(lambda: node.of(PeerRefused) == [PeerRefused(peer)], "refused")


def test_a_stopped_peer_is_lost_but_not_reported_refused(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "HEARTBEAT_MS", 100)
    monkeypatch.setattr(sockets, "HEARTBEAT_TIMEOUT_MS", 300)
    node, keys = net.node(), KeyPair.make()
    child = net.child(keys, node)
    peer = node_id(keys.public)
    node.transport.dial(peer, keys.public, [child.door])
    net.until(lambda: node.of(PeerConnected), "connected")
    child.signal(signal.SIGSTOP)
    net.until(lambda: node.transport.counters.disconnects == 1, "the link lost by its heartbeat")
    assert not node.transport.send_peer(peer, b"e", b"p")
    net.turn_for(1.5)  # several probes: the kernel of a stopped process still accepts
    assert node.of(PeerRefused) == []
    child.signal(signal.SIGCONT)
    net.until(lambda: len(node.of(PeerConnected)) == 2, "connected again")


def test_a_peer_that_restarts_on_its_port_is_reached_again_by_itself(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    first = net.child(keys, node)
    peer = node_id(keys.public)
    node.transport.dial(peer, keys.public, [first.door])
    net.until(lambda: node.of(PeerConnected), "connected")
    first.end()
    net.until(lambda: node.of(PeerRefused), "refused")
    net.child(keys, node, port=first.lobby_port)
    started_s = time.monotonic()
    net.until(lambda: len(node.of(PeerConnected)) == 2, "connected again")
    assert time.monotonic() - started_s < 1.5
    assert node.transport.send_peer(peer, b"e", b"p")
    assert node.of(PeerRefused) == [PeerRefused(peer)]


def test_a_peer_that_restarts_on_another_port_is_reached_at_the_next_dial(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    first = net.child(keys, node)
    peer = node_id(keys.public)
    node.transport.dial(peer, keys.public, [first.door])
    net.until(lambda: node.of(PeerConnected), "connected")
    second = net.child(keys, node)
    first.end()
    net.until(lambda: node.of(PeerRefused), "refused")
    node.transport.dial(peer, keys.public, [second.door])
    net.until(lambda: len(node.of(PeerConnected)) == 2, "connected again", deadline_s=1.0)


def test_a_new_connection_is_heard_although_the_former_one_has_not_been_seen_to_end(net: Net) -> None:
    two = net.node()
    keys = KeyPair.make()
    two.transport.admit({keys.public: node_id(keys.public)})
    first, second = net.node(keys=keys), net.node(keys=keys)  # a machine that lost power, and the same after its restart
    first.dial(two)
    net.until(lambda: first.of(PeerConnected), "the first connection")
    second.dial(two)
    net.until(lambda: second.transport.send_peer(two.id, b"e", b"back") and two.of(PeerFrames), "the second is heard")


def test_wake_ends_a_poll_from_another_thread_however_often_it_is_called(net: Net) -> None:
    node = net.node()
    started_s = time.monotonic()
    thread = threading.Thread(target=lambda: [node.transport.wake() for _ in range(100_000)])
    thread.start()
    while thread.is_alive():
        node.transport.poll(5.0)
    node.transport.poll(0.0)
    node.transport.wake()
    node.transport.poll(5.0)
    assert time.monotonic() - started_s < 4.0
    assert node.transport.drain(256) == []
