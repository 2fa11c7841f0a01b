"""MessagePack beyond JSON's types: the extension types of task bodies, so that what arrives equals what was sent, in type too.

``pack`` and ``unpack`` are the msgpack library with these types and nothing else: no subclass passes for its base, and no object is
built from a name that the sender chose. docs/protocol.md lists ``EXTENSIONS``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import PosixPath, PurePosixPath, PureWindowsPath, WindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgpack  # type: ignore[import-untyped]  # it has neither stubs nor py.typed

from mesh.ids import UUID

DEPTH_MAX = 100
"""Containers within containers, extension types included; as deep as no honest value is, and far from the ends of all stacks."""

_NESTED_MAX = DEPTH_MAX + 2
"""The innermost container may hold a fraction, and that a large integer."""
_STACK_DEPTH_MAX = 16
"""Nested extensions that are parsed by ``unpackb``, which needs up to 20 kB of C stack for each: 100 would overflow the 1 MB that
threads have on Windows. Deeper ones are parsed by ``Unpacker``, which keeps its state on the heap and is four times slower."""

_MICROSECOND = timedelta(microseconds=1)


class Unsendable(ValueError):
    """A value of a known type that has no exact encoding; the text says why, ``attribute`` which part of the value."""

    def __init__(self, message: str, attribute: str = "") -> None:
        super().__init__(message)
        self.attribute = attribute


class Extension(NamedTuple):
    """One MessagePack extension type."""

    kind: type
    """What arrives."""
    meaning: str
    """The payload, for who writes a client in another language."""
    sent_as: tuple[type, ...]
    """Exact types that are sent so."""
    dump: Callable[[Any], bytes]
    load: Callable[[bytes, int], Any]
    """(payload, nested extensions around it) to the value."""


def pack(value: Any) -> bytes:
    """MessagePack with the extension types.

    Raises TypeError for other types and for subclasses, Unsendable, UnicodeEncodeError for text with lone surrogates, RecursionError or
    ValueError when nested without end. A bytearray or memoryview would pass for bytes: see ``wrap_bytearrays``.
    """
    # A Packer is not thread-safe nor re-entrant, and a new one costs 70 ns (msgpack 1.2): less than any way of sharing them.
    packed: bytes = msgpack.Packer(default=_extend, strict_types=True).pack(value)
    return packed


def unpack(body: bytes | memoryview, depth: int = 0) -> Any:
    """The value of a whole MessagePack object with ``depth`` extensions around it.

    Raises whatever malformed input makes the constructors raise. No length is believed beyond the bytes that are there (the library's
    default for ``max_*_len``).
    """
    if depth < _STACK_DEPTH_MAX:
        return msgpack.unpackb(body, ext_hook=_HOOKS[depth], strict_map_key=False, timestamp=3)
    if depth > _NESTED_MAX:
        raise ValueError(f"extensions are nested deeper than {DEPTH_MAX} levels")
    unpacker = msgpack.Unpacker(ext_hook=_HOOKS[depth], strict_map_key=False, timestamp=3, max_buffer_size=max(len(body), 1))
    unpacker.feed(body)
    value = unpacker.unpack()
    if unpacker.tell() != len(body):
        raise ValueError("bytes are left over in an extension")
    return value


def wrap_bytearrays(value: Any) -> Any:
    """A copy of ``value`` in which each bytearray is its extension type already: msgpack packs them as bytes before it asks anyone.

    Keys and members of sets are hashable, so there are none in there.
    """
    kind = type(value)
    if kind is bytearray:
        return msgpack.ExtType(_BYTEARRAY, bytes(value))
    if kind is list or kind is tuple:
        return kind([wrap_bytearrays(item) for item in value])
    if kind is dict:
        return {key: wrap_bytearrays(item) for key, item in value.items()}
    return value


def _extend(value: Any) -> msgpack.ExtType:
    """What msgpack calls for a value that it can't pack itself."""
    found = _BY_TYPE.get(type(value))
    if found is None:
        raise TypeError(f"{type(value).__qualname__} can't be sent")
    code, dump = found
    return msgpack.ExtType(code, dump(value))


