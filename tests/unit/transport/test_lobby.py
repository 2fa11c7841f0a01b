from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mesh.errors import MachineError
from mesh.transport.attach import knock, shakes_hands
from mesh.transport.base import Knocked, LobbyReply
from mesh.transport.curve import FleetSecret, KeyPair
from mesh.transport.knocks import KNOCKS_MAX
from tests.unit.transport.parts import Net, Node


def answer_knocks(node: Node) -> None:
    for visit in node.of(Knocked):
        node.transport.send_lobby(visit.visitor, b"welcome " + visit.payload)
    node.events.clear()


def test_one_who_holds_the_secret_is_heard_with_its_proved_key_and_answered(net: Net) -> None:
    node, newcomer = net.node(), net.node()
    newcomer.transport.knock(node.lobby, b"newcomer")
    net.until(lambda: node.events, "the knock")
    assert node.of(Knocked)[0].key == newcomer.keys.public
    answer_knocks(node)
    net.until(lambda: newcomer.events == [LobbyReply(node.lobby, b"welcome newcomer")], "the answer")


def test_a_wrong_secret_gets_no_answer_and_is_not_heard(net: Net) -> None:
    node, stranger = net.node(), net.node(secret=FleetSecret.make())
    stranger.transport.knock(node.lobby, b"let me in")
    net.until(lambda: stranger.events == [LobbyReply(node.lobby, b"")], "the empty answer", deadline_s=1.5)
    net.until(lambda: node.transport.counters.failed_handshakes == 1, "the failure counted")
    assert node.events == []


def test_a_lobby_opens_to_nobody_through_the_member_door(net: Net) -> None:
    node, newcomer = net.node(), net.node()
    newcomer.transport.knock(node.door, b"wrong port")
    net.until(lambda: newcomer.events == [LobbyReply(node.door, b"")], "the empty answer")
    assert node.events == []


def test_a_knock_where_nobody_listens_or_answers_ends(net: Net) -> None:
    node = net.node()
    closed = net.node()
    net.remove(closed)
    silent = net.listener()
    started_s = time.monotonic()
    for address in (closed.lobby, silent, "nonsense"):
        node.transport.knock(address, b"hello")
    net.until(lambda: len(node.events) == 3, "three empty answers")
    assert time.monotonic() - started_s < 2.5
    assert sorted(node.of(LobbyReply)) == sorted(LobbyReply(address, b"") for address in (closed.lobby, silent, "nonsense"))


def test_a_bounded_number_of_knocks_is_under_way(net: Net) -> None:
    node = net.node()
    for _ in range(KNOCKS_MAX + 3):
        node.transport.knock(net.listener(), b"hello")
    net.until(lambda: len(node.events) == KNOCKS_MAX + 3, "each knock answered")
    assert node.transport.counters.knocks_dropped == 3


def test_a_program_without_a_node_knocks_and_waits(net: Net) -> None:
    node, keys = net.node(), KeyPair.make()
    answers: list[bytes | None] = []
    thread = threading.Thread(target=lambda: answers.append(knock(node.lobby, net.secret, keys, b"guest", 5.0)))
    thread.start()
    net.until(lambda: node.events, "the knock")
    assert node.of(Knocked)[0].key == keys.public
    answer_knocks(node)
    thread.join(5)
    assert answers == [b"welcome guest"]


def test_a_program_with_a_wrong_secret_or_address_is_not_kept_waiting(net: Net) -> None:
    node = net.node()
    started_s = time.monotonic()
    assert knock(node.lobby, FleetSecret.make(), KeyPair.make(), b"guest", 5.0) is None
    assert time.monotonic() - started_s < 2.5
    assert knock(net.listener(), net.secret, KeyPair.make(), b"guest", 0.1) is None
    with pytest.raises(MachineError, match="nonsense"):
        knock("nonsense", net.secret, KeyPair.make(), b"guest", 1.0)


def test_a_handshake_with_door_and_lobby_is_no_failure_and_says_nothing(net: Net) -> None:
    secret = FleetSecret.make()
    node = net.node(secret=secret)
    node.transport.admit({node.keys.public: node.id})
    with ThreadPoolExecutor(1) as pool:
        for address, key, keys, expected in (
            (node.door, node.keys.public, node.keys, True),
            (node.lobby, secret.lobby().public, node.keys, True),
            (node.lobby, FleetSecret.make().lobby().public, node.keys, False),
        ):
            tried = pool.submit(shakes_hands, address, key, keys, 2.0)
            net.until(tried.done, "an answer")
            assert tried.result() is expected
    assert node.events == []
    assert node.transport.counters.refused_keys == 0
    assert node.transport.counters.failed_handshakes <= 1, "that with the wrong secret"
