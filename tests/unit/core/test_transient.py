"""What is kept in memory only (decision 113): transient messages, temporary queues and exchanges, and what binds them."""

from __future__ import annotations

import pytest

from mesh.core.broker.bodies import ORPHAN_S
from mesh.core.cluster.scopes import fleeting_name, is_transient
from mesh.wire import frames
from mesh.wire.entries import Chunk, DeadLetter, Entry, Message, Result
from mesh.wire.messages import Confirm, Go, Held, Submit
from mesh.wire.topology import Binding, Exchange, Properties, QueueDeclaration
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, exchange, held, publish, queue, rows, three
from tests.unit.core.programs import Client

BODY = b"only in memory"


def written(cluster: Cluster) -> list[Entry]:
    """What the disks hold."""
    return [frames.decode_entry(blob) for node in cluster.nodes.values() for blob in node.disk.entries.values()]


def assert_nothing_is_on_a_disk(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        assert not [blob for blob in node.disk.entries.values() if BODY in blob]
        assert not [head for head in node.disk.heads.values() if head.scope > 1], "nor a line of the context, which would call it settled"
    assert not [entry for entry in written(cluster) if isinstance(entry, Message) and is_transient(entry)]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("a")


@pytest.fixture
def client(cluster: Cluster) -> Client:
    return cluster.client("a")


# -- never on a disk --------------------


def test_a_transient_message_is_confirmed_without_a_copy_although_the_disk_stands_still(cluster: Cluster, client: Client) -> None:
    cluster.run(0.5)
    cluster.stall_disk("a")
    client.submit("durable")
    confirm = publish(client, "t1", queue="q", transient=True, body=BODY)
    assert (confirm.copies, confirm.error) == (0, "")
    assert client.copies(1) == 0, "the other one waits for the disk"
    consumer = cluster.consumer("a", queues=["q"])
    assert list(consumer.held) == ["t1"]
    cluster.resume_disk("a")
    consumer.ack()
    cluster.run(0.2)
    assert not consumer.outbox
    assert_nothing_is_on_a_disk(cluster)


def test_a_transient_message_goes_to_no_disk_of_three_and_is_held_by_coordinator_deputy_and_writer() -> None:
    cluster = three()
    client = cluster.client("c")
    publish(client, "t1", queue="q", transient=True, body=BODY)
    cluster.run(0.5)
    assert all("message:t1" in cluster.nodes[name].live() for name in "abc")
    assert_nothing_is_on_a_disk(cluster)
    consumer = cluster.consumer("b", queues=["q"])
    consumer.ack()
    cluster.run(1.0)
    assert not any("message:t1" in cluster.nodes[name].live() for name in "abc")
    assert_nothing_is_on_a_disk(cluster)


def test_a_persistent_message_in_a_temporary_queue_is_transient_and_a_transient_one_in_a_durable_queue_too(
    cluster: Cluster, client: Client
) -> None:
    rows(client.change(queue("tmp", durable=False), queue("kept")))
    assert publish(client, "t1", queue="tmp", body=BODY).copies == 0
    assert publish(client, "t2", queue="kept", body=BODY, transient=True).copies == 0
    assert publish(client, "t3", queue="kept").copies == 1
    assert_nothing_is_on_a_disk(cluster)
    assert cluster.nodes["a"].on_disk() == {"message:t3"}
    cluster.crash("a")
    cluster.start("a")
    cluster.run(3.0)
    assert held(cluster, "a") == {"t3": "kept"}
    assert list(cluster["a"].topology.queues) == ["kept"]


def test_one_message_for_a_durable_and_a_temporary_queue_is_confirmed_with_the_copies_of_the_durable_one(
    cluster: Cluster, client: Client
) -> None:
    rows(client.change(exchange("x", "fanout"), queue("tmp", durable=False), queue("kept"), bind("x", "kept"), bind("x", "tmp")))
    assert publish(client, "t1", exchange="x", task="").copies == 1
    assert sorted(held(cluster, "a").values()) == ["kept", "tmp"]
    on_disk = [entry for entry in written(cluster) if isinstance(entry, Message)]
    assert [(entry.queue, is_transient(entry)) for entry in on_disk] == [("kept", False)]


def test_what_is_written_anew_of_a_transient_message_is_transient(cluster: Cluster, client: Client) -> None:
    worker = cluster.worker("a")
    publish(client, "lost", queue="q", task="work", transient=True, body=BODY)
    worker.lose("lost")
    cluster.run(0.2)
    assert cluster["a"].broker.records["lost"].message.attempts == 1
    rows(client.change(exchange("dlx"), queue("dead"), queue("q2", dead_letter_exchange="dlx"), bind("dlx", "dead", "q2")))
    publish(client, "dead", queue="q2", transient=True, body=BODY)
    consumer = cluster.consumer("a", queues=["q2"])
    consumer.reject("dead")
    cluster.run(0.2)
    assert held(cluster, "a")["dead"] == "dead"
    assert_nothing_is_on_a_disk(cluster)


def test_a_dead_letter_and_a_result_of_a_transient_task_are_in_memory_only(cluster: Cluster, client: Client) -> None:
    worker = cluster.worker("a", slots=2)
    publish(client, "t1", queue="q", task="work", transient=True, body=BODY)
    worker.finish("t1", body=BODY)
    cluster.run(0.2)
    assert client.results()["t1"].body == BODY
    assert not worker.outbox
    publish(client, "t2", queue="q", task="work", transient=True, body=BODY)
    for _ in range(cluster.settings.max_deliveries):
        worker.lose("t2")
    cluster.run(0.2)
    assert client.results()["t2"].failure is not None
    assert not [entry for entry in written(cluster) if isinstance(entry, Result | DeadLetter)]
    assert_nothing_is_on_a_disk(cluster)


# -- temporary topology --------------------


def test_what_binds_to_something_temporary_is_temporary_whatever_the_other_end_is(cluster: Cluster, client: Client) -> None:
    rows(
        client.change(
            exchange("x"),
            exchange("xt", durable=False),
            queue("kept"),
            queue("tmp", durable=False),
            *(bind(source, name, "k") for source in ("x", "xt") for name in ("kept", "tmp")),
            bind("xt", "x", "k", kind="exchange"),
        )
    )
    cluster.run(0.2)
    found = [entry for entry in written(cluster) if isinstance(entry, Binding | Exchange | QueueDeclaration)]
    bindings = [(entry.source, entry.destination) for entry in found if isinstance(entry, Binding)]
    assert bindings == [("x", "kept")]
    assert [entry.name for entry in found if not isinstance(entry, Binding)] == ["x", "kept"]
    cluster.crash("a")
    cluster.start("a")
    cluster.run(3.0)
    topology = cluster["a"].topology
    assert (list(topology.queues), topology.exchange("xt")) == (["kept"], None)
    assert [(binding.source, binding.destination) for binding in topology.routing.bindings.values()] == [("x", "kept")]


def test_a_temporary_queue_is_known_to_every_node_and_a_restarted_one_gets_it_back_with_what_it_held() -> None:
    cluster = three()
    client = cluster.client("c")
    rows(client.change(exchange("x", durable=False), queue("tmp", durable=False), bind("x", "tmp", "k")))
    publish(client, "t1", exchange="x", key="k", task="", body=BODY)
    cluster.run(0.5)
    cluster.crash("c")
    cluster.start("c")
    cluster.until(cluster.agreed, 10.0)
    cluster.run(1.0)
    assert all(cluster[name].topology.queue("tmp") is not None for name in "abc")
    assert publish(cluster.client("c"), "t2", exchange="x", key="k", task="").copies == 0
    cluster.run(0.5)
    assert held(cluster, cluster.coordinator) == {"t1": "tmp", "t2": "tmp"}
    assert_nothing_is_on_a_disk(cluster)


# -- who dies --------------------


def test_a_takeover_keeps_what_is_transient_and_the_death_of_all_does_not() -> None:
    cluster = three()
    leader = cluster.coordinator
    client = cluster.client(leader)
    rows(client.change(queue("tmp", durable=False), queue("kept")))
    publish(client, "t1", queue="tmp", body=BODY)
    publish(client, "t2", queue="kept", body=BODY, transient=True)
    publish(client, "t3", queue="kept")
    cluster.run(0.5)
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator not in ("", leader), 15.0)
    cluster.run(1.0)
    assert held(cluster, cluster.coordinator) == {"t1": "tmp", "t2": "kept", "t3": "kept"}
    assert_nothing_is_on_a_disk(cluster)
    for name in [node.name for node in cluster.running()]:
        cluster.crash(name, vanish=True)
    cluster.start("a", "b", "c")
    cluster.until(cluster.agreed, 15.0)
    cluster.run(1.0)
    assert held(cluster, cluster.coordinator) == {"t3": "kept"}
    assert list(cluster[cluster.coordinator].topology.queues) == ["kept"]


