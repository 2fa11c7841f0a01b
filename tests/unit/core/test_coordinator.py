"""From being elected to stepping down: reconcile, then dispatch with authority only (R9, R10, R16)."""

from __future__ import annotations

import pytest

from mesh.core.cluster.alarms import DISK
from mesh.core.states import Role
from mesh.wire.messages import Answer, Consumers, Deliver, Query, Report
from tests.unit.core.cluster import Cluster, Node
from tests.unit.core.programs import Client


def settled(names: str = "abc", **settings: object) -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0], **settings)
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    assert cluster.coordinator == names[0]
    cluster.run(1)
    return cluster


def hold_while_reconciling(cluster: Cluster, name: str, sender: str) -> None:
    """What ``sender`` says to ``name`` stops as soon as that one is elected."""

    def on_turn(node: Node) -> None:
        if node.name == name and node.machine.election.role is Role.RECONCILING:
            cluster.hold(sender, name)
            cluster.on_turn = lambda node: None

    cluster.on_turn = on_turn


# -- the start of a reign --------------------


def test_r9_nothing_is_dispatched_before_every_reachable_member_has_reported() -> None:
    cluster = settled()
    worker, client = cluster.worker("b"), cluster.client("c")
    cluster.crash("a")
    client.submit("t1")
    hold_while_reconciling(cluster, "b", "c")
    cluster.run(0.6)
    assert cluster["b"].election.role is Role.RECONCILING
    assert not worker.held
    cluster.release("c", "b")
    cluster.run(0.05)
    assert cluster["b"].election.role is Role.REIGNING
    assert worker.held


def test_r9_a_member_that_does_not_report_is_waited_for_until_it_is_lost() -> None:
    cluster = settled()
    cluster.crash("a")
    hold_while_reconciling(cluster, "b", "c")
    assert cluster.until(lambda: cluster.coordinator == "b", 3.0) <= cluster.settings.reconcile_timeout_s


def test_r9_a_member_that_answers_but_never_reports_is_waited_for_two_seconds() -> None:
    cluster = settled()
    cluster.crash("a")
    for _ in range(50):
        cluster.drop_next("c", "b", Report)
    waited_s = cluster.until(lambda: cluster.coordinator == "b", 4.0)
    assert cluster.settings.reconcile_timeout_s <= waited_s <= cluster.settings.reconcile_timeout_s + 0.2


def test_r9_what_workers_say_while_the_new_coordinator_reconciles_counts() -> None:
    """Coordinator and deputy are both gone: nobody but the worker knows what runs."""
    cluster = settled()
    worker, other = cluster.worker("c"), cluster.worker("c")
    client = cluster.client("c")
    client.submit("t1", "t2")
    cluster.crash("a")
    cluster.crash("b")
    cluster.until(lambda: cluster.coordinator == "c")
    cluster.run(12)
    assert [len(worker.deliveries), len(other.deliveries)] == [1, 1]


def test_r9_a_delivery_that_never_arrived_is_given_again_by_the_next_coordinator() -> None:
    """The deputy knows the lease; the worker, asked, does not hold it."""
    cluster = settled()
    worker, client = cluster.worker("c"), cluster.client("c")
    cluster.cut("a", "c", one_way=True)
    client.submit("t1")
    assert not worker.held
    assert cluster["b"].replication.leases.soft.keys() == {"t1"}
    cluster.crash("a")
    cluster.until(lambda: worker.held, 3.0)
    assert worker.deliveries[0].attempt == 1


def test_what_runs_is_not_delivered_again_by_the_next_coordinator() -> None:
    cluster = settled()
    workers = [cluster.worker(name) for name in "bc"]
    client = cluster.client("c")
    client.submit("t1", "t2", "t3")
    cluster.crash("a")
    cluster.until(cluster.agreed)
    cluster.run(15)
    assert sorted(delivery.id for worker in workers for delivery in worker.deliveries) == ["t1", "t2"]


def test_a_worker_whose_node_died_keeps_its_lease_when_it_attaches_elsewhere_in_time() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("c")
    client.submit("t1")
    cluster.crash("a")
    cluster.until(cluster.agreed)
    worker.attach("b")
    cluster.run(15)
    assert len(worker.deliveries) == 1
    worker.finish("t1")
    cluster.run(0.1)
    assert client.results().keys() == {"t1"}


