"""Copies: how many a confirm counts, when a settlement is passed on, and who holds what (R6, R7, R15, R18b)."""

from __future__ import annotations

import pytest

from mesh.wire.entries import Message, Result, Scope, Status
from mesh.wire.messages import Confirm, OutcomesKept, Release, Replicate, Replicated, Report, Submit
from tests.unit.core.cluster import Cluster


@pytest.fixture
def three() -> Cluster:
    """a coordinates, b is its deputy, c is a member."""
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    assert (cluster.coordinator, cluster["a"].replication.deputies) == ("a", ["b"])
    return cluster


def settlements(cluster: Cluster, receiver: str) -> list[Replicate]:
    """Batches to a node that settle messages or results."""
    batches = cluster.messages(Replicate, receiver=receiver)
    return [batch for batch in batches if any(not dots.journal.rstrip(b"\0").endswith(b"s") for dots in batch.settled)]


# -- confirms --------------------


def test_r6_one_node_alone_confirms_with_one_copy_at_once() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    assert client.copies(client.submit("t1")) == 1


@pytest.mark.parametrize("node", ["a", "b", "c"])
def test_r6_two_disks_hold_what_is_confirmed_whoever_accepts_it(three: Cluster, node: str) -> None:
    client = three.client(node)
    assert client.copies(client.submit("t1")) == 2
    assert sum("message:t1" in other.on_disk() for other in three.running()) >= 2


def test_r6_copies_are_a_target_over_admitted_members() -> None:
    cluster = Cluster("a", copies=3)
    cluster.start("b", "c", "d")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    assert client.copies(client.submit("t1")) == 3


def test_r6_with_fewer_disks_reachable_a_confirm_says_after_a_second_how_many_there_are(three: Cluster) -> None:
    client = three.client("a")
    three.split("a", "b", "c")
    three.run(1.1)
    number = client.submit("t1")
    assert client.copies(number) == 0
    assert 0.8 <= three.until(lambda: client.copies(number), 2.0) <= 1.1
    assert client.copies(number) == 1
    assert three["a"].replication.under_replicated() == 1


def test_r6_under_replicated_entries_are_copied_when_a_peer_appears(three: Cluster) -> None:
    client = three.client("a")
    three.split("a", "b", "c")
    three.run(2)
    client.submit("t1")
    three.run(1.5)
    three.heal()
    three.until(three.agreed)
    three.run(0.5)
    assert three[three.coordinator].replication.under_replicated() == 0
    assert sum("message:t1" in node.on_disk() for node in three.running()) >= 2


def test_i4_an_acknowledgement_to_a_former_process_does_not_fit_the_streams_of_the_next_one(three: Cluster) -> None:
    """Found by a seed: it waited for a deputy, and named more batches and more copies than the new process had sent and got."""
    three.crash("c")
    three.start("c")
    three.until(three.agreed)
    numbers = [report.number for report in three.messages(Report, "c")]
    assert len(numbers) > 1
    assert len(set(numbers)) == len(numbers)


def test_i12_a_lease_goes_with_the_result_where_its_message_is_not_known(three: Cluster) -> None:
    replica, replication = three["b"].replica, three["b"].replication
    replication.leases.soft["t1"] = ("w", "a")
    replica.write(Result("t1", Status.SUCCESS))
    assert not replication.leases.soft


def test_i12_a_lease_that_ends_elsewhere_ends_at_a_deputy_that_had_settled_the_message_before(three: Cluster) -> None:
    """Found by a seed: a coordinator with a fresh disk was told of the message by its writer, and of the settlement by its deputy."""
    worker = three.worker("a")
    three.client("a").submit("t1")
    assert worker.held
    (deputy,) = three["a"].replication.deputies
    journal, sequence = next((j, s) for j in three["a"].replica.journals.values() for s, e in j.live.items() if isinstance(e, Message))
    del three[deputy].replica.journals[journal.name].live[sequence]
    assert three[deputy].replication.leases.soft
    three.turn(three.nodes["a"], three["a"].replica.settle, journal, sequence)
    three.calm()
    assert not three[deputy].replication.leases.soft


def test_r6_members_that_left_politely_do_not_count() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    cluster.leave("b")
    cluster.run(0.3)
    began = cluster.now
    number = client.submit("t1")
    assert client.copies(number) == 1
    assert cluster.now == began


def test_r7_a_confirm_waits_for_the_own_fsync(three: Cluster) -> None:
    client = three.client("c")
    three.stall_disk("c")
    number = client.submit("t1")
    assert "message:t1" in three.nodes["a"].on_disk()
    assert client.copies(number) == 0
    three.resume_disk("c")
    assert client.copies(number) == 2