def test_nodes_that_are_restarted_one_after_the_other_lose_nothing_and_bring_nothing_back() -> None:
    cluster = three()
    client = cluster.client("a")
    publish(client, "t1", "t2", queue="q", transient=True, body=BODY)
    cluster.run(0.5)
    consumer = cluster.consumer("b", queues=["q"])
    consumer.ack("t1")
    consumer.detach()
    cluster.run(1.0)
    for name in "abc":
        cluster.crash(name)
        cluster.until(lambda: cluster.coordinator != "", 15.0)
        cluster.start(name)
        cluster.until(cluster.agreed, 15.0)
        cluster.run(1.0)
    assert held(cluster, cluster.coordinator) == {"t2": "q"}
    assert_nothing_is_on_a_disk(cluster)


def test_r18b_who_is_relieved_drops_what_it_held_for_others_in_memory_too() -> None:
    cluster = three()
    (deputy,) = cluster[cluster.coordinator].replication.deputies
    client = cluster.client(cluster.coordinator)
    publish(client, "t1", queue="q", transient=True, body=BODY)
    cluster.run(0.5)
    cluster.turn(cluster.nodes[deputy], cluster[deputy].replica.drop_foreign)
    assert "message:t1" not in cluster.nodes[deputy].live()
    assert {journal.owner for journal in cluster[deputy].replica.journals.values() if not journal.shared} == {deputy}


