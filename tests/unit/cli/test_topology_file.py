"""A topology's file: read, compared, written; and the lines of an exported queue."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from mesh.cli.queue_contents import messages
from mesh.cli.topology_file import difference, read, written

from mesh.errors import InvalidTopology, UsageError
from mesh.wire.topology import Death, Properties

MESH: dict[str, list[dict[str, Any]]] = {
    "exchanges": [
        {"name": name, "type": kind, "durable": True, "auto_delete": False, "internal": False, "alternate": ""}
        for name, kind in (("", "direct"), ("amq.topic", "topic"), ("tasks", "topic"))
    ],
    "queues": [
        {
            "name": "feeds",
            "durable": True,
            "auto_delete": False,
            "exclusive": False,
            "expires_ms": 0,
            "max_length": 1000,
            "max_bytes": 0,
            "overflow": "",
            "message_ttl_ms": None,
            "dead_letter_exchange": None,
            "dead_letter_routing_key": None,
            "max_priority": 10,
            "single_active_consumer": False,
            "max_deliveries": 0,
            "messages": 3,
            "unsettled": 0,
            "consumers": 1,
        }
    ],
    "bindings": [
        {
            "source": "tasks",
            "destination": "feeds",
            "kind": "queue",
            "routing_key": 'feed."#"\\ é',
            "arguments": {"a": 1.5, "x-match": "any"},
        }
    ],
}


def file(tmp_path: Path, text: str, name: str = "t.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("as_json", [False, True])
def test_what_is_exported_is_what_the_mesh_has(tmp_path: Path, as_json: bool) -> None:
    wanted, notes = read(file(tmp_path, written(MESH, as_json=as_json)))
    found = difference(wanted, MESH)
    assert (found.changes, found.otherwise, found.unchanged, notes) == ([], [], 3, [])


def test_what_is_missing_is_declared_in_an_order_in_which_it_can_be(tmp_path: Path) -> None:
    wanted, _ = read(file(tmp_path, written(MESH, as_json=False)))
    found = difference(wanted, {"exchanges": MESH["exchanges"][:2], "queues": [], "bindings": []})
    assert [change["do"] for change in found.changes] == ["declare-exchange", "declare-queue", "bind"]
    assert found.lines[1] == "+ queue feeds (max_length=1000, max_priority=10)"


def test_what_is_otherwise_shows_both(tmp_path: Path) -> None:
    wanted, _ = read(file(tmp_path, '[[queues]]\nname = "feeds"\nmax_length = 5\narguments = {x-max-priority = 10}'))
    found = difference(wanted, MESH)
    assert found.changes == []
    assert found.lines == ["! queue feeds: max_length = 1000 in the mesh, 5 in the file"]


def test_a_definitions_file_of_rabbitmq_is_read(tmp_path: Path) -> None:
    definitions = {
        "rabbit_version": "3.12.0",
        "users": [{"name": "guest"}],
        "exchanges": [{"name": "tasks", "vhost": "/", "type": "topic", "durable": True, "internal": False, "arguments": {}}],
        "queues": [
            {"name": "feeds", "vhost": "/", "durable": True, "auto_delete": False, "type": "quorum", "arguments": {"x-max-length": 1000}}
        ],
        "bindings": [
            {"source": "tasks", "vhost": "/", "destination": "feeds", "destination_type": "queue", "routing_key": "feed.#", "arguments": {}}
        ],
    }
    wanted, notes = read(file(tmp_path, json.dumps(definitions), "definitions.json"))
    assert wanted.queues[0]["max_length"] == 1000
    assert wanted.bindings == [{"source": "tasks", "destination": "feeds", "kind": "queue", "routing_key": "feed.#"}]
    assert "users are passed over" in notes[0]
    assert "x-queue-type" in notes[1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[queues]\n", "neither TOML nor JSON"),
        ('[[queue]]\nname = "a"', "did you mean 'queues'"),
        ("queues = 3", "must be a list of tables"),
        ('[[queues]]\nname = "a"\nmax_lenght = 3', "did you mean 'max_length'"),
        ('[[exchanges]]\nname = "a"\ntype = "topics"', "did you mean 'topic'"),
        ('[[bindings]]\nsource = "a"', "it needs a destination"),
        ('[[queues]]\nname = "a"\nvhost = "b"', "virtual host"),
    ],
)
def test_a_file_that_is_not_possible_is_refused_with_the_reason(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises((UsageError, InvalidTopology), match=re.escape(says)):
        read(file(tmp_path, text))


def test_a_value_that_toml_can_not_say_needs_json() -> None:
    mesh = {**MESH, "bindings": [{**MESH["bindings"][0], "arguments": {"a": None}}]}
    with pytest.raises(UsageError, match=r"\.json"):
        written(mesh, as_json=False)
    assert json.loads(written(mesh, as_json=True))["bindings"][0]["arguments"] == {"a": None}


def test_a_line_of_an_exported_queue_is_a_message_again() -> None:
    row = {"id": "m", "queue": "q", "task": "", "body": "aGk=", "eta_ms": 5, "properties": {"exchange": "x", "deaths": []}}
    death = {"queue": "a", "reason": "expired", "count": 2, "at_ms": 7, "exchange": "x", "routing_key": "k"}
    row["properties"]["deaths"].append(death)  # type: ignore[index]
    (message,) = messages([json.dumps(row), "\n"], "f", "other")
    assert (message.id, message.queue, message.body, message.eta_ms) == ("m", "other", b"hi", 5)
    assert message.properties == Properties(exchange="x", deaths=(Death("a", "expired", 2, 7, "x", "k"),))


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": "m", "queue": "q", "task": "", "body": "#", "properties": null}'])
def test_a_line_that_is_not_one_is_named(line: str) -> None:
    with pytest.raises(UsageError, match="f, line 2 is not what `mesh queue export` writes"):
        list(messages(["", line], "f", None))