def test_a_worker_that_died_with_its_node_loses_its_leases_after_a_grace() -> None:
    cluster = settled()
    lost, client = cluster.worker("a"), cluster.client("c")
    client.submit("t1")
    cluster.crash("a")
    lost.silent = True
    worker = cluster.worker("b")
    waited_s = cluster.until(lambda: worker.held, 6.0)
    assert cluster.settings.orphan_grace_s - 0.1 <= waited_s <= cluster.settings.orphan_grace_s + 1
    assert worker.deliveries[0].attempt == 2


# -- authority --------------------


def test_r10_a_majority_is_authority() -> None:
    cluster = settled()
    worker, client = cluster.worker("b"), cluster.client("b")
    cluster.crash("c", vanish=True)
    cluster.run(2)
    client.submit("t1")
    assert worker.held


def test_r10_proof_that_the_missing_are_gone_is_authority() -> None:
    cluster = settled("ab")
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.crash("b")
    client.submit("t1")
    assert worker.held


def test_r10_a_silent_peer_is_no_proof_and_patience_runs_out() -> None:
    cluster = settled("ab")
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.crash("b", vanish=True)
    cluster.run(1)
    client.submit("t1")
    waited_s = cluster.until(lambda: worker.held, 12.0)
    patience_s = cluster.settings.takeover_patience_s
    assert patience_s - 0.5 <= waited_s <= patience_s


def test_r10_a_cut_that_heals_in_time_runs_nothing_twice() -> None:
    cluster = settled("ab")
    here, there = cluster.worker("a"), cluster.worker("b")
    client = cluster.client("a")
    client.submit("t1", "t2")
    assert here.held
    assert there.held
    cluster.cut("a", "b")
    cluster.run(9)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(15)
    assert (len(here.deliveries), len(there.deliveries)) == (1, 1)