def test_r19_journals_in_memory_of_former_processes_are_pruned_too() -> None:
    cluster = three()
    client = cluster.client("c")
    publish(client, "t1", queue="q", transient=True)
    cluster.run(0.5)
    gone = fleeting_name(cluster["c"].me.bulk_journal)
    consumer = cluster.consumer("a", queues=["q"])
    consumer.ack("t1")
    cluster.run(0.5)
    cluster.crash("c")
    cluster.start("c")
    cluster.until(cluster.agreed, 15.0)
    assert gone in cluster[cluster.coordinator].replica.journals
    cluster.run(30.0)
    assert not [name for name in "abc" if gone in cluster[name].replica.journals]


# -- how much --------------------


def test_transient_messages_beyond_the_limit_wait_for_room_and_durable_ones_do_not_wait_behind_them() -> None:
    cluster = Cluster("a", max_transient_bytes=1 << 16)
    client = cluster.client("a")
    size = 10_000
    numbers = [client.publish(f"t{number}", queue="q", transient=True, body=bytes(size)) for number in range(6)]
    assert all(client.confirm(number) is not None for number in numbers)
    late = cluster.client("a")
    answer = publish(late, "t6", queue="q", transient=True, body=bytes(size))
    assert answer.error.startswith("busy: 64800 bytes of transient messages are in memory")
    waiting = late.number = late.number + 1
    late.send(Submit(waiting, [Message("t7", "q", "", bytes(size), properties=Properties(transient=True))], deadline_ms=60_000))
    cluster.calm()
    assert [held.number for held in late.got(Held)] == [waiting]
    assert publish(late, "d1", queue="q", body=bytes(size)).copies == 1
    consumer = cluster.consumer("a", queues=["q"])
    consumer.ack("t0")
    cluster.run(0.1)
    assert [go.number for go in late.got(Go)] == [waiting]


