"""R3: the same node key alive twice: the newer is refused, both alarm; a process that was only restarted is let in."""

from __future__ import annotations

import pytest

from mesh.core.cluster.twins import CLONED, LATER
from mesh.core.machine import Machine
from mesh.wire.entries import Member
from mesh.wire.frames import Envelope
from mesh.wire.messages import Heartbeat, Knock, Refused
from tests.unit.core.cluster import Cluster

CLONE = b"the clone"[:8]


@pytest.fixture
def cluster() -> Cluster:
    """a coordinates, b and c follow."""
    cluster = Cluster("abc")
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    return cluster


def knock_of(machine: Machine, incarnation: bytes = CLONE, standing: tuple[int, int] = (0, 0)) -> Knock:
    return Knock(machine.me.member(0), incarnation=incarnation, standing=standing)


def judged(cluster: Cluster, name: str, knock: Knock) -> str:
    """How a node answers a knock: a code, or nothing when it lets in."""
    verdict: list[Refused | None] = []
    cluster.turn(cluster.nodes[name], lambda: verdict.append(cluster[name].twins.judge(knock)))
    return verdict[0].code if verdict[0] is not None else ""


class Twin:
    """Another process under the key of a node; it says what a fresh process would."""

    def __init__(self, cluster: Cluster, of: str) -> None:
        self.cluster = cluster
        self.of = of
        self.number = 0

    def speak(self, *listeners: str) -> None:
        self.number += 1
        beat = Heartbeat(99, self.of, hears_you=True, complete=True, weight=9, never_coordinate=False, up_ms=10, wall_ms=0)
        for name in listeners:
            machine = self.cluster[name]
            self.cluster.turn(self.cluster.nodes[name], machine.on_peer, self.of, Envelope(CLONE, 1, self.number), beat)
        self.cluster.calm()

    def speak_for(self, seconds: float, *listeners: str) -> None:
        until = self.cluster.now + seconds
        while self.cluster.now < until:
            self.speak(*listeners)
            self.cluster.run(0.25)


def test_r3_what_the_newer_says_is_not_heard_while_the_older_speaks(cluster: Cluster) -> None:
    Twin(cluster, "c").speak_for(3, "a", "b")
    assert cluster.coordinator == "a"
    assert cluster["a"].election.term < 99
    assert cluster.agreed()


def elsewhere(cluster: Cluster, name: str) -> Member:
    """The roster's entry for a node as its twin at another address says it: it has counted itself up on its own."""
    known = cluster["a"].membership.members[name]
    return Member(known.id, known.name, known.key, ["elsewhere:1"], revision=known.revision + 1)


def test_r3_nobody_is_sent_to_the_twin_of_a_node_that_is_heard(cluster: Cluster) -> None:
    cluster["a"].introduce([elsewhere(cluster, "c")])
    assert cluster["a"].membership.members["c"].addresses == ["c:1"]


def test_a_node_that_is_not_heard_is_looked_for_where_others_say_that_it_is(cluster: Cluster) -> None:
    moved = elsewhere(cluster, "c")
    cluster.crash("c")
    cluster.run(2)
    cluster["a"].introduce([moved])
    assert cluster["a"].membership.members["c"].addresses == ["elsewhere:1"]


def test_r3_the_others_alarm_when_both_go_on_speaking(cluster: Cluster) -> None:
    twin = Twin(cluster, "c")
    twin.speak_for(0.5, "b")
    assert cluster["b"].twins.take_alarms() == []  # it may be a restart
    twin.speak_for(2, "b")
    [alarm] = cluster["b"].twins.take_alarms()
    assert alarm.startswith("two processes have the key of c: the one at c:1 is heard")
    twin.speak_for(2, "b")
    assert cluster["b"].twins.take_alarms() == []  # once is enough


def test_r3_a_member_refuses_a_knock_for_good_only_when_both_are_proved_alive(cluster: Cluster) -> None:
    knock = knock_of(cluster["c"])
    assert judged(cluster, "b", knock) == LATER
    cluster.run(0.5)
    assert judged(cluster, "b", knock) == LATER
    cluster.run(1)
    assert judged(cluster, "b", knock) == CLONED


def test_the_knock_of_the_process_that_is_heard_is_no_matter(cluster: Cluster) -> None:
    knock = knock_of(cluster["c"], cluster["c"].twins.incarnation)
    assert judged(cluster, "b", knock) == ""
    assert judged(cluster, "c", knock) == ""


def test_a_newcomers_knock_is_no_matter(cluster: Cluster) -> None:
    assert judged(cluster, "c", Knock(cluster["c"].me.member(0))) == ""


@pytest.mark.parametrize("end", ["killed", "left", "vanished"])
def test_r3_a_process_that_was_restarted_is_heard_and_let_in(cluster: Cluster, end: str) -> None:
    if end == "left":
        cluster.leave("c")
    else:
        cluster.crash("c", vanish=end == "vanished")
    if end == "vanished":
        cluster.run(1.1)
    cluster.start("c")
    cluster.until(lambda: cluster.agreed() and cluster["a"].membership.is_reachable("c"), 2)
    assert judged(cluster, "b", knock_of(cluster["c"], cluster["c"].twins.incarnation)) == ""
    assert cluster["a"].twins.take_alarms() == cluster["b"].twins.take_alarms() == []


def test_r3_of_two_that_meet_the_one_with_less_to_say_for_itself_goes(cluster: Cluster) -> None:
    weaker = knock_of(cluster["c"], standing=(0, 99_999))
    assert judged(cluster, "c", weaker) == CLONED
    assert "has this node's key and was refused" in cluster["c"].twins.take_alarms()[0]
    assert cluster["c"].twins.fate == ""
    stronger = knock_of(cluster["c"], standing=(9, 1))
    assert judged(cluster, "c", stronger) == LATER
    assert "mesh identity reset" in cluster["c"].twins.fate


def test_r3_one_that_slept_while_its_twin_took_its_place_is_the_newer_when_it_wakes(cluster: Cluster) -> None:
    cluster.nodes["c"].paused = True
    cluster.run(2)
    twin = Twin(cluster, "c")
    twin.speak_for(1, "a", "b")
    cluster.nodes["c"].paused = False
    for _ in range(8):
        twin.speak("a", "b")
        cluster.run(0.25)
    assert judged(cluster, "b", knock_of(cluster["c"], cluster["c"].twins.incarnation)) == CLONED
    assert cluster["b"].twins.take_alarms() != []


def test_r3_a_copy_finds_the_original_where_its_directory_says_that_it_was(cluster: Cluster) -> None:
    cluster.crash("c")
    cluster.start("c")
    assert cluster["c"].former_addresses == ["c:1"]
