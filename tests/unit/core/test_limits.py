"""Queues with limits: who waits, who is let in, what goes, and that nothing accepted is rejected later."""

from __future__ import annotations

import pytest

from mesh.client.bodies import Bytes
from mesh.core.states import Role
from mesh.wire.entries import Chunks, Message, Status
from mesh.wire.messages import Go, Grant, Held, Query, Replicate, Reserve, Reserved, Submit
from tests.unit.core.cluster import Cluster, Node
from tests.unit.core.programs import Client

WAIT_MS = 5_000


def limited(names: str = "a", **settings: object) -> Cluster:
    """A mesh that has come to rest; every queue holds three tasks unless told otherwise."""
    cluster = Cluster(names, **({"max_length": 3} | settings))
    cluster.until(cluster.agreed)
    return cluster


def submit(client: Client, *ids: str, queue: str = "q", body: bytes = b"", deadline_ms: int = WAIT_MS, several: bool = False) -> int:
    """A submit that may wait for room."""
    client.number += 1
    client.send(Submit(client.number, [Message(id, queue, "work", body) for id in ids], deadline_ms, 0, several))
    client.cluster.calm()
    return client.number


def follow(client: Client, go: Go, *ids: str, queue: str = "q", body: bytes = b"") -> int:
    """What a client does when it is let in."""
    client.number += 1
    client.send(Submit(client.number, [Message(id, queue, "work", body) for id in ids], WAIT_MS, go.number))
    client.cluster.calm()
    return client.number


def waiting(cluster: Cluster, queue: str = "q") -> int:
    found = cluster[cluster.coordinator].broker.queues.get(queue) if cluster.coordinator else None
    return found.length if found is not None else 0


def error(client: Client, number: int) -> str:
    confirm = client.confirm(number)
    return confirm.error if confirm is not None else ""


def set_queue(cluster: Cluster, key: str, value: object) -> None:
    client = cluster.client(cluster.coordinator)
    client.send(Query(1, "config-set", f"queue:q:{key}={value}"))
    cluster.calm()


# -- reject-publish --------------------


def inquiry(id: str, size: int) -> Message:
    """What the sender of a large body says first."""
    return Message(id, "q", "work", b"", chunks=Chunks(b"", 1, size, 0))


@pytest.mark.parametrize("home", ["a", "b"])
def test_room_for_a_large_body_is_asked_for_before_it_is_sent(home: str) -> None:
    cluster = limited("ab")
    client = cluster.client(home)
    submit(client, "1", "2", "3")
    client.send(Submit(70, [inquiry("large", 100_000)], 60_000))
    cluster.run(0.2)
    assert [(held.number, held.why[:10]) for held in client.got(Held)] == [(70, "queue-full")]
    worker = cluster.worker("a")
    worker.finish()
    cluster.run(0.5)
    assert [(go.number, go.count) for go in client.got(Go)] == [(70, 1)]
    assert client.confirm(70) is None
    assert "large" not in cluster["a"].broker.records, "nothing of it is here yet"
    body = b"x" * 100_000
    client.sender.add("large", Bytes(body))
    client.move_bodies()
    cluster.run(1.0)
    assert client.got(Grant)
    assert "large" in cluster["a"].broker.records


def test_without_a_limit_there_is_room_at_once() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed, 10.0)
    client = cluster.client("a")
    client.send(Submit(70, [inquiry("large", 100_000)], 60_000))
    cluster.run(0.1)
    assert [(go.number, go.count) for go in client.got(Go)] == [(70, 1)]
    assert not cluster["a"].broker.records


