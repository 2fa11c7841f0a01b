"""A client over a limit: held submits wait for the node's word, nothing is asked again and again, and no call outlasts its deadline."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from mesh.client.client import Client
from mesh.errors import DiskLow, MeshBusy, MeshError, QueueFull
from mesh.wire.messages import Confirm, Go, Held, Submit
from tests.polling import poll_until
from tests.unit.client.conftest import MakeClient
from tests.unit.client.fake_node import FakeNode
from tests.unit.client.places import Place, message, soon

FULL = "queue-full: 3 tasks wait in the queue 'q'"


class Limited:
    """A fake node that holds every submit that was not let in."""

    def __init__(self, node: FakeNode, why: str = FULL) -> None:
        self.node = node
        self.seen: list[Submit] = []
        self.why = why
        node.confirm = self.confirm

    def confirm(self, submit: Submit) -> Confirm | None:
        self.seen.append(submit)
        if submit.several:
            return Confirm(submit.number, 0, "apart: each by itself")
        if submit.granted:
            return Confirm(submit.number, 2)
        self.node.tell_all(Held(submit.number, self.why))
        return None

    def wait_for(self, count: int) -> list[Submit]:
        poll_until(lambda: len(self.seen) == count, 5, f"{count} submits came")
        return self.seen


@pytest.fixture
def limited(place: Place) -> Limited:
    return Limited(place.node())


def publish(pool: ThreadPoolExecutor, client: Client, count: int = 1, timeout_s: float = 5) -> Future[Confirm]:
    return pool.submit(client.submit, [message() for _ in range(count)], soon(timeout_s))


def test_a_held_submit_is_sent_again_only_when_the_node_says_so(limited: Limited, make_client: MakeClient) -> None:
    client = make_client()
    with ThreadPoolExecutor(1) as pool:
        waiting = publish(pool, client)
        (first,) = limited.wait_for(1)
        assert first.deadline_ms > 0
        poll_until(lambda: client._outbox._held, 5, "it is held")
        assert not client._outbox.waiting  # nothing to send: the thread sleeps
        limited.node.tell_all(Go(first.number, 1))
        assert waiting.result().copies == 2
    assert [submit.granted for submit in limited.seen] == [0, first.number]
    assert [one.id for one in limited.seen[1].messages] == [one.id for one in first.messages]


@pytest.mark.parametrize(("why", "kind"), [(FULL, QueueFull), ("disk-low: 3 MiB", DiskLow), ("busy: memory", MeshBusy)])
@pytest.mark.parametrize("answered", [True, False])
def test_at_the_deadline_it_is_the_nodes_reason(
    place: Place, make_client: MakeClient, why: str, kind: type[MeshError], answered: bool
) -> None:
    limited, client = Limited(place.node(), why), make_client()
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        waiting = publish(pool, client, timeout_s=0.6)
        (first,) = limited.wait_for(1)
        poll_until(lambda: client._outbox._held, 5, "it is held")
        if answered:
            limited.node.tell_all(Confirm(first.number, 0, why))
        with pytest.raises(kind, match=why.partition(": ")[2]) as raised:
            waiting.result()
    assert type(raised.value) is kind
    assert raised.value.outcome == "not accepted"  # type: ignore[attr-defined]
    assert time.monotonic() - began < 5
    assert not client._outbox


def test_a_batch_is_let_in_part_by_part(limited: Limited, make_client: MakeClient) -> None:
    client = make_client()
    with ThreadPoolExecutor(1) as pool:
        waiting = publish(pool, client, count=5)
        (first,) = limited.wait_for(1)
        limited.node.tell_all(Go(first.number, 2))
        second, third = limited.wait_for(3)[1:]
        assert (second.granted, third.granted) == (first.number, 0)
        assert [one.id for one in [*second.messages, *third.messages]] == [one.id for one in first.messages]
        limited.node.tell_all(Go(third.number, 3))
        assert waiting.result().copies == 2


def test_a_batch_of_which_a_part_was_let_in_says_which_at_the_deadline(limited: Limited, make_client: MakeClient) -> None:
    client = make_client()
    with ThreadPoolExecutor(1) as pool:
        waiting = publish(pool, client, count=3, timeout_s=1)
        (first,) = limited.wait_for(1)
        limited.node.tell_all(Go(first.number, 1))
        with pytest.raises(QueueFull, match="1 of 3 tasks are in, the others are not") as raised:
            waiting.result()
        assert list(raised.value.accepted_ids) == [first.messages[0].id]


def test_callers_whose_submits_went_together_wait_each_for_themselves(place: Place, make_client: MakeClient) -> None:
    client = make_client(discovery_timeout_s=10)
    with ThreadPoolExecutor(3) as pool:
        waiting = [publish(pool, client) for _ in range(3)]
        poll_until(lambda: len(client._outbox._inbox) == 3, 5, "all are handed over")
        limited = Limited(place.node())
        together, *apart = limited.wait_for(4)
        assert together.several
        assert sorted(len(submit.messages) for submit in apart) == [1, 1, 1]
        for submit in apart:
            limited.node.tell_all(Go(submit.number, 1))
        assert [one.result().copies for one in waiting] == [2, 2, 2]


def test_what_is_held_takes_no_room_from_other_submits(limited: Limited, make_client: MakeClient) -> None:
    client = make_client(link_window_bytes=1 << 16)
    large = message(body=bytes(1 << 16))
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(client.submit, [large], soon())
        (first,) = limited.wait_for(1)
        poll_until(lambda: client._outbox._held, 5, "it is held")
        limited.node.confirm = lambda submit: Confirm(submit.number, 1)
        assert client.submit([message()], soon()).copies == 1
        limited.node.tell_all(Go(first.number, 1))
        assert waiting.result().copies == 1


def test_what_is_held_goes_to_the_next_node_when_this_one_dies(limited: Limited, make_client: MakeClient) -> None:
    client = make_client()
    with ThreadPoolExecutor(1) as pool:
        waiting = publish(pool, client)
        (first,) = limited.wait_for(1)
        poll_until(lambda: client._outbox._held, 5, "it is held")
        limited.node.stop()
        limited.node.confirm = lambda submit: Confirm(submit.number, 1)
        limited.node.start()
        assert waiting.result().copies == 1
    assert limited.node.submits[-1] == [first.messages[0].id]


@pytest.mark.parametrize("room", [True, False])
def test_a_large_body_waits_for_room_too(place: Place, make_client: MakeClient, room: bool) -> None:
    node, client = place.node(), make_client()
    node.shut = "disk-low: 3 MiB are free"
    large = message(body=bytes(500_000))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.submit, [large], soon(10 if room else 0.6))
        poll_until(lambda: client._outbox._sender.why("2"), 5, "the node has said that it has no room")
        if room:
            node.shut = ""
            assert waiting.result().copies == 2
        else:
            with pytest.raises(DiskLow, match="3 MiB are free"):
                waiting.result()


def test_nothing_of_a_large_body_is_sent_before_there_is_room_for_it(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.room = False
    client = make_client()
    large = message(body=bytes(500_000))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.submit, [large], soon())
        (number,) = poll_until(lambda: node.asked, 5, "it has asked for room")
        node.tell_all(Held(number, FULL))
        poll_until(lambda: client._outbox._held, 5, "it is held")
        assert not node.uploaded
        node.tell_all(Go(number, 1))
        assert waiting.result().copies == 2
    assert [bytes(body) for body in node.uploaded.values()] == [bytes(500_000)]


def test_a_large_body_for_which_no_room_came_was_not_sent(place: Place, make_client: MakeClient) -> None:
    node = place.node()
    node.room = False
    client = make_client()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.submit, [message(body=bytes(500_000))], soon(0.6))
        (number,) = poll_until(lambda: node.asked, 5, "it has asked for room")
        node.tell_all(Held(number, FULL))
        with pytest.raises(QueueFull, match="not accepted"):
            waiting.result()
    assert not node.uploaded