def test_r9_a_coordinator_that_heard_nobody_when_it_began_asks_those_it_hears_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both lead for a moment. That the other one can be heard again is authority, but says nothing about what it has handed out."""
    cluster = settled("ab")
    here, there, late = cluster.worker("a"), cluster.worker("b"), cluster.worker("b")
    monkeypatch.setattr(late, "receive", late.inbox.append)
    cluster.client("b").submit("t1")
    assert here.held
    cluster.cut("a", "b", one_way=True)
    cluster["b"].replication.leases.soft.clear()  # as if it had fallen behind, so that the delivery did not wait for it
    cluster.until(lambda: cluster["b"].election.role is Role.RECONCILING)
    cluster.heal()
    cluster.hold("b", "a")  # so that it does not answer yet
    cluster.until(lambda: cluster["b"].membership.is_reachable("a"))
    monkeypatch.undo()
    late.report()
    cluster.calm()
    cluster.release("b", "a")
    cluster.run(5)
    assert [len(worker.deliveries) for worker in (here, there, late)] == [1, 0, 0]


def test_r10_the_old_coordinator_stops_before_a_new_one_starts() -> None:
    """At no instant do both sides of a split dispatch, until patience has run out on one."""
    cluster = settled()
    cluster.split("a", "bc")
    for _ in range(round(9 / 0.05)):
        cluster.run(0.05)
        dispatching = [
            node.name for node in cluster.running() if node.machine.election.role is Role.REIGNING and node.machine.reign.has_authority()
        ]
        assert len(dispatching) <= 1
    assert dispatching == ["b"]


def test_r10_authority_that_comes_back_starts_patience_anew() -> None:
    cluster = settled("ab")
    worker, client = cluster.worker("a"), cluster.client("a")
    for _ in range(3):
        cluster.cut("a", "b")
        cluster.run(6)
        cluster.heal()
        cluster.until(cluster.agreed)
        cluster.run(0.5)
    coordinator = cluster.coordinator
    cluster.cut("a", "b")
    cluster.run(1)
    assert not cluster[coordinator].reign.has_authority()
    client.submit("t1")
    cluster.run(8)
    assert not worker.held


def test_accepting_and_confirming_goes_on_without_authority() -> None:
    cluster = settled("ab")
    client = cluster.client("b")
    cluster.crash("a", vanish=True)
    cluster.run(3)
    number = client.submit("t1")
    assert client.copies(number) == 1


# -- splits --------------------


@pytest.mark.parametrize("finish_on", ["majority", "minority"])
def test_r16_done_anywhere_is_done_everywhere(finish_on: str) -> None:
    """Both sides of a long split ran the same message; the first to finish is the one that counts, and nothing runs after."""
    cluster = settled()
    here, client = cluster.worker("a"), cluster.client("c")
    client.submit("t1")
    assert here.held
    cluster.split("a", "bc")
    there = cluster.worker("c")
    cluster.until(lambda: there.held, 20.0)
    (there if finish_on == "majority" else here).finish("t1")
    cluster.run(0.5)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(1)
    late = here if finish_on == "majority" else there
    late.finish("t1")
    cluster.run(15)
    assert (len(here.deliveries), len(there.deliveries)) == (1, 1)
    assert late.outbox == {}
    assert client.results().keys() == {"t1"}
    held = [node.live().keys() & {"message:t1"} for node in cluster.running()]
    assert held == [set(), set(), set()]


def test_r16_what_one_side_lost_and_wrote_anew_is_done_when_the_other_side_has_finished_it() -> None:
    """The majority gave the first worker up: the message is live under a new dot there, and its result comes from the other side."""
    cluster = settled()
    here, client = cluster.worker("a"), cluster.client("c")
    client.submit("t1")
    cluster.split("a", "bc")
    there = cluster.worker("c")
    cluster.until(lambda: there.held, 20.0)
    assert there.held["t1"].attempt == 2
    here.finish("t1")
    cluster.run(0.5)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(1)
    assert [node.live().keys() & {"message:t1"} for node in cluster.running()] == [set(), set(), set()]
    there.die()
    spare = cluster.worker("b")
    cluster.run(15)
    assert spare.deliveries == []
    assert client.results().keys() == {"t1"}


def test_messages_accepted_while_nobody_reigned_are_dispatched_by_the_next_coordinator() -> None:
    cluster = settled()
    worker, client = cluster.worker("b"), cluster.client("c")
    cluster.crash("a", vanish=True)
    client.submit("t1")
    cluster.until(lambda: worker.held, 3.0)


# -- consumers --------------------


def test_every_node_learns_which_queues_have_a_worker() -> None:
    cluster = settled()
    cluster.worker("b", queues=["q", "r"])
    cluster.run(0.1)
    assert {name: cluster[name].edge.consumed for name in "abc"} == dict.fromkeys("abc", frozenset({"q", "r"}))
    cluster.start("d")
    cluster.until(lambda: cluster["d"].edge.consumed == frozenset({"q", "r"}))
    assert len(cluster.messages(Consumers, "a", "b")) <= 4


def test_a_query_that_the_coordinator_does_not_know_is_answered_with_an_error() -> None:
    cluster = settled()
    client = cluster.client("c")
    client.send(Query(5, "weather"))
    cluster.calm()
    answer = client.got(Answer)[0]
    assert (answer.number, answer.body) == (5, b"null")
    assert "'weather'" in answer.error


def test_a_deposed_coordinator_hands_out_nothing() -> None:
    cluster = settled()
    cluster.worker("b")
    client = cluster.client("a")
    cluster.split("a", "bc")
    cluster.run(1.5)
    before = len(cluster.messages(Deliver, "a"))
    client.submit("t1")
    cluster.run(3)
    assert len(cluster.messages(Deliver, "a")) == before


# -- strict --------------------


def dispatchers(cluster: Cluster) -> list[str]:
    """Nodes that would hand out work at this instant."""
    running = [node for node in cluster.running() if not node.paused]
    return [node.name for node in running if node.machine.election.role is Role.REIGNING and node.machine.reign.has_authority()]


@pytest.mark.parametrize("sides", [("a", "bc"), ("ab", "c"), ("ac", "b"), ("a", "b", "c")])
def test_r10_strict_only_a_majority_ever_dispatches_and_never_two(sides: tuple[str, ...]) -> None:
    cluster = settled(partition="strict")
    cluster.split(*sides)
    majority = next((side for side in sides if len(side) == 2), "")
    for _ in range(400):
        cluster.run(0.05)
        assert len(dispatchers(cluster)) <= 1
    assert [name in majority for name in dispatchers(cluster)] == [True] * bool(majority)
    cluster.heal()
    cluster.until(lambda: cluster.agreed() and dispatchers(cluster), 4.0)


def test_r10_strict_a_node_that_restarted_keeps_the_promise_of_its_former_process() -> None:
    """The coordinator of the majority still counts on it, and the minority's, which was elected alone, may hand out with its promise."""
    cluster = settled(partition="strict")
    cluster.split("ab", "c")
    cluster.run(3)
    assert (dispatchers(cluster), cluster["c"].election.role) == (["a"], Role.REIGNING)
    cluster.crash("b", vanish=True)
    cluster.heal()
    cluster.split("a", "bc")
    cluster.start("b")
    for _ in range(80):
        cluster.run(0.05)
        assert len(dispatchers(cluster)) <= 1
    assert dispatchers(cluster)[0] in "bc"


