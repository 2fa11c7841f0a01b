"""A queue's messages lie on the disk beyond the window, and nobody notices but by the memory (decision 060)."""

from __future__ import annotations

import pytest

from mesh.core.cluster.replica import Journal
from mesh.core.machine import Machine
from mesh.core.states import RecordState
from mesh.errors import StateDamaged
from mesh.wire.entries import Message, Scope, Status
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Worker

IDS = [f"t{number:03d}" for number in range(30)]
FEW_BYTES = 5 * 900
"""A window of some five messages."""


def bulk(machine: Machine) -> list[Journal]:
    return [journal for journal in machine.replica.journals.values() if journal.scope == Scope.BULK]


def resident(machine: Machine) -> list[str]:
    return sorted(entry.id for journal in bulk(machine) for entry in journal.live.values() if isinstance(entry, Message))


def paged(machine: Machine) -> list[str]:
    header = machine.replica.pages.header
    places = [journal.paged.get(sequence) for journal in bulk(machine) for sequence in journal.paged.sequences(1, journal.upto)]
    return sorted(header(place.lane, place.key).id for place in places if place is not None)


def run_all(worker: Worker) -> list[str]:
    """Let a worker finish whatever comes; the ids in the order in which they were given to it."""
    while worker.held:
        worker.finish()
    return [delivery.id for delivery in worker.deliveries]


def test_messages_beyond_the_window_are_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    cluster.client("a").submit(*IDS)
    a = cluster["a"]
    assert len(resident(a)) in range(4, 8)
    assert sorted(resident(a) + paged(a)) == IDS
    assert resident(a)[:4] == IDS[:4], "the oldest stay"
    assert a.broker.queues["q"].ready == len(IDS)


def test_a_queue_that_fits_into_the_window_stays_in_memory() -> None:
    cluster = Cluster("a")
    cluster.client("a").submit(*IDS)
    assert resident(cluster["a"]) == IDS
    assert cluster["a"].turn.take_reads() == []


def test_a_queue_beyond_the_window_is_handed_out_in_order_with_its_bodies() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    for id in IDS:
        client.submit(id, body=id.encode())
    worker = cluster.worker("a", slots=2, capacity=3)
    assert run_all(worker) == IDS
    assert [delivery.body for delivery in worker.deliveries] == [id.encode() for id in IDS]
    assert sorted(client.results()) == IDS
    assert (resident(cluster["a"]), paged(cluster["a"]), cluster["a"].broker.queues) == ([], [], {})


def test_a_message_leaves_the_memory_only_when_it_is_durable() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.stall_disk("a")
    cluster.client("a").submit(*IDS)
    assert resident(cluster["a"]) == IDS
    cluster.resume_disk("a")
    assert paged(cluster["a"]) == IDS


def test_what_was_tried_before_stays_in_memory() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    worker = cluster.worker("a")
    client.submit("poison", "plain")
    worker.capacity = 0
    worker.report()
    worker.lose("poison")
    assert (resident(cluster["a"]), paged(cluster["a"])) == (["poison"], ["plain"])


def test_a_deputy_does_not_hold_what_is_beyond_the_window_in_memory_and_takes_over_all_of_it() -> None:
    cluster = Cluster("ab", window_bytes=FEW_BYTES)
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    deputy = "b" if leader == "a" else "a"
    client = cluster.client(deputy)
    client.submit(*IDS)
    assert len(resident(cluster[deputy])) < 8
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator == deputy)
    assert run_all(cluster.worker(deputy)) == IDS
    assert sorted(client.results()) == IDS


def test_a_new_deputy_is_sent_what_the_coordinator_has_on_its_disk_only() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    for id in IDS:
        client.submit(id, body=id.encode())
    cluster.start("b")
    cluster.until(cluster.agreed)
    assert sorted(id for id in cluster.nodes["b"].on_disk() if id.startswith("message:")) == [f"message:{id}" for id in IDS]
    assert sorted(resident(cluster["b"]) + paged(cluster["b"])) == IDS


def test_a_restarted_node_reads_only_what_the_window_holds_and_goes_on_in_order() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    cluster.client("a").submit(*IDS)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    assert len(resident(cluster["a"])) < 8
    assert sorted(resident(cluster["a"]) + paged(cluster["a"])) == IDS
    assert run_all(cluster.worker("a", slots=4)) == IDS


def test_what_a_worker_holds_is_not_handed_out_again_although_it_is_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.client("a").submit(*IDS)
    worker = cluster.worker("a", slots=3)
    running = list(worker.held)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    worker.attach("a")
    cluster.calm()
    other = cluster.worker("a", slots=3)
    assert [cluster["a"].broker.records[id].state for id in running] == [RecordState.LEASED] * 3
    assert set(other.held).isdisjoint(running)
    assert sorted([*run_all(worker), *run_all(other)]) == IDS
    assert cluster["a"].broker.redelivered == 0


