"""The machine as a whole: channels between nodes, coming and going, and the contract of effects."""

from __future__ import annotations

import pytest

from mesh.core.effects import Identity
from mesh.wire.entries import Member
from mesh.wire.frames import Envelope
from mesh.wire.messages import PROTOCOL_VERSION, Deliver, Goodbye, Heartbeat, Knock, Replicate, Report, Reset, Voted
from tests.unit.core.cluster import Cluster


@pytest.fixture
def three() -> Cluster:
    """a coordinates, b is its deputy, c is a member."""
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    assert (cluster.coordinator, cluster["a"].replication.deputies) == ("a", ["b"])
    return cluster


# -- goodbye --------------------


def test_a_polite_goodbye_takes_a_node_off_majorities_and_copies_at_once(three: Cluster) -> None:
    three.leave("a")
    three.until(three.agreed)
    three.run(0.1)
    roster = {member.id: member.present for member in three["b"].membership.members.values()}
    assert roster == {"a": False, "b": True, "c": True}


def test_what_a_node_says_after_its_goodbye_does_not_bring_it_back(three: Cluster) -> None:
    three.leave("a")
    after_goodbye = three.sent[max(i for i, sent in enumerate(three.sent) if isinstance(sent.message, Goodbye)) :]
    assert any(isinstance(sent.message, Voted) and sent.sender == "a" for sent in after_goodbye), "it votes for its successor"
    assert three["b"].membership.gone_for_sure("a")


def test_a_node_that_left_takes_part_again_when_it_comes_back(three: Cluster) -> None:
    three.leave("c")
    three.run(0.5)
    assert not three["a"].membership.members["c"].present
    three.start("c")
    three.until(three.agreed)
    three.run(0.5)
    assert three["a"].membership.members["c"].present
    assert three["a"].membership.is_reachable("c")


def test_a_polite_handover_takes_less_than_a_quarter_of_a_second_and_redelivers_nothing(three: Cluster) -> None:
    worker, client = three.worker("b"), three.client("c")
    client.submit("t1", "t2")
    began = three.now
    three.leave("a")
    three.until(lambda: three.coordinator == "b")
    assert three.now - began <= 0.25
    worker.finish("t1")
    worker.finish("t2")
    three.run(5)
    assert [delivery.id for delivery in worker.deliveries] == ["t1", "t2"]
    assert client.results().keys() == {"t1", "t2"}


def test_a_node_that_leaves_does_not_stand_for_election(three: Cluster) -> None:
    three.leave("b")
    three.leave("c")
    three.run(0.2)
    node = three.nodes["a"]
    three.turn(node, node.machine.leave)
    three.run(2)
    assert not three["a"].election.is_coordinator


# -- channels --------------------


def test_a_lost_message_makes_both_sides_reconcile(three: Cluster) -> None:
    client = three.client("c")
    three.drop_next("c", "a", Replicate)
    number = client.submit("t1")
    assert client.copies(number) == 0
    three.until(lambda: client.copies(number) == 2, 1.0)
    assert three.messages(Reset, "a", "c")
    assert "message:t1" in three.nodes["b"].live()


def test_a_lost_delivery_is_given_again(three: Cluster) -> None:
    worker, client = three.worker("c"), three.client("c")
    three.drop_next("a", "c", Deliver)
    client.submit("t1")
    three.until(lambda: worker.held, 1.0)
    assert len(three.messages(Deliver, "a", "c")) == 2
    assert worker.deliveries[0].attempt == 1, "it never reached the worker: that is no attempt"


def test_a_repeated_message_is_dropped(three: Cluster) -> None:
    node = three.nodes["a"]
    envelope = Envelope(b"b1".ljust(8, b"\0"), 1, 1)
    before = len(three.sent)
    three.turn(node, node.machine.on_peer, "b", envelope, Report(9, [], [], []))
    assert [sent.message for sent in three.sent[before:] if not isinstance(sent.message, Heartbeat)] == []


def test_a_stranger_is_not_heard() -> None:
    cluster = Cluster("a")
    node = cluster.nodes["a"]
    cluster.turn(node, node.machine.on_peer, "stranger", Envelope(b"12345678", 1, 1), Goodbye())
    assert "stranger" not in node.machine.membership.peers


def test_a_restarted_process_is_a_new_one(three: Cluster) -> None:
    three.crash("c")
    three.start("c")
    three.until(three.agreed, 1.0)
    client = three.client("c")
    assert client.copies(client.submit("t1")) == 2


# -- being let in --------------------


def member(id: str = "n", key: bytes = b"k" * 32) -> Member:
    return Member(id, id, key, ["127.0.0.1:1"])


def test_a_newcomer_of_another_protocol_version_is_told_what_to_install() -> None:
    machine = Cluster("a")["a"]
    refusal = machine.refuses(Knock(member(), PROTOCOL_VERSION + 1))
    assert f"protocol {PROTOCOL_VERSION}" in refusal
    assert "install the same version" in refusal
    assert machine.refuses(Knock(member())) == ""


def test_an_id_belongs_to_the_key_that_it_was_admitted_with() -> None:
    machine = Cluster("a")["a"]
    machine.on_knock(member(key=b"k" * 32))
    assert machine.refuses(Knock(member(key=b"k" * 32))) == ""
    assert "another key" in machine.refuses(Knock(member(key=b"x" * 32)))


def test_a_newcomer_learns_the_durable_members_only() -> None:
    cluster = Cluster("ab")
    guest = member("guest")
    guest.durable = False
    cluster["a"].on_knock(guest)
    assert {known.id for known in cluster["a"].on_knock(member())} == {"a", "b", "n"}


# -- what a process start brings back --------------------


def test_r1_a_new_process_never_writes_the_journals_of_the_last_one() -> None:
    cluster = Cluster("a")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    client.submit("t1")
    cluster.crash("a")
    cluster.start("a")
    cluster.until(cluster.agreed)
    client.attach("a")
    client.submit("t2")
    journals = cluster["a"].replica.journals
    names = {"".join(entry.id for entry in journal.live.values()): name.rstrip(b"\0") for name, journal in journals.items()}
    assert (names["t1"], names["t2"]) == (b"a1", b"a2")


def test_term_and_vote_survive_the_process(three: Cluster) -> None:
    voted = [(three[name].election.term, three[name].election.voted_for) for name in "bc"]
    for name in "bc":
        three.crash(name, vanish=True)
        three.start(name)
    assert [(three[name].election.term, three[name].election.voted_for) for name in "bc"] == voted


def test_what_an_identity_says_of_itself_is_its_member_entry() -> None:
    me = Identity("i", "n", b"k" * 32, "m", "mid", b"j" * 16, b"s" * 16, ["h:1"], "1.0", 7, never_coordinate=True, weight=3)
    assert me.member(5) == Member("i", "n", b"k" * 32, ["h:1"], at_ms=5, version="1.0", never_coordinate=True, weight=3, pid=7)
