"""Bodies: the arguments and results of tasks as bytes. What arrives equals what was sent, in type too, or encoding raises.

The first byte names the serializer: 0 MessagePack with the extension types of mesh/wire/extensions.py, 1 JSON in UTF-8, 2 gathered: a
MessagePack array of bodies, whose value is the list of theirs. A call is ``[[positional, ...], {keyword: value}]``. Only exact types
travel: a subclass (namedtuple, OrderedDict, an IntEnum) would arrive as something else. One object that is in two places arrives as two
equal ones.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn

import msgspec

from mesh.errors import NotEncodable, RemoteProtocolError, UsageError
from mesh.wire.extensions import DEPTH_MAX, EXTENSIONS, pack, unpack, wrap_bytearrays
from mesh.wire.unsendable import Rules, explain

__all__ = ["DEPTH_MAX", "EXTENSIONS", "NONE", "decode", "decode_call", "encode", "encode_call", "gather", "gathered_part", "gathered_start"]

COPIED_BYTES_MAX = 1 << 16
"""Below it is cheaper to copy a body than to make a view of it."""
_MSGPACK = b"\x00"
_JSON = b"\x01"
_GATHERED = b"\x02"
NONE = b"\x00\xc0"
"""The body of None."""

_TEXT = frozenset([str])
_CONTAINERS = frozenset([list, dict, tuple, set, frozenset])
_JSON_LEAVES = frozenset([type(None), bool, int, float, str])
_LEAVES = _JSON_LEAVES | {bytes} | {kind for item in EXTENSIONS.values() for kind in item.sent_as} - _CONTAINERS - {bytearray}


def encode(value: Any, *, serializer: str = "msgpack") -> bytes:
    """The body of one value, for example a result. ``serializer`` is ``msgpack`` or ``json``.

    Raises NotEncodable, with the path in ``value`` to what can't travel, and UsageError for another serializer.
    """
    if serializer != "msgpack":
        return _encode_json(value, {"value": value}, serializer)
    try:
        prepared = wrap_bytearrays(value) if type(value) not in _LEAVES and _survey((value,), 0) else value
        return _MSGPACK + pack(prepared)
    except _FAILURES as error:
        _refuse({"value": value}, _MSGPACK_RULES, error)


def encode_call(args: Sequence[Any], kwargs: Mapping[str, Any], *, serializer: str = "msgpack") -> bytes:
    """The body of a call. Raises as ``encode`` does; paths begin with ``args[0]`` or ``kwargs['name']``."""
    if kwargs and not _TEXT.issuperset(map(type, kwargs)):
        raise NotEncodable("kwargs can't be sent: the names of arguments are text", "kwargs")
    call = [[*args], {**kwargs}]
    if serializer != "msgpack":
        return _encode_json(call, _named(args, kwargs), serializer)
    try:
        # Not one walk in Python for the common call, of plain values; 100 ns.
        if not (_LEAVES.issuperset(map(type, args)) and (not kwargs or _LEAVES.issuperset(map(type, kwargs.values())))):
            call = wrap_bytearrays(call) if _survey(call, _CALL_DEPTH) else call
        return _MSGPACK + pack(call)
    except _FAILURES as error:
        _refuse(_named(args, kwargs), _MSGPACK_RULES, error)


def gather(parts: Collection[bytes]) -> bytes:
    """The body of a list, whose items are the values of these bodies. None of them is decoded."""
    pieces = [gathered_start(len(parts))]
    for part in parts:
        pieces += (gathered_part(len(part)), part)
    return b"".join(pieces)


def gathered_start(count: int) -> bytes:
    """How a gathered body of so many parts begins: an array of 32 bits in MessagePack's specification."""
    return _GATHERED + b"\xdd" + count.to_bytes(4, "big")


def gathered_part(size: int) -> bytes:
    """What stands before each of its parts: the head of a bin 8 or bin 32."""
    return bytes((0xC4, size)) if size < 256 else b"\xc6" + size.to_bytes(4, "big")


