"""Frames: what was sent arrives, and whatever else arrives is refused with one kind of error."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import RemoteProtocolError
from mesh.wire import frames
from mesh.wire.entries import DeadLetter, Entry, Failure, Member, Message, Result
from mesh.wire.messages import (
    Append,
    Confirm,
    DotSet,
    HeadState,
    Heartbeat,
    LobbyMessage,
    PeerMessage,
    Ping,
    Replicate,
    SessionReply,
    SessionRequest,
    Submit,
)
from tests.unit.wire.values import values

UNIONS: dict[str, tuple[Any, Callable[[bytes], Any]]] = {
    "peer": (PeerMessage, frames.decode_peer),
    "request": (SessionRequest, frames.decode_request),
    "reply": (SessionReply, frames.decode_reply),
    "lobby": (LobbyMessage, frames.decode_lobby),
    "entry": (Entry, frames.decode_entry),
}
by_union = pytest.mark.parametrize(("union", "decode"), UNIONS.values(), ids=UNIONS.keys())
KINDS = [
    pytest.param(kind, decode, id=f"{name}-{kind.__name__}") for name, (union, decode) in UNIONS.items() for kind in typing.get_args(union)
]

few = settings(max_examples=25)
some = settings(max_examples=40)


# -- round trip --------------------


@pytest.mark.parametrize(("kind", "decode"), KINDS)
def test_every_message_and_entry_arrives_as_it_was_sent(kind: type, decode: Callable[[bytes], Any]) -> None:
    @few
    @given(values(kind))
    def round_trip(value: Any) -> None:
        arrived = decode(frames.encode(value))
        assert type(arrived) is kind
        assert arrived == value

    round_trip()


@given(st.binary(max_size=16), st.integers(0, 1 << 62), st.integers(0, 1 << 62))
def test_an_envelope_arrives_as_it_was_sent(incarnation: bytes, epoch: int, number: int) -> None:
    envelope = frames.Envelope(incarnation, epoch, number)
    assert frames.decode_envelope(frames.encode(envelope)) == envelope


def test_frames_may_lie_in_a_buffer() -> None:
    assert frames.decode_request(memoryview(frames.encode(Ping()))) == Ping()


# -- what is refused --------------------


@pytest.mark.parametrize("decode", [*(decode for _, decode in UNIONS.values()), frames.decode_envelope])
def test_any_bytes_are_a_message_or_a_protocol_error(decode: Callable[[bytes], Any]) -> None:
    @given(st.binary(max_size=64))
    def fuzz(frame: bytes) -> None:
        try:
            decode(frame)
        except RemoteProtocolError:
            return

    fuzz()


msgpack_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=4) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@by_union
def test_any_well_formed_messagepack_is_a_message_or_a_protocol_error(union: Any, decode: Callable[[bytes], Any]) -> None:
    tags = [kind.__struct_config__.tag for kind in typing.get_args(union)]

    @some
    @given(st.sampled_from(tags), st.lists(msgpack_values, max_size=9))
    def fuzz(tag: int, fields: list[Any]) -> None:
        try:
            message = decode(msgspec.msgpack.encode([tag, *fields]))
        except RemoteProtocolError:
            return
        assert decode(frames.encode(message)) == message or "nan" in repr(message)

    fuzz()


@by_union
def test_a_message_with_one_byte_changed_is_a_message_or_a_protocol_error(union: Any, decode: Callable[[bytes], Any]) -> None:
    @some
    @given(values(union), st.data())
    def fuzz(value: Any, data: st.DataObject) -> None:
        frame = bytearray(frames.encode(value))
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
        try:
            decode(bytes(frame))
        except RemoteProtocolError:
            return

    fuzz()


@by_union
def test_every_message_cut_short_is_a_protocol_error(union: Any, decode: Callable[[bytes], Any]) -> None:
    @some
    @given(values(union), st.data())
    def fuzz(value: Any, data: st.DataObject) -> None:
        frame = frames.encode(value)
        with pytest.raises(RemoteProtocolError):
            decode(frame[: data.draw(st.integers(0, len(frame) - 1))])

    fuzz()


@pytest.mark.parametrize("ranges", [[1], [3, 1], [0, 2], [-5, 9], [1, 5, 3, 9]])
def test_ranges_that_are_none_are_refused(ranges: list[int]) -> None:
    batch = [10, 1, 1, [], [[b"j" * 16, ranges]]]
    with pytest.raises(RemoteProtocolError, match="ranges"):
        frames.decode_peer(msgspec.msgpack.encode(batch))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        frames.decode_peer(b"\x91" * 100_000)


def test_a_length_that_is_not_there_is_not_believed() -> None:
    with pytest.raises(RemoteProtocolError):
        frames.decode_peer(b"\xdd\xff\xff\xff\xff")


def test_text_that_is_not_utf_8_is_refused() -> None:
    frame = frames.encode(Heartbeat(1, "abcd", True, True, 0, False, 0, 0))
    with pytest.raises(RemoteProtocolError):
        frames.decode_peer(frame.replace(b"abcd", b"ab\xff\xfe"))


def test_a_message_of_another_conversation_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        frames.decode_peer(frames.encode(Submit(1, [])))
    with pytest.raises(RemoteProtocolError):
        frames.decode_request(frames.encode(Confirm(1, 2)))


# -- evolution --------------------


def test_no_number_is_used_twice() -> None:
    tagged: dict[int, type] = {}
    for name, (union, _) in UNIONS.items():
        for kind in typing.get_args(union):
            if name != "entry":
                assert tagged.setdefault(kind.__struct_config__.tag, kind) is kind
    entries = [kind.__struct_config__.tag for kind in typing.get_args(Entry)]
    assert len(entries) == len(set(entries))


def test_the_numbers_of_messages_and_entries_stay_what_they_are() -> None:
    """A disk or a node of an older version knows them by these."""
    entries = {kind.__name__: kind.__struct_config__.tag for kind in typing.get_args(Entry)}
    assert entries.items() >= {"Message": 1, "Result": 2, "Member": 3, "Setting": 4, "DeadLetter": 5}.items()
    numbers = {kind.__name__: kind.__struct_config__.tag for kind in typing.get_args(PeerMessage)}
    assert (numbers["Heartbeat"], numbers["Replicate"], numbers["Replicated"], numbers["Deliver"]) == (1, 10, 11, 17)


def test_a_message_of_a_newer_version_is_read_without_what_is_new() -> None:
    raw = msgspec.msgpack.decode(frames.encode(Ping()))
    assert frames.decode_request(msgspec.msgpack.encode([*raw, "a field of tomorrow"])) == Ping()


def test_a_message_of_an_older_version_has_the_defaults_of_what_it_lacks() -> None:
    assert frames.decode_entry(msgspec.msgpack.encode([1, "t1", "q", "work", b""])) == Message("t1", "q", "work", b"")
    assert frames.decode_entry(msgspec.msgpack.encode([2, "t1", 4])) == Result("t1", 4)
    assert frames.decode_entry(msgspec.msgpack.encode([3, "m", "m", b"", []])) == Member("m", "m", b"", [])


def test_nested_structs_arrive_as_such() -> None:
    entries: list[Entry] = [Message("t1", "q", "work", b""), Result("t2", 5, failure=Failure("builtins.ValueError", "no"))]
    batch = Replicate(1, 2, [Append(b"j" * 16, "a", 0, 0, 2, 7, entries)], [DotSet(b"j" * 16, [1, 2])])
    assert frames.decode_peer(frames.encode(batch)) == batch
    letter = DeadLetter(Message("t1", "q", "work", b""), "poison")
    assert frames.decode_entry(frames.encode(letter)) == letter
    assert HeadState(b"j", "a", 0, 1, 2) == msgspec.msgpack.decode(frames.encode(HeadState(b"j", "a", 0, 1, 2)), type=HeadState)
