"""What is handed on of what was heard on a link where anyone can claim anything."""

from mesh.discovery.base import Candidate
from mesh.discovery.sightings import (
    ADDRESSES_MAX,
    INSTANCES_MAX,
    OURS_BURST,
    UNKNOWN_BURST,
    UNKNOWN_PER_S,
    Announcement,
    Sightings,
)


def heard(instance: str, *addresses: str, ours: bool = False) -> Announcement:
    return Announcement(instance, addresses or ("10.0.0.1:7700",), ours)


def test_every_address_of_an_announcement_is_a_candidate_of_its_own():
    sightings = Sightings()
    assert sightings.hear(heard("a", "10.0.0.1:7", "172.17.0.1:7"), 0) == [
        Candidate("10.0.0.1:7", "mdns"),
        Candidate("172.17.0.1:7", "mdns"),
    ]


def test_the_same_announcement_is_handed_on_once():
    sightings = Sightings()
    assert sightings.hear(heard("a"), 0)
    assert not sightings.hear(heard("a"), 1)


def test_new_addresses_of_a_known_instance_are_handed_on():
    sightings = Sightings()
    sightings.hear(heard("a", "10.0.0.1:7"), 0)
    assert sightings.hear(heard("a", "10.0.0.1:7", "10.0.0.2:7"), 1) == [Candidate("10.0.0.2:7", "mdns")]
    assert not sightings.hear(heard("a", "10.0.0.2:7"), 2)
    assert sightings.hear(heard("a", "10.0.0.1:7"), 3) == [Candidate("10.0.0.1:7", "mdns")]


def test_an_instance_that_turns_out_to_be_ours_is_handed_on_again():
    sightings = Sightings()
    sightings.hear(heard("a"), 0)
    assert sightings.hear(heard("a", ours=True), 1) == [Candidate("10.0.0.1:7700", "mdns", True)]
    assert sightings.ours() == {"a"}
    assert len(sightings) == 1


def test_a_spoofed_text_without_tag_does_not_take_a_members_place_away():
    sightings = Sightings()
    sightings.hear(heard("a", ours=True), 0)
    assert sightings.hear(heard("a", "10.6.6.6:1"), 1) == [Candidate("10.6.6.6:1", "mdns", False)]
    assert sightings.ours() == {"a"}


def test_after_a_goodbye_it_is_handed_on_again():
    sightings = Sightings()
    sightings.hear(heard("a", ours=True), 0)
    sightings.forget("a")
    assert len(sightings) == 0
    assert sightings.hear(heard("a", ours=True), 1)


def test_an_announcement_without_addresses_takes_no_room():
    sightings = Sightings()
    assert not sightings.hear(Announcement("a", (), False), 0)
    assert len(sightings) == 0


def test_addresses_of_one_announcement_are_bounded():
    sightings = Sightings()
    assert len(sightings.hear(heard("a", *(f"10.0.0.{host}:7" for host in range(100))), 0)) == ADDRESSES_MAX


def test_a_flood_of_100_000_names_neither_grows_memory_nor_floods_the_node():
    sightings = Sightings()
    seconds, names = 10.0, 100_000
    handed = sum(len(sightings.hear(heard(f"{n:016x}"), n * seconds / names)) for n in range(names))
    assert len(sightings) <= INSTANCES_MAX
    assert handed <= UNKNOWN_BURST + UNKNOWN_PER_S * seconds + 1


def test_in_a_flood_of_strange_names_members_are_heard_at_once():
    sightings = Sightings()
    for n in range(10_000):
        sightings.hear(heard(f"{n:016x}"), 0.0)
    for n in range(64):
        assert sightings.hear(heard(f"member{n}", ours=True), 0.0)


def test_what_the_budget_refused_gets_its_chance_when_heard_again():
    sightings = Sightings()
    for n in range(int(UNKNOWN_BURST)):
        sightings.hear(heard(f"{n:016x}"), 0.0)
    assert not sightings.hear(heard("late"), 0.0)
    assert sightings.hear(heard("late"), 1.0)


def test_strangers_make_room_before_members_and_the_oldest_before_the_newest():
    sightings = Sightings(instances_max=3)
    sightings.hear(heard("member", ours=True), 0)
    for name in ("s1", "s2", "s3"):
        sightings.hear(heard(name), 0)
    assert len(sightings) == 3
    assert not sightings.hear(heard("member", ours=True), 1)
    assert not sightings.hear(heard("s3"), 1)
    assert sightings.hear(heard("s1"), 1)


def test_replayed_tags_are_bounded_too():
    sightings = Sightings()
    handed = sum(len(sightings.hear(heard(f"{n:016x}", ours=True), 0.0)) for n in range(5000))
    assert handed <= OURS_BURST
    assert len(sightings) <= INSTANCES_MAX