def test_a_task_lost_after_a_takeover_is_written_anew_with_the_body_from_the_disk() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.client("a").submit("t1", body=b"the body")
    worker = cluster.worker("a")
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    worker.attach("a")
    cluster.calm()
    worker.lose("t1")
    again = worker.deliveries[-1]
    assert (again.body, again.attempt) == (b"the body", 2)


def test_a_submit_that_is_repeated_is_noticed_although_the_first_is_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit(*IDS)
    client.submit(*IDS)
    assert paged(cluster["a"]) == IDS
    assert len(run_all(cluster.worker("a"))) == len(IDS)


def test_the_state_of_a_task_on_the_disk_is_pending() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.client("a").submit("t1")
    other = cluster.client("a")
    other.watch("t1", "nobody's")
    assert other.states() == {"t1": Status.PENDING, "nobody's": Status.UNKNOWN}


def test_an_outcome_ends_a_task_that_is_on_the_disk_only() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("t1", "t2")
    worker = cluster.worker("a", tasks=["other"])
    worker.finish("t2")
    assert list(client.results()) == ["t2"]
    assert paged(cluster["a"]) == ["t1"]
    assert cluster["a"].broker.queues["q"].ready == 1


def test_each_task_of_a_queue_is_read_for_who_can_run_it() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    for id in IDS:
        client.submit(id, task="odd" if int(id[1:]) % 2 else "even")
    odd = cluster.worker("a", tasks=["odd"])
    assert run_all(odd) == IDS[1::2]
    assert paged(cluster["a"]) == IDS[::2]
    assert cluster["a"].dispatcher.waiting_for("q") == ["even"]


def test_a_message_that_the_disk_has_lost_ends_the_node() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.client("a").submit("t1")
    cluster.nodes["a"].disk.entries.clear()
    with pytest.raises(StateDamaged, match="has lost"):
        cluster.worker("a")


# -- what passes through --------------------

OTHERS = [f"u{number:03d}" for number in range(30)]


def passing(machine: Machine) -> list[str]:
    return sorted(message.id for journal in bulk(machine) for message in journal.passing.values())


def test_what_comes_behind_others_on_the_disk_takes_no_place_in_memory_beyond_its_commit() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    client.submit(*IDS)
    a = cluster["a"]
    cluster.stall_disk("a")
    records = len(a.broker.records)
    number = client.submit(*OTHERS, body=b"the body")
    assert (passing(a), len(a.broker.records), client.confirm(number)) == (OTHERS, records, None)
    assert a.broker.queues["q"].ready == len(IDS + OTHERS)
    cluster.resume_disk("a")
    assert passing(a) == []
    assert client.confirm(number) is not None
    worker = cluster.worker("a", slots=2, capacity=3)
    assert run_all(worker) == IDS + OTHERS
    assert {delivery.body for delivery in worker.deliveries if delivery.id in OTHERS} == {b"the body"}


def test_a_message_on_its_way_to_the_disk_is_read_when_it_is_there() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("t")
    cluster.stall_disk("a")
    client.submit(*OTHERS)
    worker = cluster.worker("a", slots=40)
    assert list(worker.held) == ["t"]
    cluster.resume_disk("a")
    assert run_all(worker) == ["t", *OTHERS]


def test_a_message_of_an_idle_queue_is_handed_out_although_the_window_is_full() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    client.submit(*IDS)
    worker = cluster.worker("a", queues=["quick"])
    cluster.stall_disk("a")
    client.submit("now", queue="quick")
    assert list(worker.held) == ["now"]


def test_a_deputy_gets_what_passes_through_without_a_look_at_the_disk() -> None:
    cluster = Cluster("ab", window_bytes=FEW_BYTES)
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    client = cluster.client(leader)
    client.submit(*IDS)
    reads = len(cluster[leader].replica.reads)
    number = client.submit(*OTHERS)
    confirm = client.confirm(number)
    assert confirm is not None
    assert confirm.copies == 2
    assert reads == 0
    assert passing(cluster["a"]) == passing(cluster["b"]) == []


def test_what_is_known_already_does_not_pass_through() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("done", "waits")
    worker = cluster.worker("a", slots=1)
    worker.finish("done")
    worker.capacity = 0
    client.submit(*IDS, "done", *OTHERS, *IDS[:2])
    cluster.stall_disk("a")
    client.submit("waits", *IDS)
    cluster.resume_disk("a")
    worker.capacity = 1
    assert run_all(worker) == ["done", "waits", *IDS, *OTHERS]


def test_a_message_settled_on_its_way_to_the_disk_is_gone() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("t")
    cluster.stall_disk("a")
    client.submit(*OTHERS)
    worker = cluster.worker("a", tasks=["other"])
    worker.finish("u007")
    assert "u007" not in passing(cluster["a"])
    cluster.resume_disk("a")
    assert list(client.results()) == ["u007"]
    assert run_all(cluster.worker("a")) == ["t", *OTHERS[:7], *OTHERS[8:]]