@pytest.mark.parametrize("home", ["a", "b"])
def test_a_queue_takes_as_many_as_its_limit_and_the_next_publisher_is_held(home: str) -> None:
    cluster = limited("ab")
    client = cluster.client(home)
    assert client.copies(submit(client, "1", "2")) == 2
    assert client.copies(submit(client, "3")) == 2
    number = submit(client, "4")
    assert client.confirm(number) is None
    assert [held.number for held in client.got(Held)] == [number]
    assert "max_length = 3" in client.got(Held)[0].why
    assert client.got(Held)[0].why.startswith("queue-full: 3 messages")
    assert waiting(cluster) == 3


@pytest.mark.parametrize("home", ["a", "b"])
def test_who_is_held_is_let_in_when_a_worker_makes_room(home: str) -> None:
    cluster = limited("ab")
    client = cluster.client(home)
    submit(client, "1", "2", "3")
    number = submit(client, "4")
    cluster.worker("a")
    cluster.run(0.1)
    (go,) = client.got(Go)
    assert (go.number, go.count) == (number, 1)
    assert client.copies(follow(client, go, "4")) == 2
    assert waiting(cluster) == 3


def test_what_a_worker_holds_does_not_count() -> None:
    cluster = limited()
    cluster.worker("a", slots=2)
    client = cluster.client("a")
    for number in range(5):
        assert client.copies(submit(client, str(number))) == 1
    assert client.copies(submit(client, "6")) == 0


def test_a_task_that_is_delayed_counts() -> None:
    cluster = limited()
    client = cluster.client("a")
    for number in range(3):
        client.submit(str(number), eta_ms=cluster["a"].wall_ms + 60_000)
    assert client.copies(submit(client, "4")) == 0


@pytest.mark.parametrize("home", ["a", "b"])
def test_at_its_deadline_the_publisher_is_told_which_limit_and_which_setting(home: str) -> None:
    cluster = limited("ab")
    client = cluster.client(home)
    submit(client, "1", "2", "3")
    number = submit(client, "4", deadline_ms=1000)
    cluster.run(0.9)
    assert client.confirm(number) is None
    cluster.run(0.2)
    assert client.copies(number) == 0
    assert error(client, number).startswith("queue-full: 3 messages of 0 bytes wait in the queue 'q'; its limit is max_length = 3")
    assert "mesh queue set q" in error(client, number)
    cluster.worker("a", slots=4)
    cluster.run(1)
    assert client.got(Go) == []  # the place in line went with the deadline
    assert cluster["a"].broker.admission.waiting("q") == 0


def test_a_submit_that_does_not_wait_is_refused_at_once() -> None:
    cluster = limited()
    client = cluster.client("a")
    submit(client, "1", "2", "3")
    assert error(client, submit(client, "4", deadline_ms=0)).startswith("queue-full:")


def test_those_in_line_are_let_in_in_the_order_in_which_they_came() -> None:
    cluster = limited("abc")
    filler, clients = cluster.client("a"), [cluster.client(home, f"p{index}") for index, home in enumerate("bcabca")]
    submit(filler, "1", "2", "3")
    for client in clients:
        submit(client, f"of-{client.name}")
    worker = cluster.worker("a")
    order: list[str] = []
    for _ in range(len(clients)):
        cluster.run(0.1)
        for client in clients:
            for go in client.got(Go):
                if client.name not in order:
                    order.append(client.name)
                    follow(client, go, f"of-{client.name}")
        worker.finish()
    assert order == [client.name for client in clients]


def test_a_newcomer_does_not_overtake_the_line() -> None:
    cluster = limited()
    client = cluster.client("a")
    submit(client, "1", "2", "3")
    submit(client, "4")
    submit(client, "5")
    worker = cluster.worker("a")
    assert [go.number for go in client.got(Go)] == [2]
    assert client.copies(submit(client, "6")) == 0
    worker.finish()
    cluster.run(0.1)
    assert [go.number for go in client.got(Go)] == [2, 3]


