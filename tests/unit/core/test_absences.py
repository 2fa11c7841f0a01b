"""Nodes that are away for long: an ordinary merge within ``forget_after_s``, afterwards a quarantine for what they bring back (R17)."""

from __future__ import annotations

import json
from typing import Any

from mesh.core.cluster.absences import ABSENCE_NOTED_S
from mesh.wire.messages import Answer, Query
from tests.unit.core.cluster import Cluster
from tests.unit.core.programs import Client

FORGET_AFTER_S = 90


def settled(names: str = "abc", forget_after_s: float = FORGET_AFTER_S) -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0], forget_after_s=forget_after_s)
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    assert cluster.coordinator == names[0]
    cluster.run(0.5)
    return cluster


def ask(client: Client, what: str, argument: str = "") -> Any:
    client.number += 1
    client.send(Query(client.number, what, argument))
    client.cluster.run(0.1)
    answer = next(answer for answer in client.got(Answer) if answer.number == client.number)
    assert answer.error == ""
    return json.loads(answer.body)


def row(client: Client, name: str) -> dict[str, Any]:
    """A node's line of the status."""
    found: dict[str, Any] = next(node for node in ask(client, "status")["nodes"] if node["name"] == name)
    return found


def accept_alone(cluster: Cluster, name: str, *ids: str) -> Client:
    """Messages that a node takes while it is away, and confirms with its one copy."""
    client = cluster.client(name)
    client.submit(*ids)
    cluster.until(lambda: client.confirm(1))
    return client


def part_for(cluster: Cluster, seconds: float, *sides: str) -> None:
    cluster.split(*sides)
    cluster.run(seconds)


def meet(cluster: Cluster) -> None:
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(2)


def test_r17_within_forget_after_a_return_is_an_ordinary_merge() -> None:
    cluster = settled()
    worker = cluster.worker("a", slots=5)
    cluster.split("ab", "c")
    cluster.run(2)
    accept_alone(cluster, "c", "t1")
    cluster.run(ABSENCE_NOTED_S + 5)
    asker = cluster.client("a")
    assert 60 <= row(asker, "c")["absent_s"] <= 80
    meet(cluster)
    assert set(worker.held) == {"t1"}
    assert row(asker, "c")["absent_s"] is None


def test_r17_a_node_that_was_away_for_longer_is_forgotten_and_what_it_brings_is_quarantined() -> None:
    cluster = settled()
    worker, asker = cluster.worker("a", slots=5), cluster.client("a")
    cluster.split("ab", "c")
    cluster.run(2)
    waiting = accept_alone(cluster, "c", "t1", "t2")
    cluster.run(FORGET_AFTER_S + 10)
    away = row(asker, "c")
    assert (away["state"], away["forgotten"]) == ("away", True)
    assert {member.id for member in cluster["a"].membership.admitted()} == {"a", "b"}, "it counts neither for majorities nor for copies"
    meet(cluster)
    assert cluster.coordinator == "a"
    assert worker.held == {}
    letters = ask(asker, "dead-letters", "quarantine")
    assert [(letter["id"], letter["queue"]) for letter in letters] == [("t1", "q"), ("t2", "q")]
    assert letters[0]["reason"].startswith("brought back by c, which was away for ")
    assert {queue["name"]: queue["dead_letters"] for queue in ask(asker, "status")["queues"]}["quarantine"] == 2
    assert ask(asker, "requeue", "quarantine=t1") == ["t1"]
    cluster.run(0.2)
    assert set(worker.held) == {"t1"}
    worker.finish("t1")
    cluster.until(lambda: set(waiting.results()) == {"t1"})
    assert ask(asker, "requeue", "quarantine") == ["t2"]
    cluster.run(0.2)
    worker.finish("t2")
    cluster.until(lambda: set(waiting.results()) == {"t1", "t2"})


def test_r17_what_a_forgotten_node_accepts_after_its_return_runs() -> None:
    cluster = settled()
    worker = cluster.worker("a", slots=5)
    part_for(cluster, FORGET_AFTER_S + 70, "ab", "c")
    meet(cluster)
    assert not cluster["a"].absences.forgotten("c")
    assert not cluster["c"].absences.forgotten("c")
    client = cluster.client("c")
    client.submit("t1")
    cluster.run(0.5)
    assert set(worker.held) == {"t1"}
    assert {member.id for member in cluster["a"].membership.admitted()} == {"a", "b", "c"}


def test_r17_a_forgotten_node_gives_way_however_long_it_reigned() -> None:
    cluster = settled("ab")
    assert cluster["a"].election._elected_in == 1
    cluster.crash("a", vanish=True)
    cluster.until(lambda: cluster.coordinator == "b")
    cluster.run(FORGET_AFTER_S + 70)
    cluster.cut("a", "b")
    cluster.start("a")
    cluster.run(2)
    assert cluster["a"].election.is_coordinator
    accept_alone(cluster, "a", "t1")
    meet(cluster)
    assert cluster.coordinator == "b"
    assert [letter.message.id for letter in cluster["b"].broker.dead_letters.of_queue("quarantine")] == ["t1"]


def test_r17_of_two_that_forgot_each_other_one_quarantines_what_the_other_brings() -> None:
    cluster = settled("ab")
    cluster.split("a", "b")
    cluster.run(2)
    accept_alone(cluster, "a", "t1")
    accept_alone(cluster, "b", "t2")
    cluster.run(FORGET_AFTER_S + 70)
    meet(cluster)
    assert cluster.coordinator == "a"
    assert [letter.message.id for letter in cluster["a"].broker.dead_letters.of_queue("quarantine")] == ["t2"]
    assert "t1" in cluster["a"].broker.records
    assert not any(cluster[name].absences.forgotten(other) for name in "ab" for other in "ab")


def test_r17_what_was_run_meanwhile_is_not_quarantined() -> None:
    cluster = settled()
    worker = cluster.worker("a", slots=5)
    cluster.split("ab", "c")
    cluster.run(2)
    accept_alone(cluster, "c", "t1")
    again = cluster.client("a")
    again.submit("t1")
    cluster.run(0.5)
    worker.finish("t1")
    cluster.run(FORGET_AFTER_S + 70)
    meet(cluster)
    assert cluster["a"].broker.dead_letters.of_queue("quarantine") == []
    assert worker.held == {}


def test_r17_absence_is_counted_over_reigns_and_restarts() -> None:
    cluster = settled("abc")
    cluster.crash("c", vanish=True)
    cluster.run(ABSENCE_NOTED_S + 5)
    cluster.crash("a")
    cluster.until(lambda: cluster.coordinator == "b")
    cluster.run(FORGET_AFTER_S - ABSENCE_NOTED_S)
    assert cluster["b"].absences.forgotten("c")
    cluster.start("a")
    cluster.until(cluster.agreed)
    cluster.run(1)
    assert cluster["a"].absences.forgotten("c")
    assert not cluster["b"].absences.forgotten("a"), "it was away for a minute or so"


def test_r17_nobody_is_forgotten_by_a_clock_that_disagrees() -> None:
    cluster = settled("abc")
    cluster.crash("c", vanish=True)
    cluster.run(ABSENCE_NOTED_S + 5)
    cluster.nodes["a"].skew_s = 365 * 86_400.0
    cluster.run(FORGET_AFTER_S)
    assert not cluster["b"].absences.forgotten("c")
    cluster.nodes["a"].skew_s = 0.0
    cluster.run(2)
    assert cluster["b"].absences.forgotten("c")
