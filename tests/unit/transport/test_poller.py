"""One system call for each wait, and nothing is missed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import zmq

from mesh.transport.poller import READ, WRITE, Poller
from tests.polling import poll_until

Pair = tuple[zmq.Socket[bytes], zmq.Socket[bytes]]


@pytest.fixture
def poller() -> Iterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    with zmq.Context() as context, context.socket(zmq.DEALER) as one, context.socket(zmq.DEALER) as two:
        one.bind("inproc://pair")
        two.connect("inproc://pair")
        yield one, two


def test_what_came_before_it_was_watched_is_seen(poller: Poller, pair: Pair) -> None:
    pair[1].send(b"early")
    poller.register(pair[0])
    assert poller.poll(5) == [(pair[0], READ)]


def test_a_socket_that_was_not_read_to_its_end_is_ready_again(poller: Poller, pair: Pair) -> None:
    poller.register(pair[0])
    pair[1].send(b"1")
    pair[1].send(b"2")
    for number in (b"1", b"2"):
        assert poller.poll(5) == [(pair[0], READ)]
        assert pair[0].recv() == number
    assert poller.poll(0) == []


def test_what_came_while_something_was_sent_is_not_missed(poller: Poller, pair: Pair) -> None:
    poller.register(pair[0])
    assert poller.poll(0) == []
    for number in range(1000):
        pair[1].send(b"question")
        pair[0].send(b"%d" % number)  # takes in what has come, so that the descriptor no longer tells
        poller.used(pair[0])
        assert poller.poll(5) == [(pair[0], READ)], number
        assert pair[0].recv() == b"question"


def test_descriptors_are_watched_beside(poller: Poller, pair: Pair) -> None:
    one, two = socket.socketpair()
    with one, two:
        poller.register(pair[0])
        poller.register(one.fileno())
        assert poller.poll(0) == []
        two.send(b"x")
        pair[1].send(b"y")
        found: dict[object, int] = {}
        poll_until(lambda: found.update(poller.poll(5)) or len(found) == 2, 5, "both")
        assert found == {pair[0]: READ, one.fileno(): READ}
        poller.register(one.fileno(), READ | WRITE)
        assert (one.fileno(), READ | WRITE) in poller.poll(5)
        poller.unregister(one.fileno())
        poller.unregister(pair[0])
        assert one.fileno() not in poller
        assert pair[0] not in poller
        assert poller.poll(0) == []


def test_the_end_of_a_stream_is_something_to_read(poller: Poller) -> None:
    one, two = socket.socketpair()
    with one:
        poller.register(one.fileno())
        two.close()
        assert poller.poll(5) == [(one.fileno(), READ)]
        poller.unregister(one.fileno())
