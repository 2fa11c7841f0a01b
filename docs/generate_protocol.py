"""Writes the tables of docs/protocol.md from the structs: ``python docs/generate_protocol.py``; with ``--check`` it only compares.

The prose of the page is written by hand; what stands between ``<!-- fields: Name -->`` (or ``<!-- tags -->``) and ``<!-- end -->`` is
made here. What a field means is said beneath it in mesh/wire, or in protocol_fields.toml where the code has nothing to add to its name.
"""

from __future__ import annotations

import re
import sys
import tomllib
import types
import typing
from enum import IntEnum
from typing import Any

import msgspec
from generated import DOCS, attribute_docs, row, run, table

from mesh.wire import attachment, calls, consuming, contents, entries, frames, messages, topology, working

PAGE = DOCS / "protocol.md"
MEANINGS = DOCS / "protocol_fields.toml"
BETWEEN = re.compile(r"(<!-- (fields: (?P<name>\w+)|tags) -->\n).*?(<!-- end -->)", re.DOTALL)
UNIONS = {
    "node to node": messages.PeerMessage,
    "program to node": messages.SessionRequest,
    "node to program": messages.SessionReply,
    "lobby": messages.LobbyMessage,
    "entry": entries.Entry,
}
PLAIN_TYPES = {int: "int", float: "float", str: "str", bytes: "bin", bool: "bool"}


def page() -> str:
    """The page with all its tables made anew. Raises ValueError when the page, the structs and the meanings do not fit together."""
    meanings: dict[str, dict[str, str]] = tomllib.loads(MEANINGS.read_text(encoding="utf-8"))
    text = PAGE.read_text(encoding="utf-8")
    shown = re.findall(r"<!-- fields: (\w+) -->", text)
    if sorted(shown) != sorted(structs()):
        raise ValueError(f"structs and tables of {PAGE.name} differ: {sorted(set(shown) ^ set(structs()))}")
    stale = [name for name in meanings if name not in structs()]
    if stale:
        raise ValueError(f"{MEANINGS.name} has what is no struct: {stale}")

    def made(found: re.Match[str]) -> str:
        name = found["name"]
        return found[1] + (fields(name, meanings.get(name, {})) if name else tags()) + found[4]

    return BETWEEN.sub(made, text)


def structs() -> dict[str, Any]:
    """Every struct of the wire by name: messages, entries, what lies in them, and the envelope."""
    found: dict[str, Any] = {"Envelope": frames.Envelope}
    for module in (topology, calls, entries, messages):
        for name, kind in vars(module).items():
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                found[name] = kind
    return found


def tags() -> str:
    """All tags with the ways on which each travels."""
    ways: dict[type, list[str]] = {}
    for way, union in UNIONS.items():
        for kind in typing.get_args(union):
            ways.setdefault(kind, []).append(way)
    text = table("tag", "struct", "travels")
    for kind in sorted(ways, key=lambda kind: (ways[kind] == ["entry"], kind.__struct_config__.tag)):
        name = kind.__name__
        text += row(kind.__struct_config__.tag, f"[{name}](#{name.lower()})", ", ".join(ways[kind]))
    return text


def fields(name: str, meanings: dict[str, str]) -> str:
    """The table of one struct's fields."""
    kind = structs()[name]
    docs = {**_docs().get(name, {}), **meanings}
    hints = typing.get_type_hints(kind)
    described = _described(kind)
    unknown = sorted(set(meanings) - {field for field, _ in described})
    if unknown:
        raise ValueError(f"{MEANINGS.name} explains {name}.{unknown[0]}, which does not exist")
    text = table("field", "type", "default", "meaning") if described else "No fields.\n"
    for field, default in described:
        if field not in docs:
            raise ValueError(f"nobody says what {name}.{field} means: a string beneath it in mesh/wire, or {MEANINGS.name}")
        text += row(f"`{field}`", shown_type(hints[field]), default, docs[field].replace("``", "`"))
    return text


def _described(kind: Any) -> list[tuple[str, str]]:
    if not issubclass(kind, msgspec.Struct):
        return [(field, "") for field in kind._fields]
    return [(field.name, _default(field)) for field in msgspec.structs.fields(kind)]


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return "`{}`" if field.default_factory is dict else "`[]`"
    if field.default is msgspec.NODEFAULT:
        return ""
    if field.default is None:
        return "nil"
    if isinstance(field.default, IntEnum):
        return f"{int(field.default)}"
    if field.default in ("", b""):
        return "empty"
    if field.default == ():
        return "`[]`"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def _docs() -> dict[str, dict[str, str]]:
    modules = (attachment, calls, consuming, contents, entries, frames, messages, topology, working)
    return {name: docs for module in modules for name, docs in attribute_docs(module).items()}


def shown_type(hint: Any) -> str:
    """A type as MessagePack has it."""
    if hint in PLAIN_TYPES:
        return PLAIN_TYPES[hint]
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is list or (typing.get_origin(hint) is tuple and arguments[-1] is Ellipsis):
        return f"array of {shown_type(arguments[0])}"
    if typing.get_origin(hint) is dict:
        return f"map of {shown_type(arguments[0])} to {shown_type(arguments[1])}"
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f'"{value}"' for value in arguments)
    if typing.get_origin(hint) is tuple:
        return f"[{', '.join(map(shown_type, arguments))}]"
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        names = [shown_type(one) for one in arguments if one is not type(None)]
        return " or ".join(names) + (" or nil" if type(None) in arguments else "")
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


PAGES = {PAGE: page}

if __name__ == "__main__":
    sys.exit(run("generate_protocol.py", PAGES))