def test_a_batch_that_is_longer_than_the_room_is_let_in_part_by_part() -> None:
    cluster = limited()
    client = cluster.client("a")
    submit(client, "1")
    submit(client, "2", "3", "4", "5")
    (go,) = client.got(Go)
    assert go.count == 2
    assert client.copies(follow(client, go, "2", "3")) == 1
    assert client.copies(submit(client, "4", "5")) == 0
    assert waiting(cluster) == 3


def test_the_messages_of_several_callers_are_sent_apart_so_that_one_does_not_wait_for_the_others() -> None:
    cluster = limited()
    client = cluster.client("a")
    assert client.copies(submit(client, "1", "2", several=True)) == 1
    assert error(client, submit(client, "3", "4", several=True)).startswith("apart:")
    assert waiting(cluster) == 2
    assert client.copies(submit(client, "3")) == 1  # nothing stays reserved


def test_a_full_queue_holds_up_no_other_queue() -> None:
    cluster = limited()
    client = cluster.client("a")
    submit(client, "1", "2", "3")
    assert client.copies(submit(client, "4")) == 0
    assert client.copies(submit(client, "5", queue="other")) == 1


def test_max_bytes_counts_the_bodies_of_what_waits() -> None:
    cluster = limited(max_length=0, max_bytes=1000)
    client = cluster.client("a")
    assert client.copies(submit(client, "1", body=bytes(600))) == 1
    assert client.copies(submit(client, "2", body=bytes(401))) == 0
    assert "600 bytes wait" in client.got(Held)[0].why
    cluster.worker("a")
    cluster.run(0.1)
    assert [go.number for go in client.got(Go)] == [2]


def test_a_body_that_never_fits_is_refused_at_once() -> None:
    cluster = limited(max_length=0, max_bytes=1000)
    client = cluster.client("a")
    assert error(client, submit(client, "1", body=bytes(1001))).startswith("queue-full: a body of 1001 bytes")


def test_a_limit_of_one_queue_is_set_while_the_mesh_runs_and_lifting_it_lets_all_in() -> None:
    cluster = limited("ab", max_length=0)
    client = cluster.client("b")
    submit(client, "1", "2")
    set_queue(cluster, "max_length", 2)
    cluster.run(0.2)
    assert client.copies(submit(client, "3")) == 0
    assert client.copies(submit(client, "4", queue="other")) == 2
    set_queue(cluster, "max_length", "")
    cluster.run(0.2)
    assert len(client.got(Go)) == 1


def test_what_was_let_in_and_does_not_come_makes_room_again() -> None:
    cluster = limited("ab")
    gone, other = cluster.client("b"), cluster.client("b")
    submit(gone, "1", "2", "3")
    submit(gone, "4")
    submit(other, "5", deadline_ms=60_000)
    cluster.worker("a")
    cluster.run(0.1)
    assert len(gone.got(Go)) == 1
    assert other.got(Go) == []
    cluster.run(2.1)
    assert len(other.got(Go)) == 1


def test_a_program_that_leaves_gives_up_its_place_in_line() -> None:
    cluster = limited("ab")
    gone, other = cluster.client("b"), cluster.client("b")
    submit(gone, "1", "2", "3")
    submit(gone, "4")
    submit(other, "5")
    gone.silent = True
    cluster.turn(cluster.nodes["b"], cluster["b"].on_session_closed, gone.session)
    cluster.calm()
    assert cluster["a"].broker.admission.waiting("q") == 1
    cluster.worker("a")
    cluster.run(0.1)
    assert len(other.got(Go)) == 1


def test_without_a_coordinator_a_publisher_to_a_limited_queue_is_told_why_it_waits() -> None:
    cluster = limited("a")
    cluster.start("c", never_coordinate=True)
    cluster.until(cluster.agreed)
    client = cluster.client("c")
    cluster.crash("a", vanish=True)
    number = submit(client, "1", deadline_ms=100)
    cluster.run(0.2)
    assert "the coordinator has not said" in error(client, number)
    cluster.run(1)
    number = submit(client, "1", deadline_ms=100)
    assert "no coordinator" in client.got(Held)[0].why
    cluster.run(0.2)
    assert error(client, number) == client.got(Held)[0].why


