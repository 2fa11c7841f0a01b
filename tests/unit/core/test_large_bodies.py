"""Large bodies: chunks interleave with everything else, have their copies before their message counts, and go with it."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest

from mesh.core.broker.bodies import LOST as BODY_LOST
from mesh.core.broker.bodies import LOST_AFTER_S, ORPHAN_S
from mesh.core.edge.uploads import WINDOW_BYTES
from mesh.wire.entries import Chunk, Chunks, Message
from mesh.wire.frames import decode_entry
from mesh.wire.messages import CancelUpload, Confirm, Deliver, Fetch, Fetched, Grant, Outcome, Replicate, Submit, Upload, UploadChunk
from tests.unit.core.cluster import Cluster, Node
from tests.unit.core.programs import CHUNK_BYTES, Client

LARGE = bytes(range(256)) * 8192  # 2 MiB: 32 chunks, four windows
BIG = 1 << 24


def mesh(names: str, **settings: int) -> Cluster:
    cluster = Cluster(max_body_bytes=BIG, **settings)
    for name in names:
        cluster.start(name)
    cluster.until(cluster.agreed)
    return cluster


def chunks_on(cluster: Cluster, name: str) -> int:
    blobs = cluster.nodes[name].disk.entries.values()
    return sum(type(decode_entry(blob)) is Chunk for blob in blobs)


def messages_on(cluster: Cluster, name: str) -> int:
    blobs = cluster.nodes[name].disk.entries.values()
    return sum(type(decode_entry(blob)) is Message for blob in blobs)


def in_memory(cluster: Cluster, name: str) -> int:
    journals = cluster[name].replica.journals.values()
    return sum(len(entry.data) for journal in journals for entry in journal.live.values() if type(entry) is Chunk)


def confirmed(client: Client, id: str) -> int:
    return client.copies(client.numbers[id]) if id in client.numbers else 0


@pytest.mark.parametrize("publisher", ["a", "b", "c"])
@pytest.mark.parametrize("consumer", ["a", "b", "c"])
def test_a_large_argument_and_a_large_value_travel_between_any_two_nodes(publisher: str, consumer: str) -> None:
    cluster = mesh("abc")
    client, worker = cluster.client(publisher), cluster.worker(consumer)
    client.submit_large("t", LARGE)
    cluster.until(lambda: "t" in worker.fetched)
    assert worker.fetched["t"] == ""
    assert worker.buffers["t"].body == LARGE
    assert confirmed(client, "t") >= 2
    worker.finish_large("t", LARGE[::-1])
    cluster.until(lambda: "t" in client.fetched)
    assert client.buffers["t"].body == LARGE[::-1]
    cluster.until(lambda: not worker.outbox)
    cluster.run(1.0)
    value = len(LARGE) // CHUNK_BYTES
    leader = cluster.coordinator
    assert chunks_on(cluster, leader) == value, "the argument is gone with its message, the value stays with its result"
    assert all(in_memory(cluster, name) == 0 for name in "abc")


def test_a_message_counts_only_when_all_chunks_of_its_body_have_their_copies() -> None:
    cluster = mesh("ab")
    other = "ab".replace(cluster.coordinator, "")
    client = cluster.client(other)
    cluster.stall_disk(cluster.coordinator)
    client.submit_large("t", LARGE[: 3 * CHUNK_BYTES])
    cluster.calm()
    assert confirmed(client, "t") == 0
    cluster.resume_disk(cluster.coordinator)
    cluster.until(lambda: confirmed(client, "t"))
    assert confirmed(client, "t") == 2
    assert chunks_on(cluster, "a") == chunks_on(cluster, "b") == 3


def test_small_messages_pass_between_the_chunks_of_a_large_body() -> None:
    cluster = mesh("ab")
    other = "ab".replace(cluster.coordinator, "")
    client, small = cluster.client(other), cluster.client(other)
    cluster.stall_disk(cluster.coordinator)
    client.submit_large("large", LARGE)
    cluster.calm()
    entries = [entry for batch in cluster.messages(Replicate, other) for append in batch.appends for entry in append.entries]
    sent = sum(len(entry.data) for entry in entries if type(entry) is Chunk)
    assert 0 < sent <= WINDOW_BYTES, "no more than a window is under way ahead of what comes next"
    number = small.submit("small")
    cluster.resume_disk(cluster.coordinator)
    cluster.until(lambda: small.copies(number) == 2)
    replies = [item.message for item in cluster.sent if item.receiver in (small.name, client.name)]
    order = [type(reply) for reply in replies if isinstance(reply, Confirm | Grant)]
    assert order.index(Confirm) < len(order) - 2, "the small one is confirmed while chunks are still granted"


def test_several_large_bodies_share_one_window_in_turn() -> None:
    cluster = mesh("a")
    clients = [cluster.client("a") for _ in range(3)]
    cluster.stall_disk("a")
    for number, client in enumerate(clients):
        client.submit_large(f"t{number}", LARGE)
    cluster.calm()
    granted = [max((grant.upto for grant in client.got(Grant)), default=0) for client in clients]
    assert sum(granted) * CHUNK_BYTES <= WINDOW_BYTES
    cluster.resume_disk("a")
    cluster.until(lambda: all(confirmed(client, f"t{number}") for number, client in enumerate(clients)))
    confirms = {item.receiver: at for at, item in enumerate(cluster.sent) if isinstance(item.message, Confirm)}
    ends = sorted(confirms[client.name] for client in clients)
    assert ends[-1] - ends[0] < 2 * WINDOW_BYTES // CHUNK_BYTES, "the last ends at most a window after the first, which began earlier"


def test_chunks_of_a_publisher_that_dies_half_way_are_dropped_with_its_session() -> None:
    cluster = mesh("ab")
    client = cluster.client("a")
    cluster.stall_disk("a")
    client.submit_large("t", LARGE)
    cluster.resume_disk("a")
    client.send(Upload(b"?" * 16, len(LARGE), CHUNK_BYTES))
    cluster.calm()
    client.send(UploadChunk(b"?" * 16, 0, LARGE[:CHUNK_BYTES]))
    cluster.until(lambda: confirmed(client, "t"))
    whole = len(LARGE) // CHUNK_BYTES
    assert chunks_on(cluster, "a") == whole + 1
    cluster.turn(cluster.nodes["a"], cluster["a"].on_session_closed, client.session)
    cluster.run(1.0)
    assert chunks_on(cluster, "a") == chunks_on(cluster, "b") == whole


def test_i2_chunks_that_their_writer_settles_between_its_report_and_the_answer_go_everywhere() -> None:
    """The report called them live, and the stream that tells of settlements opens with the Welcome."""
    cluster = mesh("ab")
    client = cluster.client("b")
    client.send(Upload(b"?" * 16, 3 * CHUNK_BYTES, CHUNK_BYTES))
    client.send(UploadChunk(b"?" * 16, 0, bytes(CHUNK_BYTES)))
    cluster.run(1.0)
    assert chunks_on(cluster, "a") == chunks_on(cluster, "b") == 1
    closed: list[float] = []

    def close_the_session(node: Node) -> None:
        if node.name == "b" and cluster["b"].replication.awaits_welcome and not closed:
            closed.append(cluster.now)
            cluster.turn(node, cluster["b"].on_session_closed, client.session)

    cluster.on_turn = close_the_session
    cluster.split("a", "b")
    cluster.run(3.0)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(1.0)
    assert closed
    assert cluster.coordinator == "a"
    assert chunks_on(cluster, "b") == 0
    assert chunks_on(cluster, "a") == 0


def test_a_body_that_is_cancelled_is_dropped_at_once() -> None:
    cluster = mesh("a")
    client = cluster.client("a")
    client.send(Upload(b"?" * 16, 3 * CHUNK_BYTES, CHUNK_BYTES))
    client.send(UploadChunk(b"?" * 16, 0, bytes(CHUNK_BYTES)))
    cluster.calm()
    assert chunks_on(cluster, "a") == 1
    client.send(CancelUpload(b"?" * 16))
    cluster.calm()
    assert chunks_on(cluster, "a") == 0


def test_chunks_of_a_node_that_dies_half_way_are_dropped_after_a_bound() -> None:
    cluster = mesh("ab")
    leader = cluster.coordinator
    other = "ab".replace(leader, "")
    client = cluster.client(other)
    client.send(Upload(b"?" * 16, 3 * CHUNK_BYTES, CHUNK_BYTES))
    client.send(UploadChunk(b"?" * 16, 0, bytes(CHUNK_BYTES)))
    cluster.calm()
    client.silent = True
    cluster.crash(other)
    cluster.run(2.0)
    assert chunks_on(cluster, leader) == 1
    cluster.run(ORPHAN_S + 20)
    assert chunks_on(cluster, leader) == 1, "its message may be on the disk that is away"
    cluster.start(other)
    cluster.until(lambda: chunks_on(cluster, leader) == 0, within_s=20)
    cluster.run(1.0)
    assert chunks_on(cluster, other) == 0


def test_a_takeover_half_way_loses_neither_an_argument_nor_a_value() -> None:
    cluster = mesh("abc")
    leader = cluster.coordinator
    here = next(name for name in "abc" if name != leader)
    client, worker = cluster.client(here), cluster.worker(here)
    cluster.hold(leader, here)
    client.submit_large("t", LARGE)
    cluster.calm()
    assert confirmed(client, "t") == 0
    cluster.held.clear()
    cluster.crash(leader)
    cluster.until(lambda: worker.fetched.get("t") == "", within_s=20)
    assert worker.buffers["t"].body == LARGE
    second = cluster.coordinator
    worker.finish_large("t", LARGE[::-1])
    if second != here:
        cluster.crash(second)
        cluster.start(leader)
    cluster.until(lambda: client.fetched.get("t") == "", within_s=40)
    assert client.buffers["t"].body == LARGE[::-1]


def test_a_task_whose_worker_is_lost_keeps_its_body_for_the_next_one() -> None:
    cluster = mesh("ab")
    client, first = cluster.client("a"), cluster.worker("a", "first")
    client.submit_large("t", LARGE)
    cluster.until(lambda: first.fetched.get("t") == "")
    first.die()
    second = cluster.worker("b", "second")
    cluster.until(lambda: second.fetched.get("t") == "", within_s=20)
    assert second.buffers["t"].body == LARGE


def test_i1_a_body_stays_while_the_message_that_was_written_anew_is_on_a_disk_that_is_away() -> None:
    """Its first writer brings the news of the old entry's end to the other side, and has not the new one."""
    cluster = Cluster("a", max_body_bytes=BIG, copies=1)
    cluster.start("b", never_coordinate=True)
    cluster.start("c")
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "a"
    client = cluster.client("b")
    client.submit_large("t", LARGE)
    cluster.until(lambda: confirmed(client, "t"))
    cluster.run(1.0)
    cluster.split("a", "bc")
    cluster.until(lambda: cluster["b"].election.coordinator == "c", within_s=20)
    first = cluster.worker("c", "first")
    cluster.until(lambda: first.fetched.get("t") == "", within_s=20)
    first.die()
    cluster.until(lambda: not messages_on(cluster, "b"), within_s=20)
    cluster.heal()
    cluster.split("ab", "c")
    cluster.until(lambda: cluster["b"].election.coordinator == "a", within_s=20)
    cluster.run(ORPHAN_S + 20)
    assert messages_on(cluster, "a") == 0
    assert messages_on(cluster, "c") == 1
    cluster.heal()
    cluster.until(cluster.agreed, within_s=20)
    second = cluster.worker("a", "second")
    cluster.until(lambda: second.fetched.get("t") == "", within_s=20)
    assert second.buffers["t"].body == LARGE
    second.finish("t")
    cluster.run(2.0)
    assert [chunks_on(cluster, name) for name in "abc"] == [0, 0, 0]