def _restore(depth: int, code: int, payload: bytes) -> Any:
    """What msgpack calls for an extension type that it found with ``depth`` others around it."""
    extension = EXTENSIONS.get(code)
    if extension is None:
        raise ValueError(f"unknown extension type {code}")
    return extension.load(payload, depth + 1)


_HOOKS = [partial(_restore, depth) for depth in range(_NESTED_MAX + 1)]


# -- containers ----------------------------------------------------------------------------------------------------------------------


def _dump_items(value: tuple[Any, ...] | set[Any] | frozenset[Any]) -> bytes:
    return pack(list(value))


def _load_items(payload: bytes, depth: int) -> list[Any]:
    items = unpack(payload, depth)
    if type(items) is not list:
        raise ValueError("an extension that needs an array has none")
    return items


def _load_tuple(payload: bytes, depth: int) -> tuple[Any, ...]:
    return tuple(_load_items(payload, depth))


def _load_set(payload: bytes, depth: int) -> set[Any]:
    return set(_load_items(payload, depth))


def _load_frozenset(payload: bytes, depth: int) -> frozenset[Any]:
    return frozenset(_load_items(payload, depth))


# -- numbers -------------------------------------------------------------------------------------------------------------------------


def _load_integers(payload: bytes, depth: int, count: int) -> list[int]:
    items = _load_items(payload, depth)
    if len(items) != count or any(type(item) is not int for item in items):
        raise ValueError(f"an extension that needs {count} integers has others")
    return items