def test_a_new_coordinator_enforces_the_same_limit_and_knows_who_waits() -> None:
    cluster = limited("abc")
    client = cluster.client("c")
    submit(client, "1", "2", "3")
    submit(client, "4", deadline_ms=30_000)
    cluster.crash(cluster.coordinator)
    cluster.until(lambda: cluster.coordinator and cluster[cluster.coordinator].broker.active)
    cluster.run(0.5)
    assert client.copies(submit(client, "5")) == 0
    assert cluster[cluster.coordinator].broker.admission.waiting("q") == 2
    assert client.got(Go) == []
    cluster.worker("c", slots=2)
    cluster.run(0.5)
    assert [go.number for go in client.got(Go)] == [2, 3]


def test_room_that_was_asked_for_before_the_reign_began_is_given_back_once_it_is_used() -> None:
    cluster = limited("abc")
    cluster.crash(cluster.coordinator)
    found: list[str] = []

    def on_turn(node: Node) -> None:
        """Its reign can't begin before the other has reported."""
        if node.machine.election.role == Role.RECONCILING and not found:
            found.append(node.name)
            cluster.hold("c" if node.name == "b" else "b", node.name)

    cluster.on_turn = on_turn
    cluster.until(lambda: found, 5.0)
    (home,) = found
    client = cluster.client(home)
    client.number += 1
    client.send(Submit(client.number, [Message("t1", "q", "work", b"")], WAIT_MS))
    cluster.run(0.1)
    assert cluster[home].election.role == Role.RECONCILING
    cluster.release("c" if home == "b" else "b", home)
    cluster.run(1)
    assert waiting(cluster) == 1
    numbers = [submit(client, id) for id in ("t2", "t3")]
    cluster.run(1)
    assert [client.confirm(number) is not None for number in numbers] == [True, True]
    assert waiting(cluster) == 3


def test_a_lost_answer_is_made_good_as_the_node_asks_again() -> None:
    cluster = limited("ab")
    client = cluster.client("b")
    cluster.drop_next("a", "b", Reserved)
    number = submit(client, "1", deadline_ms=20_000)
    assert client.copies(number) == 0
    cluster.run(3)
    assert client.copies(number) == 2 or client.got(Go)


def test_what_is_accepted_is_never_rejected_also_when_the_limit_falls() -> None:
    cluster = limited("ab")
    client = cluster.client("b")
    submit(client, "1", "2", "3")
    set_queue(cluster, "max_length", 1)
    cluster.run(1)
    assert waiting(cluster) == 3
    worker = cluster.worker("a", slots=3)
    cluster.run(0.1)
    worker.finish()
    assert client.results().keys() == {"1", "2", "3"}


def test_the_length_is_exact_when_many_nodes_publish_at_once() -> None:
    cluster = limited("abc", max_length=10)
    clients = [cluster.client(home) for home in "abc"]
    for round_ in range(6):
        for client in clients:
            client.number += 1
            client.send(Submit(client.number, [Message(f"{client.name}-{round_}", "q", "work", b"")], WAIT_MS))
    cluster.calm()
    assert waiting(cluster) == 10
    cluster.run(1)
    assert waiting(cluster) == 10


def test_room_is_given_back_only_after_the_messages_that_it_was_for_have_left() -> None:
    cluster = limited("ab")
    submit(cluster.client("b"), "1")
    sent = [item.message for item in cluster.sent if (item.sender, item.receiver) == ("b", "a")]
    left = next(index for index, message in enumerate(sent) if isinstance(message, Replicate) and message.appends)
    (spent,) = (index for index, message in enumerate(sent) if isinstance(message, Reserve) and not message.wants)
    assert left < spent


# -- drop-head and dead-letter --------------------


