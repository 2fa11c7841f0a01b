"""Bodies: what arrives equals what was sent, in type too, or encoding says what can't travel and where it is."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import io
import itertools
import math
import struct
import threading
import tracemalloc
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import NotEncodable, RemoteProtocolError, UsageError
from mesh.wire.bodies import DEPTH_MAX, EXTENSIONS, decode, decode_call, encode, encode_call

ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"]).map(ZoneInfo)
OFFSETS = st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23))
FIXED = st.one_of(st.just(dt.UTC), st.builds(dt.timezone, OFFSETS), st.builds(dt.timezone, OFFSETS, st.text(max_size=5)))
FOLD = st.sampled_from([0, 1])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
DATETIMES = st.builds(lambda value, fold: value.replace(fold=fold), st.datetimes(timezones=st.none() | ZONES | FIXED), FOLD)
TIMES = st.builds(lambda value, zone, fold: value.replace(tzinfo=zone, fold=fold), st.times(), st.none() | ZONES | FIXED, FOLD)
HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 70), 1 << 70),
    st.floats(),
    TEXT,
    st.binary(max_size=10),
    DATETIMES,
    st.dates(),
    TIMES,
    st.timedeltas(),
    st.decimals(),
    st.sampled_from([Decimal("sNaN12"), Decimal("-0"), Decimal("1E+999"), Decimal("1.500")]),
    st.uuids(),
    st.complex_numbers(),
    st.fractions(),
    st.builds(range, st.integers(), st.integers(), st.integers(1, 1 << 70)),
    TEXT.map(PurePosixPath),
    TEXT.map(PureWindowsPath),
)
KEYS = st.recursive(
    HASHABLE.filter(lambda value: not is_signalling(value)),
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
VALUES = st.recursive(
    HASHABLE | st.binary(max_size=10).map(bytearray) | st.sets(KEYS, max_size=3) | st.frozensets(KEYS, max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.lists(inner, max_size=4).map(tuple) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def is_signalling(value: Any) -> bool:
    return type(value) is Decimal and value.is_snan()


def exact(value: Any) -> Any:
    """A form of the value that is equal only for what equals it in type, zone, fold, sign and NaN too."""
    kind = type(value)
    if kind in (list, tuple):
        return kind.__name__, [exact(item) for item in value]
    if kind in (set, frozenset):
        return kind.__name__, sorted(repr(exact(item)) for item in value)
    if kind is dict:
        return "dict", [(exact(key), exact(item)) for key, item in value.items()]
    if kind is float:
        return "float", struct.pack(">d", value)
    if kind is complex:
        return "complex", struct.pack(">dd", value.real, value.imag)
    if kind in (dt.datetime, dt.time):
        name = value.tzinfo.tzname(None) if type(value.tzinfo) is dt.timezone else None
        return kind.__name__, value.replace(tzinfo=None), value.fold, type(value.tzinfo), repr(value.tzinfo), name
    if kind in (Decimal, range):
        return kind.__name__, repr(value)
    return kind.__name__, value


def refused(value: Any, **options: Any) -> NotEncodable:
    with pytest.raises(NotEncodable) as raised:
        encode(value, **options)
    assert raised.value.path
    assert str(raised.value).startswith(raised.value.path)
    return raised.value


def nested(wrap: Any, levels: int) -> Any:
    value: Any = wrap([])
    for _ in range(levels - 1):
        value = wrap([value])
    return value


# -- what arrives equals what was sent -------------------------------------------------------------------------------------------------


@given(VALUES)
def test_what_arrives_equals_what_was_sent_in_type_too(value: Any):
    assert exact(decode(encode(value))) == exact(value)


@given(st.lists(VALUES, max_size=3).map(tuple), st.dictionaries(TEXT, VALUES, max_size=3))
def test_the_arguments_of_a_call_arrive_as_they_were_sent(args: tuple[Any, ...], kwargs: dict[str, Any]):
    assert exact(decode_call(encode_call(args, kwargs))) == exact((args, kwargs))


@given(JSON_VALUES)
def test_what_arrives_by_json_equals_what_was_sent(value: Any):
    body = encode(value, serializer="json")
    assert body[0] == 1
    assert exact(decode(body)) == exact(value)
    assert exact(decode_call(encode_call((value,), {"k": value}, serializer="json"))) == exact(((value,), {"k": value}))


@pytest.mark.parametrize("zone", [None, dt.UTC, ZoneInfo("Europe/Berlin"), dt.timezone(dt.timedelta(hours=1), "CET")])
def test_both_folds_of_an_ambiguous_hour_arrive(zone: dt.tzinfo | None):
    for fold in (0, 1):
        moment = dt.datetime(2024, 10, 27, 2, 30, tzinfo=zone, fold=fold)
        arrived = decode(encode(moment))
        assert (exact(arrived), arrived.utcoffset()) == (exact(moment), moment.utcoffset())


@pytest.mark.parametrize("edge", [-(1 << 63), -(1 << 63) - 1, (1 << 64) - 1, 1 << 64, 1 << 5000, -(1 << 127), (1 << 127) - 1])
def test_integers_around_64_bits_arrive(edge: int):
    assert exact(decode(encode(edge))) == exact(edge)


@pytest.mark.parametrize("extreme", [dt.datetime.min, dt.datetime.max, dt.date.max, dt.timedelta.min, dt.timedelta.max, dt.time.max])
def test_the_ends_of_the_calendar_arrive(extreme: Any):
    assert exact(decode(encode(extreme))) == exact(extreme)


@pytest.mark.parametrize(
    "value",
    [
        bytearray(b"x"),
        [bytearray(b"x")],
        (bytearray(b"x"), b"x"),
        {"a": [bytearray()]},
        {1: (bytearray(b"\x00"),)},
        [{}, (bytearray(b"y"),)],
    ],
)
def test_a_bytearray_stays_one_wherever_it_is(value: Any):
    assert exact(decode(encode(value))) == exact(value)
    assert exact(decode_call(encode_call((1, value), {"k": value}))) == exact(((1, value), {"k": value}))


def test_a_path_arrives_as_a_pure_path_of_its_flavour():
    arrived = decode(encode(Path("a") / "b"))
    assert isinstance(arrived, PurePath)
    assert not isinstance(arrived, Path)
    assert arrived == PurePath("a/b")


def test_one_object_in_two_places_arrives_as_two_equal_ones():
    shared: list[int] = [1]
    first, second = decode(encode([shared, shared]))
    assert first == second == [1]
    assert first is not second


def test_an_argument_list_may_be_a_list():
    assert decode_call(encode_call([1, 2], {})) == ((1, 2), {})


def test_the_first_byte_names_the_serializer():
    assert encode(None) == b"\x00\xc0"
    assert encode(None, serializer="json") == b"\x01null"
    assert encode_call((1, 2), {}) == b"\x00\x92\x92\x01\x02\x80"
    with pytest.raises(UsageError, match="pickle"):
        encode(None, serializer="pickle")
    with pytest.raises(UsageError, match="pickle"):
        encode_call((), {}, serializer="pickle")


def test_the_extension_table_describes_every_type_that_is_sent_by_extension():
    examples = [(), set(), frozenset(), 1 << 70, bytearray(), 1j, Decimal(1), Fraction(1, 2), range(2), dt.datetime.min, dt.date.min]
    examples += [dt.time.min, dt.timedelta(1), UUID(int=5), PurePosixPath("a"), PureWindowsPath("a")]
    codes = [msgpack.unpackb(encode(value)[1:]).code for value in examples]
    assert codes == list(EXTENSIONS) == list(range(1, 17))
    for code, value in zip(codes, examples, strict=True):
        assert EXTENSIONS[code].kind is type(value)
        assert EXTENSIONS[code].meaning


def test_messagepacks_own_timestamp_is_read_as_utc():
    assert decode(b"\x00" + msgpack.packb(msgpack.Timestamp(1, 500_000_000))) == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, dt.UTC)


def test_threads_encode_and_decode_at_once_without_mixing():
    wrong: list[object] = []

    def work(number: int) -> None:
        value = [(number, str(number) * 50, {number: bytearray(b"x")})] * 20
        for _ in range(200):
            if decode(encode(value)) != value:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# -- what can't be sent ----------------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    HIGH = 1


class OwnZone(dt.tzinfo):
    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(0)


@dataclasses.dataclass
class User:
    name: str


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError("no text")

    __hash__ = object.__hash__


Point = collections.namedtuple("Point", "x y")
ZONE_FILES = [Path(folder, "UTC") for folder in zoneinfo.TZPATH if Path(folder, "UTC").exists()]
"""None where the time zones come from the package tzdata."""
UNSENDABLE = [
    (Colour.RED, "send its .value"),
    (Level.HIGH, "send its .value"),
    (Point(1, 2), "send tuple"),
    (collections.OrderedDict(a=1), "send dict"),
    (collections.defaultdict(int), "send dict"),
    (type("Text", (str,), {})("x"), "send str"),
    (type("Moment", (dt.datetime,), {})(2024, 1, 1), "send datetime"),
    (memoryview(b"x"), "send bytes"),
    (User("x"), "dataclasses.asdict"),
    (object(), "MessagePack has no object"),
    (lambda: None, "MessagePack has no function"),
    (iter([]), "list_iterator"),
    (io.BytesIO(), "_io.BytesIO"),
    (Odd(), "Odd"),
    (msgpack.ExtType(7, b"1"), "ExtType"),
    (msgpack.Timestamp(1), "Timestamp"),
    ("a\ud800", "lone surrogate"),
    (PurePosixPath("a\udcff"), "lone surrogate"),
    (Exception("x"), "MessagePack has no Exception"),
]


@pytest.mark.parametrize(("value", "advice"), UNSENDABLE)
def test_what_can_not_arrive_as_it_is_is_refused_with_advice(value: Any, advice: str):
    assert advice in str(refused(value))
    assert refused([1, {"k": (2, value)}]).path == "value[1]['k'][1]"
    with pytest.raises(NotEncodable) as raised:
        encode_call((0, [value]), {})
    assert raised.value.path == "args[1][0]"
    with pytest.raises(NotEncodable) as raised:
        encode_call((), {"user": {"photo": value}})
    assert raised.value.path == "kwargs['user']['photo']"


def test_the_path_leads_into_keys_and_sets_and_time_zones():
    assert refused({(1, Level.HIGH): 2}).path.endswith("[1]")
    assert refused({1: {Colour.RED}}).path == "value[1]{<Colour.RED: 1>}"
    assert refused([dt.datetime(2024, 1, 1, tzinfo=OwnZone())]).path == "value[0].tzinfo"
    for path in ZONE_FILES:
        with path.open("rb") as file:
            assert refused(dt.time(tzinfo=ZoneInfo.from_file(file))).path == "value.tzinfo"


def test_names_of_arguments_are_text():
    with pytest.raises(NotEncodable) as raised:
        encode_call((), {1: 2})  # type: ignore[dict-item]
    assert raised.value.path == "kwargs"


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
def test_a_cycle_is_refused_as_such(serializer: str):
    cycle: list[Any] = [1]
    cycle.append({"again": cycle})
    assert "contains itself" in str(refused(cycle, serializer=serializer))
    assert refused(cycle, serializer=serializer).path == "value[1]['again']"
    assert "contains itself" in str(refused({"t": (cycle,)}))


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ((1,), "value"),
        ({"a": {1: 2}}, "value['a'].key(1)"),
        ([math.nan], "value[0]"),
        ([math.inf], "value[0]"),
        (b"x", "value"),
        ([Level.HIGH], "value[0]"),
        ("\ud800", "value"),
        ([1 << 20_000], "value[0]"),
        ({"k": dt.date.min}, "value['k']"),
    ],
)
def test_json_refuses_what_it_can_not_hold_exactly(value: Any, path: str):
    assert refused(value, serializer="json").path == path


# -- limits ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [list, tuple, lambda items: dict(enumerate(items))], ids=["list", "tuple", "dict"])
def test_values_are_nested_to_a_limit_and_no_deeper(wrap: Any):
    deepest = nested(wrap, DEPTH_MAX)
    assert decode(encode(deepest)) == deepest
    assert decode_call(encode_call((deepest,), {"k": deepest})) == ((deepest,), {"k": deepest})
    assert "deeper than 100" in str(refused([deepest]))
    with pytest.raises(NotEncodable, match="deeper than 100"):
        encode_call(([deepest],), {})


def test_the_innermost_container_may_hold_any_value():
    value: Any = [Fraction(1 << 70, 3), 1 << 80, (bytearray(b"x"),), range(1 << 70)]
    for _ in range(DEPTH_MAX - 2):
        value = (value,)
    assert decode(encode(value)) == value


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01", b"\x91\x91"])
def test_a_body_that_is_nested_deeper_is_malformed(opening: bytes):
    for levels in (DEPTH_MAX + 1, 2000, 100_000):
        with pytest.raises(RemoteProtocolError):
            decode(b"\x00" + opening * levels + b"\xc0")
    with pytest.raises(RemoteProtocolError):
        decode(b"\x01" + b"[" * 100_000 + b"]" * 100_000)


def test_extensions_that_are_nested_deeper_do_not_exhaust_the_stack():
    body = b"\x90"
    for _ in range(1000):
        body = b"\x91" + msgpack.packb(msgpack.ExtType(1, body))
    raised: list[BaseException] = []

    def work() -> None:
        try:
            decode(b"\x00" + msgpack.packb(msgpack.ExtType(1, body)))
        except RemoteProtocolError as error:
            raised.append(error)

    before = threading.stack_size(1 << 20)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert "nested deeper" in str(raised[0])


@pytest.mark.parametrize("marker", [b"\xdd", b"\xdf", b"\xc6", b"\xdb", b"\xc9"], ids=["array", "map", "bin", "str", "ext"])
def test_a_length_beyond_the_body_allocates_nothing(marker: bytes):
    header = marker + b"\x7f\xff\xff\xff\x01"
    tracemalloc.start()
    try:
        for repeat in (1, 50):
            with pytest.raises(RemoteProtocolError):
                decode(b"\x00" + header * repeat)
            with pytest.raises(RemoteProtocolError):
                decode(b"\x00" + msgpack.packb(msgpack.ExtType(1, header * repeat)))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


# -- malformed bodies ------------------------------------------------------------------------------------------------------------------


def extension(code: int, payload: Any) -> bytes:
    return b"\x00" + msgpack.packb(msgpack.ExtType(code, payload if type(payload) is bytes else msgpack.packb(payload)))


MALFORMED = [
    b"",
    b"\x00",
    b"\x02\xc0",
    b"\x80\x04N.",
    b"\x00\xc1",
    b"\x00\xc0\xc0",
    b"\x00\x92\x01",
    b"\x00\xa1\xff",
    b"\x00\x81\x90\x01",
    b"\x01",
    b"\x01NaN",
    b"\x01[1",
    b"\x01\xff\xfe1\x00",
    b"\x01" + b"1" * 10_000,
    extension(99, 1),
    extension(0, b""),
    extension(1, 5),
    extension(1, {}),
    extension(2, [[]]),
    extension(6, b"short"),
    extension(7, b"abc"),
    extension(7, "½".encode()),
    extension(8, [1, 0]),
    extension(8, ["1/2", None]),
    extension(9, [0, 1, 0]),
    extension(9, [0, 1]),
    extension(10, [2024, 13, 1, 0, 0, 0, 0, 0, None]),
    extension(10, [2024, 1, 1, 0, 0, 0, 0, 0, "../../etc/passwd"]),
    extension(10, [2024, 1, 1, 0, 0, 0, 0, 0, "No/Where"]),
    extension(10, [2024, 1, 1, 0, 0, 0, 0, 0, 10**15]),
    extension(10, [2024, 1, 1, 0, 0, 0, 0, 0, [0]]),
    extension(10, []),
    extension(11, [0, 0, 0]),
    extension(12, [25, 0, 0, 0, 0, None]),
    extension(13, [10**18, 0, 0]),
    extension(13, [1.5, 0, 0]),
    extension(14, b"short"),
    extension(15, b"\xff"),
    b"\x00\xc7\x0c\xff" + b"\xff" * 12,
]


@pytest.mark.parametrize("body", MALFORMED)
def test_a_malformed_body_is_the_senders_fault(body: bytes):
    for read in (decode, decode_call):
        with pytest.raises(RemoteProtocolError):
            read(body)


@pytest.mark.parametrize("value", [None, [], [[], {}, 1], [(), {}], [[], []], [[], {1: 2}], {"args": []}])
def test_a_body_that_is_not_a_call_is_no_call(value: Any):
    with pytest.raises(RemoteProtocolError):
        decode_call(encode(value))


@given(st.binary(max_size=60), st.sampled_from([b"\x00", b"\x01", b""]))
def test_any_bytes_are_a_value_or_malformed(noise: bytes, serializer: bytes):
    try:
        decode(serializer + noise)
    except RemoteProtocolError:
        pass


@given(VALUES, st.data())
def test_a_damaged_body_is_a_value_or_malformed(value: Any, data: st.DataObject):
    body = bytearray(encode(value))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(body))
    except RemoteProtocolError:
        pass


def test_a_truncated_body_is_malformed():
    body = encode([1, (2, "three"), {"four": Decimal(5)}])
    for size in itertools.takewhile(lambda size: size < len(body), itertools.count()):
        with pytest.raises(RemoteProtocolError):
            decode(body[:size])
