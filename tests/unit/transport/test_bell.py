"""A wait ends when the bell is rung, once for many rings, and none is missed."""

from __future__ import annotations

import threading

import pytest

from mesh.transport.bell import Bell
from mesh.transport.poller import Poller


@pytest.fixture
def bell() -> Bell:
    return Bell()


def test_many_rings_end_one_wait(bell: Bell) -> None:
    poller = Poller()
    poller.register(bell.fileno())
    assert poller.poll(0) == []
    for _ in range(100_000):  # more than a socket's buffer holds
        bell.ring()
    assert len(poller.poll(0)) == 1
    bell.hear()
    assert poller.poll(0) == []
    bell.ring()
    assert len(poller.poll(0)) == 1
    poller.close()
    bell.close()


def test_no_work_that_was_noted_before_a_ring_is_missed(bell: Bell) -> None:
    noted, done, rounds = [0], 0, 20_000
    poller = Poller()
    poller.register(bell.fileno())

    def note() -> None:
        for _ in range(rounds):
            noted[0] += 1
            bell.ring()

    thread = threading.Thread(target=note)
    thread.start()
    while done < rounds:
        assert poller.poll(5), "a ring was missed"
        bell.hear()
        done = noted[0]
    thread.join()
    poller.close()
    bell.close()


def test_a_closed_bell_is_silent(bell: Bell) -> None:
    bell.close()
    bell.ring()
    bell.close()
