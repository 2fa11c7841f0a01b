"""Numbers on messages between nodes: loss, repetition and restarts are noticed, whatever the network does."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mesh.core.cluster.channels import Arrival, Channel
from mesh.wire.frames import Envelope

A1, A2, B1 = b"a1".ljust(8), b"a2".ljust(8), b"b1".ljust(8)
TAKEN = (Arrival.NEXT, Arrival.NEXT_OF_NEW_PROCESS)


def test_messages_of_a_channel_are_numbered_from_one() -> None:
    channel = Channel(A1)
    assert [channel.next_envelope() for _ in range(3)] == [Envelope(A1, 1, 1), Envelope(A1, 1, 2), Envelope(A1, 1, 3)]


@given(st.lists(st.integers(0, 30), max_size=60))
def test_whatever_is_lost_or_repeated_the_taken_ones_are_a_prefix_each_once(arrivals: list[int]) -> None:
    sender, receiver = Channel(A1), Channel(B1)
    envelopes = [sender.next_envelope() for _ in range(31)]
    taken = [index for index in arrivals if receiver.arrive(envelopes[index]) in TAKEN]
    assert taken == list(range(len(taken)))


steps = st.lists(st.sampled_from(["send", "lose", "repeat", "restart", "reset arrives"]), max_size=80)


@given(steps)
def test_after_a_gap_and_a_new_channel_nothing_is_skipped(plan: list[str]) -> None:
    """A sender that may restart, a network that loses and repeats, a receiver whose requests for a new channel may come late."""
    incarnation = 1
    sender, receiver = Channel(b"%08d" % incarnation), Channel(B1)
    last = sender.next_envelope()
    asked: list[Envelope] = []
    taken: list[Envelope] = []

    def arrive(envelope: Envelope) -> None:
        arrival = receiver.arrive(envelope)
        if arrival in TAKEN:
            taken.append(envelope)
        elif arrival is Arrival.GAP:
            asked.append(envelope)

    for step in plan:
        if step == "restart":
            incarnation += 1
            sender = Channel(b"%08d" % incarnation)
        elif step == "reset arrives" and asked:
            envelope = asked.pop()
            sender.reset(envelope.incarnation, envelope.epoch)
        elif step == "repeat":
            arrive(last)
        elif step in ("send", "lose"):
            last = sender.next_envelope()
            if step == "send":
                arrive(last)
    assert len(taken) == len(set(taken))
    for before, after in pairwise(taken):
        joins = before[:2] == after[:2] and after.number == before.number + 1
        begins = before[:2] != after[:2] and after.number == 1
        assert joins or begins, "within a channel nothing is missing, and a new one is taken from its start"


def test_a_gap_is_reported_once_until_the_request_may_have_been_lost() -> None:
    sender, receiver = Channel(A1), Channel(B1)
    first, _lost, third, fourth, fifth = (sender.next_envelope() for _ in range(5))
    arrivals = [receiver.arrive(envelope) for envelope in (first, third, fourth)]
    assert arrivals == [Arrival.NEXT_OF_NEW_PROCESS, Arrival.GAP, Arrival.KNOWN_GAP]
    receiver.ask_again()
    assert receiver.arrive(fifth) is Arrival.GAP


def test_a_request_opens_one_new_channel() -> None:
    channel = Channel(A1)
    channel.next_envelope()
    assert channel.reset(A1, 1)
    assert not channel.reset(A1, 1), "done already"
    assert not channel.reset(A2, 2), "of another process"
    assert channel.next_envelope() == Envelope(A1, 2, 1)


def test_the_first_message_of_a_new_process_is_told_from_that_of_a_new_channel() -> None:
    receiver = Channel(B1)
    assert receiver.arrive(Envelope(A1, 1, 1)) is Arrival.NEXT_OF_NEW_PROCESS
    assert receiver.arrive(Envelope(A1, 2, 1)) is Arrival.NEXT
    assert receiver.arrive(Envelope(A2, 1, 1)) is Arrival.NEXT_OF_NEW_PROCESS


def test_what_comes_late_from_an_old_channel_is_stale() -> None:
    receiver = Channel(B1)
    receiver.arrive(Envelope(A1, 2, 1))
    assert receiver.arrive(Envelope(A1, 1, 7)) is Arrival.STALE
    assert receiver.arrive(Envelope(A1, 2, 1)) is Arrival.STALE
