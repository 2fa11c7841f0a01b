"""Topology as a file, TOML or JSON: reading it, comparing it with what the mesh has, writing it."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mesh.cli.declaring import Row, said, shown

from mesh.core.routing import declared
from mesh.core.routing.exchanges import PREDECLARED
from mesh.errors import InvalidTopology, UsageError
from mesh.wire.topology import Exchange, QueueDeclaration

LISTS = ("exchanges", "queues", "bindings")
RABBITMQ_MARKS = ("rabbit_version", "rabbitmq_version")
"""Names in RabbitMQ's definitions files, which hold much more than topology."""
FIGURES = ("messages", "unsettled", "consumers")
"""What the mesh tells of a queue beside its arguments."""
NOT_COMPARED = ("name", "exclusive", *FIGURES)


class Wanted(NamedTuple):
    """What a file declares, checked, by our names; and what of it has no effect."""

    exchanges: list[Row]
    queues: list[Row]
    bindings: list[Row]


class Difference(NamedTuple):
    """From what the mesh has to what a file wants."""

    changes: list[Row]
    lines: list[str]
    """For people: ``+`` what is missing, ``!`` what is otherwise."""
    otherwise: list[str]
    unchanged: int


def read(path: Path) -> tuple[Wanted, list[str]]:
    """A file's declarations, and notes about what was passed over. Raises UsageError, InvalidTopology."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"{path} is neither TOML nor JSON that can be read: {error}") from None
    notes: list[str] = []
    if any(mark in document for mark in RABBITMQ_MARKS):
        passed_over = sorted(name for name in document if name not in LISTS and document[name])
        document = {name: document.get(name, []) for name in LISTS}
        notes.append(f"a definitions file of RabbitMQ: {', '.join(passed_over)} are passed over")
    for name, rows in document.items():
        if name not in LISTS:
            raise InvalidTopology(f"{path}: {name!r} is none of the lists of a topology: {declared.similar(name, LISTS)}")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidTopology(f"{path}: {name} must be a list of tables")
    taken: dict[str, list[Row]] = {}
    for name, take in (("exchanges", declared.exchange), ("queues", declared.queue), ("bindings", declared.binding)):
        found = [take(_row(path, name, row)) for row in document.get(name, ())]
        taken[name] = [one.fields for one in found]
        notes += [note for one in found for note in one.notes]
    return Wanted(**taken), notes


def _row(path: Path, list_: str, row: Mapping[str, Any]) -> Row:
    """A row without what only RabbitMQ's definitions have."""
    if row.get("vhost", "/") != "/":
        raise InvalidTopology(f"{path}: the virtual host {row['vhost']!r}: a mesh has one name space; write a file for each")
    fields = {name: value for name, value in row.items() if name != "vhost"}
    if list_ == "queues" and "type" in fields:
        fields["arguments"] = {"x-queue-type": fields.pop("type"), **(fields.get("arguments") or {})}
    return fields


def difference(wanted: Wanted, has: Mapping[str, list[Row]]) -> Difference:
    """What has to be declared, in an order in which it can be."""
    found = Difference([], [], [], 0)
    unchanged = _compare(found, "exchange", wanted.exchanges, has["exchanges"], _defaults(Exchange(name="", kind="direct")))
    unchanged += _compare(found, "queue", wanted.queues, has["queues"], _defaults(QueueDeclaration(name="")))
    known = [_binding(row) for row in has["bindings"]]
    for row in wanted.bindings:
        if _binding(row) in known:
            unchanged += 1
            continue
        known.append(_binding(row))
        found.changes.append({"do": "bind", **row})
        more = ", ".join(part for part in (row.get("routing_key", ""), shown(row.get("arguments", {}))) if part)
        found.lines.append(f"+ binding {row['source']} -> {row['destination']}{f' ({more})' if more else ''}")
    return found._replace(unchanged=unchanged)


def _compare(found: Difference, what: str, wanted: Iterable[Row], has: Iterable[Row], defaults: Row) -> int:
    known = {row["name"]: row for row in has}
    unchanged = 0
    for row in wanted:
        name = row["name"]
        full = {**defaults, **row}
        if name not in known:
            known[name] = full
            found.changes.append({"do": f"declare-{what}", **row})
            arguments = shown(said({argument: value for argument, value in row.items() if argument not in ("name", "durable")}))
            found.lines.append(f"+ {what} {name}{f' ({arguments})' if arguments else ''}")
            continue
        there = known[name]
        differing = [argument for argument in full if argument not in NOT_COMPARED and full[argument] != there.get(argument)]
        if differing:
            text = ", ".join(f"{argument} = {there.get(argument)!r} in the mesh, {full[argument]!r} in the file" for argument in differing)
            found.lines.append(f"! {what} {name}: {text}")
            found.otherwise.append(f"the {what} {name!r} has {text}")
        else:
            unchanged += 1
    return unchanged


def _defaults(entry: Exchange | QueueDeclaration) -> Row:
    fields = {name: getattr(entry, name) for name in entry.__struct_fields__ if name not in ("term", "revision", "used", "exclusive")}
    if isinstance(entry, Exchange):
        fields["type"] = fields.pop("kind")
    return fields


def _binding(row: Row) -> str:
    fields = {"kind": "queue", "routing_key": "", "arguments": {}} | {name: row[name] for name in row if name not in ("term", "revision")}
    return json.dumps(fields, sort_keys=True)


def written(has: Mapping[str, list[Row]], *, as_json: bool) -> str:
    """What is declared, as the text of a file; exclusive queues go with their programs and are left out. Raises UsageError."""
    exchange, queue = _defaults(Exchange(name="", kind="direct")), _defaults(QueueDeclaration(name=""))
    kept = {row["name"] for row in has["queues"] if not row["exclusive"]}
    document = {
        "exchanges": [
            {"name": row["name"], "type": row["type"], **_said(row, exchange)} for row in has["exchanges"] if row["name"] not in PREDECLARED
        ],
        "queues": [{"name": row["name"], **_said(row, queue)} for row in has["queues"] if row["name"] in kept],
        "bindings": [
            {name: value for name, value in row.items() if value or name in ("source", "destination")}
            for row in has["bindings"]
            if row["kind"] == "exchange" or row["destination"] in kept
        ],
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n" if as_json else _toml(document)


def _said(row: Row, defaults: Row) -> Row:
    skipped = ("name", "type", "exclusive", *FIGURES)
    return {name: value for name, value in row.items() if name not in skipped and value != defaults.get(name)}


def _toml(document: Mapping[str, list[Row]]) -> str:
    tables = [
        "\n".join([f"[[{name}]]", *(f"{key} = {_toml_value(key, value)}" for key, value in row.items())])
        for name, rows in document.items()
        for row in rows
    ]
    return "\n\n".join(tables) + "\n" if tables else "# nothing is declared\n"


def _toml_value(name: str, value: Any) -> str:
    """TOML's basic strings are JSON's (TOML 1.0, "String"), but for the character DEL."""
    if value is None:
        raise UsageError(f"{name} has no value, which TOML can't say: export to a file that ends in .json")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {_toml_value(key, one)}" for key, one in value.items()) + "}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
