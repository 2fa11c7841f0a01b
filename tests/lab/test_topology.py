"""Exchanges, queues, bindings and what waits in the queues: they survive takeovers, the restart of all nodes and a healed split."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tests.lab.fleet import Fleet
from tests.lab.hosts import Lab
from tests.polling import poll_until

Build = Callable[[Sequence[str]], Lab]
THREE = ["server", "laptop", "third"]
FEED = [
    {"do": "declare-exchange", "name": "feed", "type": "topic"},
    {"do": "declare-queue", "name": "news", "max_priority": 5},
    {"do": "bind", "source": "feed", "destination": "news", "routing_key": "news.#"},
]


def route(fleet: Fleet, host: str, *arguments: str) -> Any:
    return json.loads(fleet.lab[host].python("route.py", *arguments))


def change(fleet: Fleet, host: str, *changes: dict[str, Any]) -> list[bool]:
    answer = route(fleet, host, "change", *map(json.dumps, changes))
    assert "error" not in answer, answer
    return [row["changed"] for row in answer["changes"]]


def tables(fleet: Fleet, host: str) -> dict[str, list[str]]:
    """Names of what was declared, as the mesh answers on a host."""
    answer = route(fleet, host, "topology")
    queues = sorted(queue["name"] for queue in answer["queues"])
    bindings = sorted(f"{row['source']} {row['routing_key']} {row['destination']}" for row in answer["bindings"])
    return {"exchanges": sorted(row["name"] for row in answer["exchanges"]), "queues": queues, "bindings": bindings}


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{number:02}" for number in range(count)]


def test_topology_and_queues_survive_a_takeover_and_the_restart_of_all_nodes(lab: Build) -> None:
    fleet = Fleet(lab(THREE))
    first = fleet.up_all()
    near, far = fleet.others(first)
    assert change(fleet, near, *FEED) == [True, True, True]
    published = route(fleet, far, "publish", "feed", "news.local", *ids("before", 10))

    fleet.kill_node(first)
    fleet.coordinator(near, other_than=first)
    published += route(fleet, near, "publish", "feed", "news", *ids("without", 10))
    assert change(fleet, far, *FEED) == [False, False, False], "it is there, with the same arguments"
    otherwise = route(fleet, far, "change", json.dumps({**FEED[1], "max_priority": 6}))
    assert otherwise["error"].startswith("DeclaredOtherwise: the queue 'news' is declared with max_priority = 5, not 6")

    for name in (near, far):
        fleet.kill_node(name)
    fleet.up_all()
    published += route(fleet, first, "publish", "feed", "news.world", *ids("after", 10))
    refused = route(fleet, first, "publish", "feed", "weather", "nobody")
    assert refused["error"].startswith("Unroutable: ")
    assert sorted(route(fleet, near, "get", "news")) == sorted(published)


def test_a_healed_split_has_one_topology_and_what_was_sent_to_a_deleted_queue_is_in_lost_and_found(lab: Build) -> None:
    fleet = Fleet(lab(THREE))
    minority = fleet.up_all(env={"MESH_TAKEOVER_PATIENCE_S": "2"})
    near, far = fleet.others(minority)
    kept = {"do": "declare-queue", "name": "kept"}
    change(fleet, near, *FEED, kept, {"do": "bind", "source": "feed", "destination": "kept", "routing_key": "kept"})

    fleet.lab.split([minority], [near, far])
    fleet.coordinator(near, other_than=minority)
    assert change(fleet, near, {"do": "delete-queue", "name": "news"}, {"do": "declare-queue", "name": "theirs"}) == [True, True]
    lost = route(fleet, minority, "publish", "feed", "news.local", *ids("lost", 5))
    found = route(fleet, minority, "publish", "feed", "kept", *ids("kept", 5))
    change(fleet, minority, {"do": "declare-queue", "name": "mine"})
    fleet.lab.heal()

    expected = {"queues": ["kept", "mine", "theirs"], "bindings": ["feed kept kept"]}

    def merged() -> bool:
        return all({name: seen[name] for name in expected} == expected for seen in (tables(fleet, host) for host in THREE))

    poll_until(merged, 30, "one topology on all hosts")
    letters = fleet.lab[far].mesh("queue", "dead-letters", "lost+found", "--json").stdout
    assert sorted(letter["id"] for letter in json.loads(letters)) == lost
    assert sorted(route(fleet, far, "get", "kept")) == found

    change(fleet, far, FEED[1])
    assert fleet.lab[far].mesh("queue", "requeue", "lost+found", "--all").returncode == 0
    assert sorted(route(fleet, minority, "get", "news")) == lost