def test_r7_a_copy_counts_only_after_its_fsync(three: Cluster) -> None:
    client = three.client("c")
    three.stall_disk("a")
    before = len(three.messages(Replicated, "a", "c"))
    number = client.submit("t1")
    assert "message:t1" in three.nodes["a"].live(), "it has come"
    assert client.copies(number) == 0
    assert len(three.messages(Replicated, "a", "c")) == before
    three.resume_disk("a")
    assert client.copies(number) == 2


def test_r15_a_slow_follower_does_not_slow_confirms() -> None:
    """A deputy whose disk hangs costs a second once, not a second for each message."""
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    cluster.stall_disk("b")
    first = client.submit("t1")
    assert cluster.until(lambda: client.copies(first), 3.0) <= 2.2
    later = client.submit("t2")
    assert client.copies(later) == 1


def test_r6_a_deputy_whose_own_disk_was_slow_gets_its_confirms_in_the_end() -> None:
    """The coordinator acknowledged with its own disk alone, as neither deputy's answered."""
    cluster = Cluster("a", copies=3)
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    client = cluster.client("b")
    client.submit("t1")
    cluster.crash("c", vanish=True)
    cluster.stall_disk("b")
    cluster.client("a").submit("t2")
    number = client.submit("t3")
    cluster.run(3)
    assert client.copies(number) == 0
    cluster.resume_disk("b")
    cluster.run(1)
    assert client.copies(number) == 2


def test_i4_a_confirm_never_counts_a_disk_that_does_not_hold_it(three: Cluster) -> None:
    """Every disk stalls in turn while messages come: whatever is confirmed at that instant is there."""
    client = three.client("c")
    for round, stalled in enumerate("abcabc"):
        three.stall_disk(stalled)
        ids = [f"t{round}{index}" for index in range(3)]
        numbers = {client.submit(id): id for id in ids}
        for number, id in numbers.items():
            found = sum(f"message:{id}" in node.on_disk() for node in three.running())
            assert found >= client.copies(number)
        three.resume_disk(stalled)
    assert len(client.got(Confirm)) == 18


# -- settlements --------------------


def test_r7_a_settlement_reaches_the_writer_only_when_its_transaction_has_copies(three: Cluster) -> None:
    client, worker = three.client("c"), three.worker("a")
    client.submit("t1")
    three.hold("a", "b")
    worker.finish("t1")
    three.run(0.2)
    assert "result:t1" in three.nodes["a"].on_disk()
    assert settlements(three, "c") == []
    assert "message:t1" in three.nodes["c"].on_disk(), "the writer keeps the message while one disk only knows of its end"
    three.release("a", "b")
    three.run(0.1)
    assert settlements(three, "c")
    assert "message:t1" not in three.nodes["c"].on_disk()


def test_r7_the_workers_outbox_is_cleared_only_when_the_transaction_has_copies(three: Cluster) -> None:
    client, worker = three.client("c"), three.worker("b")
    client.submit("t1")
    three.stall_disk("b")
    worker.finish("t1")
    assert worker.outbox.keys() == {"t1"}
    assert worker.got(OutcomesKept) == []
    three.resume_disk("b")
    assert worker.outbox == {}


def test_r7_a_coordinator_that_dies_with_a_settlement_loses_nothing(three: Cluster) -> None:
    """The worst case of R7: only the coordinator's disk knew that the task was done, and it is gone."""
    client, worker = three.client("c"), three.worker("c")
    client.submit("t1")
    three.hold("a", "b")
    worker.finish("t1")
    three.crash("a", vanish=True)
    del three.held["a", "b"]
    three.until(three.agreed, 3.0)
    three.run(1)
    assert client.results()["t1"].status == Status.SUCCESS
    assert len(worker.deliveries) == 1, "the outbox had it"
    assert three.nodes["b"].on_disk() == {"result:t1"}


def test_a_settlement_and_its_result_travel_in_one_batch(three: Cluster) -> None:
    client, worker = three.client("c"), three.worker("a")
    client.submit("t1")
    worker.finish("t1")
    batch = settlements(three, "b")[0]
    assert [entry.id for append in batch.appends for entry in append.entries] == ["t1"]


def test_a_result_leaves_only_after_its_commit(three: Cluster) -> None:
    client, worker = three.client("a"), three.worker("a")
    client.submit("t1")
    three.stall_disk("a")
    worker.finish("t1")
    assert client.results() == {}
    three.resume_disk("a")
    assert client.results().keys() == {"t1"}


# -- deputies --------------------