@pytest.mark.parametrize("overflow", ["drop-head", "dead-letter"])
def test_a_queue_that_makes_room_by_itself_ends_its_oldest_task_with_task_dropped(overflow: str) -> None:
    cluster = limited("ab", overflow=overflow)
    client = cluster.client("b")
    for number in range(5):
        assert client.copies(submit(client, str(number))) == 2
    cluster.calm()
    assert waiting(cluster) == 3
    assert client.results().keys() == {"0", "1"}
    failure = client.results()["0"].failure
    assert failure is not None
    assert failure.type_name == "mesh.errors.TaskDropped"
    assert "max_length = 3" in failure.message
    assert client.results()["0"].status == Status.FAILURE
    broker = cluster["a"].broker
    assert broker.overflow.dropped == {"q": 2}
    assert [letter.message.id for letter in broker.dead_letters.of_queue("q")] == (["0", "1"] if overflow == "dead-letter" else [])
    assert sum("over its limit" in line for line in cluster["a"].news) == 1


def test_what_a_free_worker_can_take_is_not_dropped() -> None:
    cluster = limited(max_length=1, overflow="drop-head")
    cluster.worker("a", slots=3)
    client = cluster.client("a")
    submit(client, "1", "2", "3", "4")
    assert waiting(cluster) == 1
    assert client.results() == {}


def test_without_ready_tasks_the_oldest_delayed_one_goes() -> None:
    cluster = limited(overflow="drop-head")
    client = cluster.client("a")
    for number in range(5):
        client.submit(str(number), eta_ms=cluster["a"].wall_ms + 60_000 - number)
    assert client.results().keys() == {"0", "1"}
    assert waiting(cluster) == 3


def test_max_bytes_drops_as_many_as_are_too_much() -> None:
    cluster = limited(max_length=0, max_bytes=1000, overflow="drop-head")
    client = cluster.client("a")
    for number in range(4):
        submit(client, str(number), body=bytes(400))
    assert client.results().keys() == {"0", "1"}


def test_a_new_coordinator_drops_what_is_too_much() -> None:
    cluster = limited("abc", max_length=0)
    client = cluster.client("c")
    submit(client, "1", "2", "3", "4")
    set_queue(cluster, "overflow", "drop-head")
    cluster.crash("a")
    cluster.until(lambda: cluster.coordinator)
    set_queue(cluster, "max_length", 2)
    cluster.run(0.5)
    assert client.results().keys() == {"1", "2"}
    assert waiting(cluster) == 2


def test_a_coordinator_without_authority_drops_nothing() -> None:
    cluster = limited("abc", max_length=2, overflow="drop-head", takeover_patience_s=30)
    client = cluster.client("c")
    cluster.split("ab", "c")
    cluster.until(lambda: cluster["c"].broker.active, 10)
    submit(client, "1", "2", "3", "4", deadline_ms=0)
    cluster.run(2)
    assert cluster["c"].broker.queues["q"].length == 4
    assert client.results() == {}
    cluster.heal()
    cluster.until(lambda: waiting(cluster) == 2)


def test_bookkeeping_ends_at_nothing() -> None:
    cluster = limited("ab")
    client = cluster.client("b")
    submit(client, "1", "2", "3")
    submit(client, "4", deadline_ms=300)
    submit(client, "5")
    worker = cluster.worker("a", slots=2)
    cluster.run(0.2)
    for go in client.got(Go):
        follow(client, go, str(go.number + 2))
    cluster.run(3)
    while worker.held:
        worker.finish()
        cluster.run(0.1)
    cluster.run(3)
    for name in "ab":
        gate = cluster[name].edge.gate
        assert (len(gate), gate.unconfirmed_bytes, gate._coming_bytes, gate._let_in) == (0, 0, 0, {})
    admission = cluster["a"].broker.admission
    assert (admission._granted, admission._reserved, admission._places) == ({}, {}, {})