def test_memory_is_counted_back_when_transient_messages_are_settled(cluster: Cluster, client: Client) -> None:
    pages = cluster["a"].replica.pages
    publish(client, "t1", "t2", queue="q", transient=True, body=BODY)
    assert (pages.fleeting_bytes, pages.resident_bytes) == (2 * (800 + len(BODY)), 0)
    cluster.consumer("a", queues=["q"], prefetch=2).ack()
    assert (pages.fleeting_bytes, pages.resident_bytes) == (0, 0)


def test_transient_messages_stay_in_memory_while_those_beside_them_are_paged_out() -> None:
    cluster = Cluster("a", window_bytes=4000)
    client = cluster.client("a")
    for number in range(30):
        publish(client, f"t{number:02}", queue="q", transient=number % 3 == 0, body=BODY)
    cluster.run(0.5)
    assert sum(len(journal.paged) for journal in cluster["a"].replica.journals.values()) > 10
    consumer = cluster.consumer("a", queues=["q"], prefetch=1)
    order: list[str] = []
    while consumer.held:
        order += consumer.held
        consumer.ack()
        cluster.run(0.1)
    ids = [f"t{number:02}" for number in range(30)]
    assert sorted(order) == ids
    for kind in (ids[::3], [id for id in ids if id not in ids[::3]]):
        assert [id for id in order if id in kind] == kind, "those of a kind do not pass each other, see lanes.RUN_SPAN"


def test_a_confirm_of_nothing_transient_is_as_before(cluster: Cluster, client: Client) -> None:
    number = client.submit("t1", "t2")
    assert client.got(Confirm)[-1] == Confirm(number, 1, "", client.got(Confirm)[-1].warnings)


@pytest.mark.parametrize("leaves", ["member", "coordinator"])
def test_who_leaves_politely_takes_nothing_transient_along(leaves: str) -> None:
    cluster = three()
    leader = cluster.coordinator
    (deputy,) = cluster[leader].replication.deputies
    (member,) = set("abc") - {leader, deputy}
    name = member if leaves == "member" else leader
    client = cluster.client(name)
    client.number += 1
    client.send(Submit(client.number, [Message("t1", "q", "", BODY, properties=Properties(transient=True))]))
    cluster.until(lambda: client.confirm(client.number))
    cluster.leave(name)
    cluster.until(lambda: cluster.coordinator not in ("", *([name] if leaves == "coordinator" else [])), 15.0)
    cluster.run(1.0)
    assert held(cluster, cluster.coordinator) == {"t1": "q"}
    assert_nothing_is_on_a_disk(cluster)


def test_large_bodies_of_transient_messages_pass_over_the_disk_and_their_messages_do_not() -> None:
    cluster = Cluster("a", max_body_bytes=1 << 20)
    client = cluster.client("a")
    rows(client.change(queue("q", durable=False)))
    client.submit_large("t1", bytes(200_000))
    cluster.run(0.5)
    worker = cluster.worker("a")
    cluster.run(0.5)
    assert list(worker.held) == ["t1"]
    assert not [entry for entry in written(cluster) if isinstance(entry, Message)]
    assert [entry for entry in written(cluster) if isinstance(entry, Chunk)]
    cluster.crash("a")
    cluster.start("a")
    cluster.run(ORPHAN_S + 20)
    assert not [entry for entry in written(cluster) if isinstance(entry, Chunk)], "nothing refers to them any more"
