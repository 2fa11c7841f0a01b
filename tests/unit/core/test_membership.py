"""Who belongs to the mesh: one roster on every node, with the newest word on each member."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.config import Settings
from mesh.core.cluster.membership import Membership
from mesh.core.cluster.replica import Journal, Replica
from mesh.core.effects import Identity
from mesh.core.turn import Turn
from mesh.wire.entries import Member, Scope
from mesh.wire.messages import Append
from tests.unit.core.cluster import Cluster


def roster(name: str = "a") -> Membership:
    own = name.encode()
    me = Identity(name, name, b"k" * 32, "m", "m", own.ljust(16), own.ljust(15) + b"s", [f"{name}:1"])
    return Membership(me, Replica(Turn(), name, me.bulk_journal, me.shared_journal), Settings())


def live_members(membership: Membership) -> list[tuple[bytes, int]]:
    journals: list[Journal] = list(membership._replica.journals.values())
    return sorted((journal.name, sequence) for journal in journals for sequence in journal.live)


values = st.lists(st.tuples(st.sampled_from("xy"), st.integers(1, 3), st.booleans()), min_size=1, max_size=6)


@settings(max_examples=40)
@given(values, st.data())
def test_of_several_values_for_one_member_one_stands_on_every_node(items: list[tuple[str, int, bool]], data: st.DataObject) -> None:
    """Values written on both sides of a split, heard in any order."""
    appends = [
        Append(f"j{number}".encode().ljust(16), "w", Scope.SHARED, 0, 1, 0, [Member(id, id, b"", [], present=present, revision=revision)])
        for number, (id, revision, present) in enumerate(items)
    ]
    one, other = roster("a"), roster("b")
    for append in appends:
        one._replica.apply(append)
    for append in data.draw(st.permutations(appends)):
        other._replica.apply(append)
    assert one.members == other.members
    assert live_members(one) == live_members(other)
    assert len(live_members(one)) == len(one.members), "superseded values are settled"
    assert all(one.members[id].revision == max(revision for other, revision, _ in items if other == id) for id in one.members)


def test_a_member_that_says_nothing_new_writes_nothing() -> None:
    membership = roster()
    membership.announce_me(1)
    before = live_members(membership)
    membership.announce_me(2)
    assert live_members(membership) == before


def test_a_new_address_replaces_the_old_entry() -> None:
    membership = roster()
    membership.admit(Member("x", "x", b"", ["old:1"]))
    membership.admit(Member("x", "x", b"", ["new:1"]))
    assert membership.members["x"].addresses == ["new:1"]
    assert len(live_members(membership)) == 1


def test_an_introduction_does_not_override_what_is_known() -> None:
    membership = roster()
    membership.admit(Member("x", "x", b"", ["known:1"]))
    membership.introduce(Member("x", "x", b"", ["rumour:1"]))
    membership.introduce(Member("y", "y", b"", ["rumour:1"]))
    assert {id: member.addresses for id, member in membership.members.items()} == {"x": ["known:1"], "y": ["rumour:1"]}


def test_nobody_is_introduced_to_itself() -> None:
    membership = roster("a")
    membership.introduce(Member("a", "a", b"", ["elsewhere:1"]))
    assert membership.members == {}


def test_r6_guests_and_those_who_left_count_neither_for_majorities_nor_for_copies() -> None:
    membership = roster("a")
    membership.announce_me(0)
    membership.admit(Member("guest", "guest", b"", [], durable=False))
    membership.admit(Member("left", "left", b"", []))
    membership.mark_left("left")
    assert [member.id for member in membership.admitted()] == ["a"]
    assert membership.has_authority_now()
    assert "guest" not in membership.peers


def test_r5_two_meshes_that_meet_are_one_by_an_ordinary_merge() -> None:
    """Both were founded alone; then one knocks at the other."""
    cluster = Cluster()
    cluster.cut("a", "b")
    cluster.start("a")
    cluster.start("b")
    clients = [cluster.client("a"), cluster.client("b")]
    for client, id in zip(clients, ("t1", "t2"), strict=True):
        assert client.copies(client.submit(id)) == 1
    cluster.heal()
    members = cluster["b"].on_knock(cluster["a"].me.member(0))
    cluster["a"].introduce(members)
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    assert [node.on_disk() for node in cluster.running()] == [{"message:t1", "message:t2"}] * 2


def test_every_node_has_the_same_roster() -> None:
    cluster = Cluster("a")
    cluster.start("b", "c")
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    for one, other in itertools.combinations("abc", 2):
        assert cluster[one].membership.members == cluster[other].membership.members


def program_of(cluster: Cluster, name: str) -> Member:
    """What a program of a node's home says of itself when it knocks elsewhere: the key of the home is that of its node."""
    node = cluster[name].me
    return Member(node.id, node.name, node.key, [], durable=False)


def test_a_program_that_knocks_with_the_key_of_its_node_does_not_make_that_a_guest() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    cluster[cluster.coordinator].on_knock(program_of(cluster, "b" if cluster.coordinator == "a" else "a"))
    cluster.run(0.5)
    assert {member.id for member in cluster["a"].membership.admitted()} == {"a", "b"}


def test_a_node_that_is_taken_for_a_program_of_its_home_says_that_it_is_a_node() -> None:
    """Its programs knocked elsewhere before it did, or on the other side of a split."""
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    other = "b" if cluster.coordinator == "a" else "a"
    cluster[cluster.coordinator].membership.admit(program_of(cluster, other))
    assert other not in {member.id for member in cluster[cluster.coordinator].membership.admitted()}
    cluster.run(0.5)
    for node in cluster.running():
        assert {member.id for member in node.machine.membership.admitted()} == {"a", "b"}
