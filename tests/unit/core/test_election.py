"""Who coordinates, and how little it takes to find out (R9, R11-R14)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mesh.core.cluster.election import SLEEP_PENALTY_MAX_S
from mesh.core.cluster.membership import SLEEP_PENALTY_S
from mesh.core.states import Role
from mesh.wire.messages import Heartbeat, PreVote, PreVoted, Vote, Voted
from tests.unit.core.cluster import Cluster


def settled(names: str = "abc", **settings: object) -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0], **settings)
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    assert cluster.coordinator == names[0]
    cluster.run(0.5)
    return cluster


def elections(cluster: Cluster) -> int:
    return sum(node.machine.election.elections for node in cluster.running())


# -- one, two, three --------------------


def test_r11_one_node_leads_at_once() -> None:
    assert Cluster("a").coordinator == "a"


def test_r11_a_node_that_knows_others_does_not_lead_before_they_could_answer() -> None:
    cluster = settled("ab")
    cluster.crash("a", vanish=True)
    cluster.crash("b", vanish=True)
    cluster.start("b")
    cluster.run(0.9)
    assert not cluster["b"].election.is_coordinator
    assert cluster.until(lambda: cluster.coordinator == "b") < 0.3


@pytest.mark.parametrize("end", [Cluster.leave, Cluster.crash])
def test_r11_of_two_the_other_leads_at_once_when_one_said_goodbye_or_refuses(end: Callable[[Cluster, str], object]) -> None:
    cluster = settled("ab")
    end(cluster, "a")
    assert cluster.until(lambda: cluster.coordinator == "b") <= 0.1
    assert cluster["b"].reign.has_authority()


def test_r11_of_two_the_other_leads_after_the_timeout_when_one_vanished() -> None:
    cluster = settled("ab")
    cluster.crash("a", vanish=True)
    assert 1.0 <= cluster.until(lambda: cluster.coordinator == "b") <= 1.5


@pytest.mark.parametrize("vanish", [False, True])
def test_r11_of_three_the_majority_leads_within_two_seconds(vanish: bool) -> None:
    cluster = settled()
    cluster.crash("a", vanish=vanish)
    assert cluster.until(cluster.agreed) < 2.0
    assert cluster[cluster.coordinator].reign.has_authority()


def test_r11_a_minority_has_a_coordinator_too_but_without_authority() -> None:
    cluster = settled("abcde")
    cluster.split("abc", "de")
    cluster.run(2)
    assert cluster["a"].election.role is Role.REIGNING
    assert [name for name in "de" if cluster[name].election.role is Role.REIGNING]
    assert not any(cluster[name].reign.has_authority() for name in "de" if cluster[name].election.is_coordinator)


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_nodes_that_start_at_the_same_instant_agree(names: str) -> None:
    cluster = Cluster(names)
    assert cluster.until(cluster.agreed) < 2.0


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_after_any_split_heals_there_is_one_coordinator_again(names: str) -> None:
    cluster = settled(names)
    cluster.split(*names)
    cluster.run(3)
    cluster.heal()
    cluster.until(cluster.agreed, 3.0)
    cluster.run(1)
    assert cluster.agreed()


# -- terms and votes --------------------


def test_r9_the_term_is_durable_before_anyone_is_asked_for_a_vote() -> None:
    cluster = settled()
    cluster.crash("a")
    cluster.stall_disk("b")
    cluster.run(0.2)
    assert cluster["b"].election.role is Role.ELECTING
    assert cluster.messages(Vote, "b") == []
    cluster.resume_disk("b")
    cluster.until(cluster.agreed)
    assert cluster.nodes["b"].disk.term == cluster["b"].election.term


def test_a_vote_is_durable_before_it_is_given() -> None:
    cluster = settled()
    cluster.crash("a")
    cluster.stall_disk("c")
    cluster.run(0.1)
    assert cluster.messages(Vote, "b", "c")
    assert cluster.messages(Voted, "c") == []
    cluster.resume_disk("c")
    assert cluster.messages(Voted, "c", "b")[0].granted
    assert (cluster.nodes["c"].disk.term, cluster.nodes["c"].disk.voted_for) == (2, "b")


def test_a_node_votes_once_in_a_term() -> None:
    cluster = settled()
    cluster.crash("a")
    election = cluster["c"].election
    node = cluster.nodes["c"]
    for candidate in ("b", "x", "b"):
        cluster.turn(node, election.on_vote, candidate, Vote(7))
    cluster.calm()
    assert election.voted_for == "b"
    answers = [sent.message.granted for sent in cluster.sent if isinstance(sent.message, Voted) and sent.message.term == 7]
    assert answers == [True, True], "to b, twice; x is no peer, and is not heard of"
    cluster.turn(node, election.on_vote, "x", Vote(7))
    assert election.voted_for == "b"


def test_no_vote_while_the_voter_hears_a_coordinator() -> None:
    cluster = settled()
    cluster.turn(cluster.nodes["c"], cluster["c"].election.on_vote, "b", Vote(9))
    cluster.calm()
    assert not cluster.messages(Voted, "c", "b")[0].granted
    assert cluster["c"].election.term == 1


def test_of_two_coordinators_that_meet_the_lower_steps_down() -> None:
    cluster = settled()
    cluster.split("a", "bc")
    cluster.run(2)
    assert [name for name in "abc" if cluster[name].election.is_coordinator] == ["a", "b"]
    cluster.heal()
    cluster.until(cluster.agreed)
    assert (cluster.coordinator, cluster["a"].election.term) == ("b", 2)


def test_equal_terms_are_decided_by_id() -> None:
    cluster = settled("ab")
    cluster.cut("a", "b")
    cluster.run(2)
    assert cluster["b"].election.term == 2
    cluster.crash("a")
    cluster.nodes["a"].disk.term = 1
    cluster.start("a")
    cluster.run(2)
    assert [(name, cluster[name].election.term) for name in "ab" if cluster[name].election.is_coordinator] == [("a", 2), ("b", 2)]
    cluster.heal()
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "b"


# -- a reign goes on --------------------


def test_r14_a_laptop_that_was_away_alone_does_not_end_the_reign_of_the_others() -> None:
    cluster = settled()
    for _ in range(3):
        cluster.split("ab", "c")
        cluster.run(2)
        assert cluster["c"].election.is_coordinator
        cluster.heal()
        cluster.until(cluster.agreed)
        assert (cluster.coordinator, cluster["a"].election.role) == ("a", Role.REIGNING)
        assert cluster["a"].election.term == cluster["c"].election.term > cluster["c"].election._elected_in


def test_r14_of_two_that_were_apart_the_one_that_reigned_before_goes_on() -> None:
    cluster = settled("ab")
    for _ in range(3):
        cluster.split("a", "b")
        cluster.run(2)
        cluster.heal()
        cluster.until(cluster.agreed)
        assert cluster.coordinator == "a"


def test_r11_of_two_parts_that_meet_the_larger_ones_coordinator_stays() -> None:
    cluster = settled("abcde")
    cluster.split("ab", "cde")
    cluster.run(3)
    cluster.heal()
    cluster.until(cluster.agreed)
    assert cluster.coordinator in "cde"


def test_a_member_that_hears_of_the_higher_term_from_others_first_goes_on_streaming() -> None:
    """Its coordinator does not ask it to report, as at that moment it takes it for away."""
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    cluster.hold("c", "a")
    cluster.hold("a", "c")
    cluster["a"].membership.peers["c"].hears_me = False  # they have met a moment ago, and its next heartbeat is under way
    cluster["a"]._reachable_before.discard("c")
    cluster["b"].election.restore(3, "")
    cluster.until(lambda: cluster["c"].election.term == cluster["a"].election.term > 3, 0.7)
    cluster.release("c", "a")
    cluster.release("a", "c")
    cluster.run(1)
    client = cluster.client("c")
    assert client.copies(client.submit("t1")) == 2


def test_a_reign_that_goes_on_in_a_higher_term_repeats_nothing() -> None:
    cluster = settled()
    client, worker = cluster.client("b"), cluster.worker("b", slots=2)
    client.submit("t1", "t2")
    cluster.until(lambda: len(worker.held) == 2)
    cluster.split("ab", "c")
    cluster.run(2)
    away = cluster.client("c")
    away.submit("t3")
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(1)
    for id in sorted(worker.held):
        worker.finish(id)
    cluster.until(lambda: "t3" in worker.held)
    worker.finish("t3")
    cluster.until(lambda: set(client.results()) == {"t1", "t2"} and set(away.results()) == {"t3"})
    assert cluster["a"].broker.redelivered == 0


def test_r9_a_reign_tells_its_next_term_only_when_it_is_on_the_disk() -> None:
    cluster = settled()
    cluster.split("ab", "c")
    cluster.run(2)
    cluster.stall_disk("a")
    cluster.heal()
    cluster.run(0.5)
    assert cluster["a"].election.term == 1
    assert not [beat for beat in cluster.messages(Heartbeat, "a") if beat.term > 1]
    cluster.resume_disk("a")
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "a"
    assert cluster.nodes["a"].disk.term == cluster["c"].election.term


def test_r10_a_coordinator_that_nobody_follows_gives_way_to_one_that_it_does_not_hear() -> None:
    cluster = settled()
    cluster.split("ab", "c")
    cluster.run(2)
    cluster.cuts -= {("b", "c"), ("c", "b")}
    cluster.run(1.5)
    assert not cluster["c"].election.is_coordinator, "it reaches a majority, but so does a, whom that majority follows"
    assert cluster["a"].election.role is Role.REIGNING
    cluster.heal()
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "a"


# -- stalls and sleep --------------------


def test_r12_a_coordinator_whose_own_loop_stalled_steps_down_and_says_so() -> None:
    cluster = settled()
    term = cluster["a"].election.term
    cluster.pause("a", 0.6)
    said = [beat for beat in cluster.messages(Heartbeat, "a", "b") if beat.coordinator != "a"]
    assert said, "a silent step-down would leave the others waiting"
    cluster.until(cluster.agreed, 2.0)
    assert cluster[cluster.coordinator].election.term > term


def test_r12_a_shorter_stall_changes_nothing() -> None:
    cluster = settled()
    cluster.pause("a", 0.45)
    cluster.run(1)
    assert (cluster.coordinator, cluster["a"].election.term) == ("a", 1)


def test_r12_a_stalled_coordinator_dispatches_nothing_before_it_has_revalidated() -> None:
    cluster = settled()
    worker, client = cluster.worker("a"), cluster.client("a")
    cluster.pause("a", 5.0)
    client.submit("t1")
    cluster.until(lambda: worker.held)
    assert cluster.coordinator in ("b", "c")
    assert cluster["a"].dispatcher.delivered == 0


def test_r12_a_node_alone_has_nobody_to_step_down_for() -> None:
    cluster = Cluster("a")
    cluster.pause("a", 30)
    assert (cluster.coordinator, cluster["a"].election.term) == ("a", 1)


def test_r12_a_candidate_that_stalled_drops_its_votes() -> None:
    cluster = settled()
    cluster.hold("c", "b")
    cluster.crash("a")
    cluster.run(0.1)
    assert cluster["b"].election.role is Role.CANDIDATE
    cluster.now += 0.6
    cluster.turn(cluster.nodes["b"], lambda: None)
    assert cluster["b"].election.role is Role.FOLLOWER
    cluster.release("c", "b")
    assert cluster["b"].election.role is Role.FOLLOWER, "the answer of before the stall does not count"


def test_r14_a_node_that_woke_up_is_elected_last() -> None:
    cluster = settled()
    cluster.pause("b", 3.0)
    assert cluster["b"].election.asleep()
    cluster.run(1)
    assert cluster.coordinator == "a"
    cluster.crash("a")
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "c", "b was the deputy, but has just woken"


def test_r14_a_node_that_woke_up_is_elected_when_there_is_no_other() -> None:
    cluster = settled("ab")
    cluster.pause("b", 3.0)
    cluster.crash("a")
    assert cluster.until(lambda: cluster.coordinator == "b") < 1.0


@pytest.mark.parametrize("stall_s", [0.8, 3.0])
@pytest.mark.parametrize("name", ["b", "c"])
def test_r14_a_node_whose_own_loop_was_late_accuses_nobody(name: str, stall_s: float) -> None:
    cluster = settled()
    before = elections(cluster)
    cluster.pause(name, stall_s)
    assert {peer.id for peer in cluster[name].membership.reachable()} >= {"a"}
    cluster.run(3)
    assert cluster.messages(PreVote, name) == []
    assert (elections(cluster), cluster.coordinator, cluster["a"].election.term) == (before, "a", 1)


def test_r14_the_time_doubles_with_each_flap_up_to_an_hour() -> None:
    election = settled("ab")["b"].election
    spans = []
    for _ in range(9):
        election.woke_up(2.0)
        spans.append(election._asleep_until - election.now)
    assert spans == [min(SLEEP_PENALTY_S * 2**n, SLEEP_PENALTY_MAX_S) for n in range(9)]


def test_r14_the_time_decays_while_the_node_stays_awake() -> None:
    cluster = settled("ab")
    election, membership = cluster["b"].election, cluster["b"].membership

    def sleeps() -> float:
        election.woke_up(2.0)
        return election._asleep_until - membership.now

    assert [sleeps() for _ in range(4)] == [60.0, 120.0, 240.0, 480.0]
    membership.now = election._asleep_until + 500.0
    assert sleeps() == 240.0, "awake for once the last time: half of it"
    membership.now = election._asleep_until + 100_000.0
    assert sleeps() == SLEEP_PENALTY_S


def test_r14_a_stall_within_the_heartbeat_timeout_is_no_sleep() -> None:
    election = settled("ab")["b"].election
    election.woke_up(0.9)
    assert not election.asleep()


# -- cuts that are not splits --------------------


def test_r13_a_pre_vote_is_refused_while_a_two_way_peer_hears_the_coordinator() -> None:
    cluster = settled()
    cluster.cut("a", "b")
    cluster.run(3)
    assert cluster.messages(PreVote, "b", "c")
    assert not any(answer.granted for answer in cluster.messages(PreVoted, "c", "b"))
    assert (cluster["b"].election.term, cluster["c"].election.coordinator) == (1, "a")


@pytest.mark.parametrize(("speaker", "deaf"), [("a", "b"), ("b", "a"), ("a", "c"), ("c", "a"), ("b", "c")])
def test_r13_a_one_way_cut_makes_no_election_storm(speaker: str, deaf: str) -> None:
    cluster = settled()
    before = elections(cluster)
    cluster.cut(speaker, deaf, one_way=True)
    cluster.run(30)
    assert elections(cluster) == before
    assert cluster["a"].election.role is Role.REIGNING
    cluster.heal()
    cluster.until(cluster.agreed)
    assert cluster["a"].election.term == 1


def test_r13_alive_means_heard_and_confirmed_to_hear() -> None:
    cluster = settled()
    cluster.cut("a", "b", one_way=True)
    cluster.run(2)
    assert not cluster["a"].membership.is_reachable("b"), "b is heard, but says that it does not hear"
    assert not cluster["b"].membership.is_reachable("a")


def test_r13_a_link_that_flaps_does_not_raise_the_term_each_time() -> None:
    cluster = settled()
    for _ in range(10):
        cluster.cut("a", "b")
        cluster.run(2)
        cluster.heal()
        cluster.run(2)
    assert cluster["a"].election.term == 1


# -- who is best --------------------


def test_the_complete_deputy_takes_over() -> None:
    cluster = settled("abcd")
    deputy = cluster["a"].replication.deputies[0]
    cluster.crash("a", vanish=True)
    cluster.until(cluster.agreed)
    assert cluster.coordinator == deputy


def test_weight_decides_between_equals() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.start("c", weight=1)
    cluster.until(cluster.agreed)
    for name in "abc":
        cluster.crash(name, vanish=True)
    cluster.start("a", "b", "c")
    cluster.until(cluster.agreed)
    assert cluster.coordinator == "c"


def test_a_node_that_shall_never_coordinate_does_not() -> None:
    cluster = Cluster("a")
    cluster.start("b", never_coordinate=True)
    cluster.until(lambda: cluster["b"].election.coordinator == "a")
    cluster.crash("a")
    cluster.run(15)
    assert cluster["b"].election.role is Role.FOLLOWER
    cluster.start("a")
    cluster.until(lambda: cluster["b"].election.coordinator == "a")


def test_a_new_node_does_not_disturb_the_reign() -> None:
    cluster = settled()
    cluster.start("d")
    cluster.run(2)
    assert (cluster.coordinator, cluster["a"].election.term, cluster["d"].election.coordinator) == ("a", 1, "a")