def test_r10_strict_a_minority_stands_still_however_long_and_goes_on_when_they_meet() -> None:
    cluster = settled("ab", partition="strict")
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.run(1)
    cluster.cut("a", "b")
    cluster.run(1)
    number = client.submit("t1")
    cluster.run(60)
    assert client.copies(number) == 1, "it accepts all the same"
    assert not worker.held
    cluster.heal()
    cluster.until(lambda: worker.held, 4.0)


def test_r10_strict_proof_that_the_other_is_gone_is_not_enough() -> None:
    cluster = settled("ab", partition="strict")
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.run(1)
    cluster.crash("b")
    cluster.run(1)
    client.submit("t1")
    cluster.run(20)
    assert not worker.held
    cluster.start("b")
    cluster.until(lambda: worker.held, 4.0)


@pytest.mark.parametrize("pause_s", [0.3, 0.6, 1.5, 3.0])
def test_r10_strict_a_stalled_coordinator_never_dispatches_beside_the_next(pause_s: float) -> None:
    cluster = settled(partition="strict")
    cluster.worker("a", slots=50)
    client = cluster.client("b")
    cluster.run(1)
    handed_out = {name: cluster[name].dispatcher.delivered for name in "abc"}
    cluster.nodes["a"].paused = True
    for number in range(round(pause_s / 0.05)):
        client.submit(f"t{number}")
        cluster.run(0.05)
        assert len(dispatchers(cluster)) <= 1
    successor = dispatchers(cluster)
    cluster.nodes["a"].paused = False
    for action, arguments in cluster.nodes["a"].backlog:
        cluster.turn(cluster.nodes["a"], action, *arguments)
    cluster.nodes["a"].backlog.clear()
    assert len(dispatchers(cluster)) <= 1
    if successor:
        assert cluster["a"].dispatcher.delivered == handed_out["a"]
    cluster.until(lambda: cluster.agreed() and dispatchers(cluster), 4.0)


# -- a full disk, and nodes that will not come back --------------------


def test_r21_a_coordinator_whose_disk_is_nearly_full_hands_over_and_takes_nothing_new() -> None:
    cluster = settled()
    client, other = cluster.client("a"), cluster.client("c")
    node = cluster.nodes["a"]
    cluster.turn(node, node.machine.alarms.set, DISK, "100 MiB are left")
    cluster.until(lambda: cluster.agreed() and cluster.coordinator != "a", 1.0)
    refused = client.confirm(client.submit("t1"))
    assert refused is not None
    assert (refused.copies, refused.error) == (0, "disk-low: 100 MiB are left")
    assert other.copies(other.submit("t2")) == 2
    cluster.turn(node, node.machine.alarms.set, DISK, "")
    assert client.copies(client.submit("t3")) == 2


def test_r21_with_nobody_to_hand_over_to_it_goes_on_settling() -> None:
    cluster = Cluster("a")
    worker, client = cluster.worker("a"), cluster.client("a")
    client.submit("t1")
    cluster.turn(cluster.nodes["a"], cluster["a"].alarms.set, DISK, "100 MiB are left")
    cluster.run(1)
    assert cluster.coordinator == "a"
    worker.finish("t1")
    assert client.results().keys() == {"t1"}


def ask(client: Client, what: str, argument: str) -> Answer:
    client.send(Query(1, what, argument))
    client.cluster.run(0.1)
    answer: Answer = client.got(Answer)[-1]
    return answer


def test_r6_a_node_that_will_not_come_back_can_be_forgotten() -> None:
    cluster = settled("ab")
    client = cluster.client("a")
    worker = cluster.worker("a")
    cluster.crash("b", vanish=True)
    cluster.run(1.5)
    client.submit("t1")
    assert not worker.held
    assert ask(client, "forget", "b").error == ""
    assert worker.held, "one of one is a majority"
    began = cluster.now
    assert client.copies(client.submit("t2")) == 1
    assert cluster.now == began


def test_a_node_that_is_alive_or_unknown_is_not_forgotten() -> None:
    cluster = settled("ab")
    client = cluster.client("a")
    assert ask(client, "forget", "b").error.startswith("invalid: the node b is alive")
    assert ask(client, "forget", "a").error.startswith("invalid: the node a is alive")
    assert ask(client, "forget", "z").error.startswith("not-found")


def test_r17_a_forgotten_node_that_comes_back_is_a_member_again() -> None:
    cluster = settled("ab")
    client = cluster.client("a")
    cluster.crash("b", vanish=True)
    cluster.run(1.5)
    ask(client, "forget", "b")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    assert cluster["a"].membership.members["b"].present