def decode(body: bytes) -> Any:
    """The value of a body. Raises RemoteProtocolError when it is malformed or nested too deep."""
    if body[:1] != _GATHERED:
        return _decode(body, 0)
    value: list[Any] = []
    opened = [(value, body)]  # a stack of its own, as groups may be nested deeper than Python calls
    while opened:
        items, gathered = opened.pop()
        for part in _parts(gathered):
            if part[:1] == _GATHERED:
                items.append([])
                opened.append((items[-1], part))
            else:
                items.append(_decode(part, 0))
    return value


def _parts(gathered: bytes) -> list[bytes]:
    try:
        return _decode_parts(memoryview(gathered)[1:])
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"malformed body: {error}") from error


def decode_call(body: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The (args, kwargs) of a call's body. Raises RemoteProtocolError."""
    call = _decode(body, _CALL_DEPTH - 1)
    if type(call) is list and len(call) == 2:
        args, kwargs = call
        if type(args) is list and type(kwargs) is dict and (not kwargs or _TEXT.issuperset(map(type, kwargs))):
            return tuple(args), kwargs
    raise RemoteProtocolError("malformed body: not a call")


def _decode(body: bytes, depth: int) -> Any:
    serializer = body[:1]
    try:
        if serializer == _MSGPACK:
            value = unpack(body[1:] if len(body) < COPIED_BYTES_MAX else memoryview(body)[1:])
        elif serializer == _JSON:
            value = json.loads(body[1:].decode(), parse_constant=_refuse_constant)
        else:
            raise ValueError(f"unknown serializer {serializer.hex() or 'in no bytes'}")
        if len(body) > DEPTH_MAX:  # each level takes a byte at least
            _survey((value,), depth)
        return value
    except Exception as error:  # the sender chooses what the constructors of dates, decimals, sets... are given and so what they raise
        raise RemoteProtocolError(f"malformed body: {error}") from error


def _survey(items: Iterable[Any], depth: int) -> bool:
    """Whether a bytearray is in ``items``, which lie in ``depth`` containers.

    Raises TypeError for what has no encoding (msgpack itself would pass some for bytes, or an ExtType for its content), and ValueError
    beyond DEPTH_MAX, which ends cycles as well.
    """
    if depth > DEPTH_MAX:
        raise ValueError(f"nested deeper than {DEPTH_MAX} levels")
    found = False
    for item in items:
        kind = type(item)
        if kind in _LEAVES:
            continue
        if kind is dict:
            if not _TEXT.issuperset(map(type, item)):
                _survey(item, depth + 1)
            found = _survey(item.values(), depth + 1) or found
        elif kind in _CONTAINERS:
            found = _survey(item, depth + 1) or found
        elif kind is bytearray:
            found = True
        else:
            raise TypeError(f"{kind.__qualname__} can't be sent")
    return found


def _named(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by the paths that errors show."""
    return {f"args[{index}]": item for index, item in enumerate(args)} | {f"kwargs[{name!r}]": item for name, item in kwargs.items()}


def _refuse(named: dict[str, Any], rules: Rules, error: Exception) -> NoReturn:
    """Raise NotEncodable for what is wrong with one of the values; ``error`` is what the encoder said of them."""
    for path, value in named.items():
        explain(value, path, rules)
    raise NotEncodable(f"{', '.join(named)} can't be sent: {error}") from error


def _encode_json(value: Any, named: dict[str, Any], serializer: str) -> bytes:
    if serializer != "json":
        raise UsageError(f"there is no serializer {serializer!r}; there are msgpack and json")
    for path, item in named.items():  # before, not after: json.dumps takes tuples, subclasses and keys that are not text for its own types
        explain(item, path, _JSON_RULES)
    return _JSON + _dump_json(value).encode()


def _dump_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _check_json_leaf(value: Any) -> None:
    _dump_json(value).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode_parts = msgspec.msgpack.Decoder(list[bytes]).decode
_FAILURES = (TypeError, ValueError, OverflowError, RecursionError)
_CALL_DEPTH = -1
"""A call's arguments lie in two containers of ours, which do not count."""
_MSGPACK_RULES = Rules("MessagePack", _LEAVES | {bytearray}, _CONTAINERS, pack)
_JSON_RULES = Rules("JSON", _JSON_LEAVES, frozenset([list, dict]), _check_json_leaf, text_keys_only=True)
