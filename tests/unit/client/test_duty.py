"""Who works the connection: a caller that waits anyway, else the client's own thread (decision 043)."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mesh import ids
from mesh.client.client import Client
from mesh.client.duty import REST_S, Duty, Mode
from mesh.config import Settings
from mesh.errors import MeshError
from mesh.wire.entries import Message
from tests.polling import poll_until
from tests.unit.client.fake_node import FakeNode, success
from tests.unit.client.places import QUICK, Place

TRIPS = 200


@pytest.fixture
def node(place: Place) -> FakeNode:
    return place.node(lambda message: success(message.id, message.id))


@pytest.fixture
def client(place: Place, node: FakeNode) -> Iterator[Client]:
    made = Client(place.finder(), "test", Settings(**QUICK))
    yield made
    made.close()


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def trip(client: Client) -> None:
    message = Message(ids.task_id(), "default", "tasks.add", b"body")
    pending = client.expect([message.id])[0]
    client.submit([message], soon())
    assert client.wait(pending, soon())
    assert pending.result is not None


def workers_of(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that listen from now on, one number for each time."""
    found: list[int] = []
    listen: Callable[[float], None] = client._listen

    def noted(most_s: float) -> None:
        found.append(threading.get_ident())
        listen(most_s)

    monkeypatch.setattr(client, "_listen", noted)
    return found


def test_a_caller_that_is_alone_works_the_connection_itself(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    trip(client)
    workers = workers_of(client, monkeypatch)
    for _ in range(TRIPS):
        trip(client)
    mine = workers.count(threading.get_ident())
    assert mine > 0.9 * len(workers)


def test_the_clients_thread_takes_over_when_nobody_calls(client: Client, node: FakeNode) -> None:
    trip(client)
    before = node.pings
    poll_until(lambda: node.pings >= before + 3, 5, "it beats by itself")


def test_many_threads_at_once_all_get_what_they_wait_for(client: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(lambda: [trip(client) for _ in range(50)]) for _ in range(8)]:
            done.result(30)
    trip(client)


def test_one_that_works_the_connection_sends_for_the_others(client: Client, node: FakeNode) -> None:
    trip(client)
    node.run = lambda message: None
    pending = client.expect([ids.task_id()])[0]
    client.submit([Message(pending.id, "default", "tasks.add", b"body")], soon())
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, pending, soon())
        poll_until(lambda: pending.waiters, 5, "it waits")
        node.run = lambda message: success(message.id, 1)
        trip(client)
        assert not waiting.done()
        node.finish(success(pending.id, 2))
        assert waiting.result(10)


def test_an_event_loop_gets_its_result_after_a_caller_has_left(client: Client, node: FakeNode) -> None:
    trip(client)
    node.run = lambda message: None
    pending = client.expect([ids.task_id()])[0]
    client.submit([Message(pending.id, "default", "tasks.add", b"body")], soon())

    async def main() -> None:
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(done.set)

        assert client.when_done(pending, wake)
        node.finish(success(pending.id, 1))
        await asyncio.wait_for(done.wait(), 10)
        client.forget_waiter(pending, wake)

    asyncio.run(main())
    assert pending.result is not None


def test_who_only_looks_sees_the_result_too(client: Client) -> None:
    for _ in range(20):
        message = Message(ids.task_id(), "default", "tasks.add", b"body")
        pending = client.expect([message.id])[0]
        client.submit([message], soon())

        def seen(pending=pending) -> bool:
            client.look()
            return pending.result is not None

        poll_until(seen, REST_S * 50, "the result", pause_s=0.001)


def test_a_deadline_holds_for_one_that_works_the_connection(client: Client, node: FakeNode) -> None:
    trip(client)
    node.run = lambda message: None
    pending = client.expect([ids.task_id()])[0]
    client.submit([Message(pending.id, "default", "tasks.add", b"body")], soon())
    begun_s = time.monotonic()
    assert not client.wait(pending, soon(0.05))
    assert 0.05 <= time.monotonic() - begun_s < 1
    node.finish(success(pending.id, 1))
    assert client.wait(pending, soon())


@pytest.mark.parametrize("where", ["_handle", "_speak", "_listen"])
def test_after_an_interruption_anywhere_nothing_is_missing(
    client: Client, node: FakeNode, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    trip(client)
    original = getattr(client, where)
    left = [1]

    def interrupted(*arguments: object) -> None:
        if threading.current_thread() is threading.main_thread() and left and left.pop():
            raise KeyboardInterrupt
        original(*arguments)

    message = Message(ids.task_id(), "default", "tasks.add", b"body")
    pending = client.expect([message.id])[0]
    monkeypatch.setattr(client, where, interrupted)
    with pytest.raises(KeyboardInterrupt):
        trip(client)
    client.submit([message], soon())
    assert client.wait(pending, soon())
    trip(client)


def test_closing_ends_the_wait_of_one_that_works_the_connection(client: Client, node: FakeNode) -> None:
    trip(client)
    pending = client.watch(ids.task_id())
    node.run = lambda message: None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, pending, soon())
        poll_until(lambda: pending.waiters, 5, "it waits")
        client.close()
        with pytest.raises(MeshError, match="the client is closed"):
            waiting.result(5)
    poll_until(lambda: node.detached == 1, 5, "it has left politely")


def test_a_caller_that_was_interrupted_while_it_asked_leaves_nothing_behind() -> None:
    duty = Duty(lambda: None)
    with ThreadPoolExecutor(1) as pool:  # in the place of the client's thread
        assert pool.submit(duty.take).result()
        assert duty.begin() is Mode.ASKS
        duty.end()
        assert not pool.submit(duty.hand_over).result()
        assert duty.begin() is Mode.ASKS
        assert pool.submit(duty.hand_over).result()
        duty.end()  # before it took what it was given
        assert duty.begin() is Mode.WORKS
        duty.end()
        assert not pool.submit(duty.take).result()
        duty.resume()
        assert pool.submit(duty.take).result()
        assert duty.begin() is Mode.ASKS
        assert not duty._handed_over.acquire(blocking=False)
