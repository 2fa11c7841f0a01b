"""Why a value can't be sent, and where in it the cause is. Slow and exact: it runs after encoding has failed."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from enum import Enum
from typing import Any

from mesh.errors import NotEncodable
from mesh.wire.extensions import DEPTH_MAX, Unsendable


@dataclass(frozen=True, slots=True)
class Rules:
    """What a serializer can hold."""

    name: str
    leaves: frozenset[type]
    """Exact types of values without parts."""
    containers: frozenset[type]
    check_leaf: Callable[[Any], object]
    """Raises ValueError for a value of such a type that has no exact encoding all the same."""
    text_keys_only: bool = False


def explain(value: Any, path: str, rules: Rules) -> None:
    """Find what in ``value`` the serializer can't hold; ``path`` is what the caller calls the value.

    Raises NotEncodable with the path to it; returns when there is nothing.
    """
    _search(value, path, rules, frozenset())


def _search(value: Any, path: str, rules: Rules, around: frozenset[int]) -> None:
    kind = type(value)
    if kind in rules.leaves:
        _check_leaf(value, path, rules)
    elif kind not in rules.containers:
        raise _refusal(path, _advice(kind, rules))
    elif id(value) in around:
        raise _refusal(path, "it contains itself")
    elif len(around) == DEPTH_MAX:
        raise _refusal(path, f"it is nested deeper than {DEPTH_MAX} levels")
    else:
        inside = around | {id(value)}
        if kind is dict:
            _search_dict(value, path, rules, inside)
        elif kind is list or kind is tuple:
            for index, item in enumerate(value):
                _search(item, f"{path}[{index}]", rules, inside)
        else:
            for item in value:
                _search(item, f"{path}{{{reprlib.repr(item)}}}", rules, inside)


def _search_dict(value: dict[Any, Any], path: str, rules: Rules, inside: frozenset[int]) -> None:
    for key, item in value.items():
        shown = reprlib.repr(key)
        if rules.text_keys_only and type(key) is not str:
            raise _refusal(f"{path}.key({shown})", f"{rules.name} has only text as keys")
        _search(key, f"{path}.key({shown})", rules, inside)
        _search(item, f"{path}[{shown}]", rules, inside)


def _check_leaf(value: Any, path: str, rules: Rules) -> None:
    try:
        rules.check_leaf(value)
    except Unsendable as error:
        raise _refusal(f"{path}.{error.attribute}" if error.attribute else path, str(error)) from None
    except UnicodeEncodeError:
        raise _refusal(
            path, "the text has a lone surrogate, which UTF-8 can't hold; os.fsencode() gives the bytes of a file's name"
        ) from None
    except ValueError as error:
        raise _refusal(path, str(error)) from None


def _refusal(path: str, reason: str) -> NotEncodable:
    return NotEncodable(f"{path} can't be sent: {reason}", path)


def _advice(kind: type, rules: Rules) -> str:
    """What a value of a type that does not travel is, and what to send in its place."""
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    if issubclass(kind, Enum):
        return f"it is a member of the enumeration {name}; send its .value"
    base = next((base for base in kind.__mro__ if base in rules.leaves or base in rules.containers), None)
    if base is not None:
        return f"it is a {name}, which would arrive as a plain {base.__name__}; send {base.__name__}(...)"
    if kind is memoryview:
        return "it is a memoryview; send bytes(...)"
    if is_dataclass(kind):
        return f"it is a {name}; send dataclasses.asdict(...)"
    return f"{rules.name} has no {name}"