def _dump_int(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


def _load_int(payload: bytes, depth: int) -> int:
    return int.from_bytes(payload, "big", signed=True)


def _dump_complex(value: complex) -> bytes:
    return struct.pack(">dd", value.real, value.imag)


def _load_complex(payload: bytes, depth: int) -> complex:
    return complex(*struct.unpack(">dd", payload))


def _dump_decimal(value: Decimal) -> bytes:
    return str(value).encode("ascii")


def _load_decimal(payload: bytes, depth: int) -> Decimal:
    return Decimal(payload.decode("ascii"))


def _dump_fraction(value: Fraction) -> bytes:
    return pack([value.numerator, value.denominator])


def _load_fraction(payload: bytes, depth: int) -> Fraction:
    return Fraction(*_load_integers(payload, depth, 2))


def _dump_range(value: range) -> bytes:
    return pack([value.start, value.stop, value.step])


def _load_range(payload: bytes, depth: int) -> range:
    return range(*_load_integers(payload, depth, 3))


# -- dates and times -----------------------------------------------------------------------------------------------------------------


def _dump_zone(zone: tzinfo | None) -> int | str | list[int | str] | None:
    """None, the offset in microseconds, [offset, name], or an IANA name."""
    if zone is None:
        return None
    if zone is UTC:
        return 0
    if type(zone) is timezone:
        offset, name = zone.utcoffset(None), zone.tzname(None)
        microseconds = offset // _MICROSECOND
        return microseconds if name == timezone(offset).tzname(None) else [microseconds, name]
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    raise Unsendable(f"the time zone {type(zone).__qualname__} can't be sent: only datetime.timezone and a ZoneInfo with a key", "tzinfo")


def _load_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if type(zone) is str:
        return ZoneInfo(zone)
    if type(zone) is int:
        return timezone(zone * _MICROSECOND)
    microseconds, name = zone
    return timezone(microseconds * _MICROSECOND, name)


def _dump_datetime(value: datetime) -> bytes:
    fields = (value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond)
    return pack([*fields, value.fold, _dump_zone(value.tzinfo)])


def _load_datetime(payload: bytes, depth: int) -> datetime:
    *fields, fold, zone = _load_items(payload, depth)
    return datetime(*fields).replace(tzinfo=_load_zone(zone), fold=fold)


def _dump_time(value: time) -> bytes:
    return pack([value.hour, value.minute, value.second, value.microsecond, value.fold, _dump_zone(value.tzinfo)])


def _load_time(payload: bytes, depth: int) -> time:
    *fields, fold, zone = _load_items(payload, depth)
    return time(*fields).replace(tzinfo=_load_zone(zone), fold=fold)


def _dump_date(value: date) -> bytes:
    return pack([value.year, value.month, value.day])


def _load_date(payload: bytes, depth: int) -> date:
    return date(*_load_integers(payload, depth, 3))


def _dump_timedelta(value: timedelta) -> bytes:
    return pack([value.days, value.seconds, value.microseconds])


def _load_timedelta(payload: bytes, depth: int) -> timedelta:
    return timedelta(*_load_integers(payload, depth, 3))


# -- the rest ------------------------------------------------------------------------------------------------------------------------


def _dump_uuid(value: UUID) -> bytes:
    return value.bytes


def _load_uuid(payload: bytes, depth: int) -> UUID:
    return UUID(bytes=payload)


def _dump_path(value: PurePosixPath | PureWindowsPath) -> bytes:
    return str(value).encode()


def _load_posix_path(payload: bytes, depth: int) -> PurePosixPath:
    return PurePosixPath(payload.decode())


def _load_windows_path(payload: bytes, depth: int) -> PureWindowsPath:
    return PureWindowsPath(payload.decode())


def _load_bytearray(payload: bytes, depth: int) -> bytearray:
    return bytearray(payload)


_BYTEARRAY = 5
_ZONE = "zone is nil, the offset from UTC in microseconds, [offset, name], or an IANA name"

EXTENSIONS: dict[int, Extension] = {
    1: Extension(tuple, "array of the items", (tuple,), _dump_items, _load_tuple),
    2: Extension(set, "array of the members, in any order", (set,), _dump_items, _load_set),
    3: Extension(frozenset, "array of the members, in any order", (frozenset,), _dump_items, _load_frozenset),
    4: Extension(int, "integer beyond 64 bits: two's complement, big-endian", (int,), _dump_int, _load_int),
    _BYTEARRAY: Extension(bytearray, "the bytes", (bytearray,), bytes, _load_bytearray),
    6: Extension(complex, "real and imaginary part as big-endian float 64", (complex,), _dump_complex, _load_complex),
    7: Extension(Decimal, "ASCII text as of str(): 1.50, -0, 1E+3, NaN, sNaN, Infinity", (Decimal,), _dump_decimal, _load_decimal),
    8: Extension(Fraction, "[numerator, denominator]", (Fraction,), _dump_fraction, _load_fraction),
    9: Extension(range, "[start, stop, step]", (range,), _dump_range, _load_range),
    10: Extension(
        datetime,
        f"[year, month, day, hour, minute, second, microsecond, fold, zone]; {_ZONE}",
        (datetime,),
        _dump_datetime,
        _load_datetime,
    ),
    11: Extension(date, "[year, month, day]", (date,), _dump_date, _load_date),
    12: Extension(time, f"[hour, minute, second, microsecond, fold, zone]; {_ZONE}", (time,), _dump_time, _load_time),
    13: Extension(timedelta, "[days, seconds, microseconds]", (timedelta,), _dump_timedelta, _load_timedelta),
    14: Extension(UUID, "the 16 bytes, most significant first (RFC 9562)", (UUID,), _dump_uuid, _load_uuid),
    15: Extension(PurePosixPath, "UTF-8 text; a Path arrives as a pure path", (PurePosixPath, PosixPath), _dump_path, _load_posix_path),
    16: Extension(
        PureWindowsPath, "UTF-8 text; a Path arrives as a pure path", (PureWindowsPath, WindowsPath), _dump_path, _load_windows_path
    ),
}
"""Code to extension type; numbers are never reused. MessagePack's own timestamp (-1) is read too, as a datetime in UTC, never sent."""

_BY_TYPE: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    kind: (code, extension.dump) for code, extension in EXTENSIONS.items() for kind in extension.sent_as
}