def test_a_restart_finds_what_has_passed_through_in_order() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    client = cluster.client("a")
    client.submit(*IDS)
    client.submit(*OTHERS)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    assert run_all(cluster.worker("a", slots=4)) == IDS + OTHERS


# -- what has a countdown --------------------


def in_s(cluster: Cluster, seconds: float) -> int:
    return cluster["a"].wall_ms + int(seconds * 1000)


def test_what_has_a_countdown_is_on_the_disk_only_until_it_is_due_and_handed_out_not_a_moment_before() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    worker = cluster.worker("a", slots=40)
    at_ms = in_s(cluster, 5)
    for number, id in enumerate(IDS):
        client.submit(id, body=id.encode(), eta_ms=at_ms + 100 * number)
    a = cluster["a"]
    queue = a.broker.queues["q"]
    assert (resident(a), paged(a), (queue.delayed, queue.ready)) == ([], IDS, (30, 0))
    while a.wall_ms < at_ms:
        assert not worker.held
        cluster.run(0.05)
    cluster.run(1.0)
    assert 0 < len(worker.held) < 20
    cluster.run(3.0)
    assert list(worker.held) == IDS
    assert [delivery.body for delivery in worker.deliveries] == [id.encode() for id in IDS]
    run_all(worker)
    assert sorted(client.results()) == IDS
    assert a.broker.queues == {}


def test_what_is_delayed_and_what_is_not_share_a_queue_beyond_the_window() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit(*IDS[:10])
    client.submit(*OTHERS[:10], eta_ms=in_s(cluster, 1))
    client.submit(*IDS[10:])
    a = cluster["a"]
    assert (a.broker.queues["q"].ready, a.broker.queues["q"].delayed) == (30, 10)
    cluster.run(2.0)
    assert (a.broker.queues["q"].ready, a.broker.queues["q"].delayed) == (40, 0)
    assert run_all(cluster.worker("a")) == IDS + OTHERS[:10], "what is due comes at the end of the line"


def test_a_new_coordinator_knows_what_is_delayed_and_on_its_disk_only() -> None:
    cluster = Cluster("ab", window_bytes=0)
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    deputy = "b" if leader == "a" else "a"
    client = cluster.client(deputy)
    at_ms = in_s(cluster, 15)
    client.submit(*IDS, eta_ms=at_ms)
    cluster.crash(leader)
    cluster.until(lambda: cluster.coordinator == deputy)
    worker = cluster.worker(deputy, slots=40)
    assert cluster[deputy].broker.queues["q"].delayed == len(IDS)
    while cluster[deputy].wall_ms < at_ms:
        assert not worker.held
        cluster.run(0.05)
    cluster.run(1.0)
    assert sorted(run_all(worker)) == IDS


def test_a_restarted_node_knows_what_is_delayed_and_on_its_disk_only() -> None:
    cluster = Cluster("a", window_bytes=FEW_BYTES)
    at_ms = in_s(cluster, 5)
    cluster.client("a").submit(*IDS, eta_ms=at_ms)
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    a = cluster["a"]
    assert len(resident(a)) < 8
    assert a.broker.queues["q"].delayed == len(IDS)
    worker = cluster.worker("a", slots=40)
    cluster.until(lambda: a.wall_ms > at_ms - 100)
    assert not worker.held
    cluster.run(1.0)
    assert sorted(run_all(worker)) == IDS


def test_what_is_delayed_and_on_the_disk_ends_when_somebody_has_run_it() -> None:
    cluster = Cluster("a", window_bytes=0)
    client = cluster.client("a")
    client.submit("t1", "t2", eta_ms=in_s(cluster, 1))
    worker = cluster.worker("a", tasks=["other"])
    worker.finish("t2")
    a = cluster["a"]
    assert list(client.results()) == ["t2"]
    assert (paged(a), a.broker.queues["q"].delayed) == (["t1"], 1)
    cluster.run(2.0)
    assert (a.broker.queues["q"].delayed, a.broker.queues["q"].ready) == (0, 1)
    assert run_all(cluster.worker("a")) == ["t1"]


def test_what_a_worker_holds_of_what_was_delayed_is_not_handed_out_again() -> None:
    cluster = Cluster("a", window_bytes=0)
    cluster.client("a").submit(*IDS, eta_ms=in_s(cluster, 1))
    worker = cluster.worker("a", slots=3)
    cluster.run(2.0)
    running = list(worker.held)
    assert len(running) >= 3
    cluster.crash("a")
    cluster.start("a")
    cluster.until(lambda: cluster.coordinator == "a")
    worker.attach("a")
    cluster.calm()
    other = cluster.worker("a", slots=3)
    cluster.run(1.0)
    assert set(other.held).isdisjoint(running)
    assert sorted([*run_all(worker), *run_all(other)]) == IDS
    assert cluster["a"].broker.queues == {}