def test_a_lost_deputy_is_replaced_by_one_that_gets_a_full_copy(three: Cluster) -> None:
    client = three.client("a")
    client.submit("t1", "t2")
    three.crash("b", vanish=True)
    three.until(lambda: three["a"].replication.deputies == ["c"] and three["a"].replication.streams["c"].complete)
    assert three.nodes["c"].on_disk() == {"message:t1", "message:t2"}


def test_r18b_a_former_deputy_keeps_what_it_holds_until_the_new_one_covers_it(three: Cluster) -> None:
    three.client("a").submit("t1")
    three.crash("b", vanish=True)
    three.stall_disk("c")
    three.until(lambda: three["a"].replication.deputies == ["c"])
    three.start("b")
    three.run(0.8)
    assert three["a"].replication.reconciled_with("b")
    assert three.messages(Release) == []
    assert three.nodes["b"].on_disk() == {"message:t1"}
    three.resume_disk("c")
    three.run(0.5)
    assert len(three.messages(Release, "a", "b")) == 1
    assert three.nodes["b"].on_disk() == set()
    assert three.nodes["c"].on_disk() == {"message:t1"}


def released(cluster: Cluster) -> None:
    """b was a deputy, vanished, came back when c had taken its place, and dropped what it held."""
    cluster.client("a").submit("t1")
    cluster.crash("b", vanish=True)
    cluster.until(lambda: cluster["a"].replication.deputies == ["c"])
    cluster.start("b")
    cluster.until(lambda: cluster.messages(Release, "a", "b"))


def test_r18b_release_drops_entries_and_context_in_one_transaction(three: Cluster) -> None:
    released(three)
    node = three.nodes["b"]
    assert node.on_disk() == set()
    assert {head.owner for head in node.disk.heads.values() if head.scope == Scope.BULK} <= {"b"}


def test_r18b_what_was_released_is_not_taken_for_settled_at_the_next_merge(three: Cluster) -> None:
    released(three)
    for _ in range(3):
        three.crash("b")
        three.run(0.2)
        three.start("b")
        three.run(0.5)
    assert {"message:t1"} <= three.nodes["a"].on_disk() & three.nodes["c"].on_disk()


def test_r18b_without_enough_deputies_nobody_is_released() -> None:
    """Two nodes of three: the only other copy is kept, deputy or not."""
    cluster = Cluster("a", copies=3)
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    client.submit("t1")
    cluster.crash("c", vanish=True)
    cluster.run(2)
    assert cluster.messages(Release) == []
    assert "message:t1" in cluster.nodes["b"].on_disk()


def test_a_member_holds_what_it_wrote_and_nothing_of_others(three: Cluster) -> None:
    three.client("c").submit("t1")
    three.client("a").submit("t2")
    assert three.nodes["c"].on_disk() == {"message:t1"}
    assert three.nodes["b"].on_disk() == {"message:t1", "message:t2"}


# -- merges --------------------


def test_r16_what_one_side_settled_is_settled_after_the_merge(three: Cluster) -> None:
    client, worker = three.client("c"), three.worker("b")
    client.submit("t1")
    three.split("c", "ab")
    worker.finish("t1")
    three.run(2)
    assert "message:t1" in three.nodes["c"].on_disk()
    three.heal()
    three.until(three.agreed)
    three.run(0.5)
    assert "message:t1" not in three.nodes["c"].on_disk()
    assert client.results().keys() == {"t1"}
    assert len(worker.deliveries) == 1


def test_both_sides_of_a_split_keep_what_they_accepted(three: Cluster) -> None:
    alone, others = three.client("c"), three.client("a")
    three.split("c", "ab")
    three.run(2)
    alone.submit("t1")
    others.submit("t2")
    three.run(2)
    three.heal()
    three.until(three.agreed)
    three.run(0.5)
    leader = three.nodes[three.coordinator]
    assert leader.on_disk() == {"message:t1", "message:t2"}


def test_a_large_backlog_reaches_a_new_deputy_in_bounded_batches() -> None:
    cluster = Cluster("a", replicate_batch_bytes=4096, link_window_bytes=65_536)
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    for start in range(0, 500, 100):
        client.send(Submit(start, [Message(f"t{start + index}", "q", "work", bytes(200)) for index in range(100)]))
    cluster.start("b")
    cluster.until(cluster.agreed)
    batches = [batch for batch in cluster.messages(Replicate, "a", "b") if batch.appends]
    assert len(batches) > 30
    assert max(sum(len(append.entries) for append in batch.appends) for batch in batches) < 20
    assert len(cluster.nodes["b"].on_disk()) == 500
