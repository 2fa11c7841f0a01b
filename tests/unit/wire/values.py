"""Any value of a protocol type, from its annotations, small enough to make many."""

from __future__ import annotations

import functools
import types
import typing
from typing import Any

import msgspec
from hypothesis import strategies as st

from mesh.wire.messages import DotSet

ITEMS_MAX = 2

PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(-(1 << 63), (1 << 63) - 1),
    str: st.text(st.characters(codec="utf-8"), max_size=6),
    bytes: st.binary(max_size=16),
    float: st.floats(allow_nan=False),
    type(None): st.none(),
    DotSet: st.builds(DotSet, st.binary(max_size=16), st.sampled_from([[], [1, 1], [2, 5], [1, 3, 7, 7], [1, 1 << 39]])),
}


@functools.cache
def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type: a plain one, a struct, or lists, tuples, maps and unions of such."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, parts = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(values, parts))
    if origin is list:
        return st.lists(values(parts[0]), max_size=ITEMS_MAX)
    if origin is tuple and parts[-1] is Ellipsis:
        return st.lists(values(parts[0]), max_size=ITEMS_MAX).map(tuple)
    if origin is tuple:
        return st.tuples(*map(values, parts))
    if origin is dict:
        return st.dictionaries(values(parts[0]), values(parts[1]), max_size=ITEMS_MAX)
    if origin is typing.Literal:
        return st.sampled_from(parts)
    assert issubclass(kind, msgspec.Struct), f"no values of {kind}"
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{name: values(hints[name]) for name in kind.__struct_fields__})