def test_a_message_whose_chunks_did_not_come_is_not_accepted() -> None:
    cluster = mesh("a")
    client = cluster.client("a")
    client.send(Submit(1, [Message("t", "q", "work", b"", chunks=Chunks(b"?" * 16, 2, 100, 0))]))
    cluster.calm()
    confirm = client.confirm(1)
    assert confirm is not None
    assert confirm.error.startswith("invalid:")
    assert confirm.copies == 0


@pytest.mark.parametrize("size", [BIG + 1, 0])
def test_a_body_beyond_the_limit_is_refused_before_it_is_sent(size: int) -> None:
    cluster = mesh("a")
    client = cluster.client("a")
    client.send(Upload(b"?" * 16, size, CHUNK_BYTES))
    cluster.calm()
    (grant,) = client.got(Grant)
    assert grant.error.startswith("too-large:" if size else "invalid:")
    assert grant.upto == 0


def test_a_lost_chunk_is_said_to_be_lost_only_when_it_can_not_come_any_more() -> None:
    cluster = mesh("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit_large("t", LARGE)
    cluster.until(lambda: worker.fetched.get("t") == "")
    (delivery,) = worker.deliveries
    chunks = delivery.chunks
    assert chunks is not None
    journal, sequence = cluster["a"].bodies.places(chunks.body)[5]
    cluster.turn(cluster.nodes["a"], cluster["a"].replica.settle, journal, sequence)
    cluster.calm()
    client.inbox.clear()
    client.send(Fetch(1, chunks, 5))
    client.send(Fetch(2, Chunks(b"!" * 16, 2, 100, 0, chunks.journal, chunks.last + 1_000), 0))
    cluster.calm()
    (fetched,) = client.got(Fetched)
    assert (fetched.number, fetched.error.partition(":")[0]) == (1, "lost")


def test_i1_a_chunk_that_was_settled_is_not_lost_while_a_member_is_still_to_say_what_became_of_its_task() -> None:
    """Found by a seed: the other side of a split had run the task, and news of the end of its arguments came before that of its result."""
    cluster = mesh("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit_large("t", LARGE)
    cluster.until(lambda: worker.fetched.get("t") == "")
    a = cluster["a"]
    cluster.turn(cluster.nodes["a"], a.replica.settle, *a.bodies.places(worker.deliveries[0].chunks.body)[5])
    with patch.object(type(a.replication), "has_heard_all_here", lambda _: False):
        worker.give_back("t")
        client.send(Fetch(1, worker.deliveries[0].chunks, 5))
        cluster.run(1)
        assert not client.results()
        assert not client.got(Fetched)
    cluster.until(lambda: len(worker.deliveries) == 2)
    worker.give_back("t")
    cluster.until(lambda: "t" in client.results())
    assert client.results()["t"].failure.type_name == BODY_LOST


def test_i1_arguments_of_an_earlier_submission_that_are_lost_do_not_fail_the_task() -> None:
    """Found by a seed: the first submission went with the disk of the coordinator, which had handed it out already."""
    cluster = mesh("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit_large("t", LARGE)
    cluster.until(lambda: worker.fetched.get("t") == "")
    worker.give_back("t")  # what the worker was handed is not what is in the queue by now
    cluster.until(lambda: len(worker.deliveries) == 2)
    journal, sequence = cluster["a"].bodies.places(worker.deliveries[1].chunks.body)[5]
    cluster.turn(cluster.nodes["a"], cluster["a"].replica.settle, journal, sequence)
    worker.give_back("t")
    cluster.until(lambda: "t" in client.results())
    assert client.results()["t"].failure.type_name == BODY_LOST
    assert len(worker.deliveries) == 2, "nobody can run it"


def test_i1_a_new_coordinator_says_that_a_chunk_is_lost_only_when_it_has_waited_for_the_others() -> None:
    """Found by a seed: a node that comes with an empty disk leads a mesh of its own until it hears the others."""
    cluster = mesh("a")
    cluster.run(2 * LOST_AFTER_S)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    client.send(Fetch(1, Chunks(b"!" * 16, 2, 100, 0, b"?" * 16, 7), 0))
    cluster.run(LOST_AFTER_S - 1)
    assert not client.got(Fetched)
    cluster.run(2)
    client.send(Fetch(2, Chunks(b"!" * 16, 2, 100, 0, b"?" * 16, 7), 0))
    cluster.calm()
    (fetched,) = client.got(Fetched)
    assert fetched.error.startswith("lost:")


def test_i1_a_chunk_that_a_relieved_deputy_drops_while_it_reads_it_is_not_lost() -> None:
    cluster = mesh("abc")
    leader = cluster.coordinator
    deputy = cluster[leader].replication.deputies[0]
    client, reader = cluster.client(leader), cluster.client(deputy)
    client.submit_large("t", LARGE[: 3 * CHUNK_BYTES])
    cluster.until(lambda: confirmed(client, "t"))
    cluster.run(0.5)
    node, machine = cluster.nodes[deputy], cluster[deputy]
    entries = (entry for journal in machine.replica.journals.values() for entry in journal.live.values())
    message = next(entry for entry in entries if isinstance(entry, Message))
    assert message.chunks is not None
    fetch = Fetch(1, message.chunks, 0)
    cluster.turn(node, machine.on_session, reader.session, fetch)
    cluster.turn(node, machine.replication.on_release)
    cluster.calm()
    assert not [reply for reply in cluster.messages(Fetched, deputy, reader.name) if reply.error]
    cluster.turn(node, machine.on_session, reader.session, fetch)
    cluster.calm()
    assert cluster.messages(Fetched, deputy, reader.name)[-1].data == LARGE[:CHUNK_BYTES], "the coordinator has it"


def test_a_second_outcome_whose_value_is_dropped_is_taken_off_its_worker_however_often_it_is_said() -> None:
    """Found by a seed: the word that it is kept came too late, and what was said again was taken for a lost run of a task that is over."""
    cluster = mesh("a")
    client, first, second = cluster.client("a"), cluster.worker("a", "first"), cluster.worker("a", "second", tasks=[])
    client.submit("t")
    second.holdings.accept(first.deliveries)
    first.finish("t")
    said: list[Outcome] = []
    cluster.on_turn = lambda node: said.extend(second.outbox.values())
    second.finish_large("t", LARGE)
    cluster.until(lambda: said and not second.outbox)
    cluster.run(1.0)
    assert chunks_on(cluster, "a") == 0
    second.outbox["t"] = said[0]
    second.report()
    cluster.until(lambda: not second.outbox)


def test_chunks_are_settled_a_few_at_a_time() -> None:
    cluster = mesh("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit_large("t", LARGE)
    cluster.until(lambda: worker.fetched.get("t") == "")
    left: list[int] = []
    cluster.on_turn = lambda node: left.append(chunks_on(cluster, "a"))
    worker.finish("t")
    cluster.calm()
    steps = [before - after for before, after in pairwise(left)]
    assert left[-1] == 0
    assert max(steps) == 8
    assert cluster.messages(Deliver)


def test_a_large_value_is_told_without_waiting_for_the_clock() -> None:
    cluster = mesh("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit("t")
    worker.finish_large("t", LARGE)
    cluster.calm()
    assert client.buffers["t"].body == LARGE, "no time has passed"
