"""The status report: its shape is an interface (docs/reference/status.md), its figures are those of the machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mesh.wire.messages import Answer, Query
from tests.unit.core.cluster import WALL_S, Cluster
from tests.unit.core.declaring import queue
from tests.unit.core.programs import Client

NODE = {"name": str, "id": str, "address": str, "state": str, "role": str, "pid": int, "version": str}
WORKER = {"name": str, "node": str, "queues": list, "tasks": list, "slots": int, "active": int}
QUEUE = {"name": str, "ready": int, "delayed": int, "unsettled": int, "consumers": int, "waiting_for": list}
REPORT: dict[str, Any] = {
    "mesh": str,
    "id": str,
    "coordinator": str,
    "deputies": list,
    "term": int,
    "dispatching": bool,
    "nodes": list,
    "workers": list,
    "queues": list,
    "under_replicated": int,
    "results": dict,
    "counters": dict,
}


def status(client: Client) -> dict[str, Any]:
    client.send(Query(1, "status"))
    client.cluster.calm()
    answer = client.got(Answer)[-1]
    assert answer.error == ""
    report: dict[str, Any] = json.loads(answer.body)
    return report


def check(row: dict[str, Any], shape: dict[str, type]) -> None:
    """Fields are only ever added."""
    assert {name: type(row.get(name)) for name in shape} == shape


@pytest.fixture
def busy() -> Cluster:
    """Three nodes, one away and one that vanished beside them, a worker, and work in every state."""
    cluster = Cluster("a")
    cluster.start("b", "c", "d", "e")
    cluster.until(cluster.agreed)
    worker, client = cluster.worker("b", queues=["q", "r"]), cluster.client("c", "asker")
    client.submit("t1", "t2", "t3")
    client.submit("t4", task="odd")
    client.submit("t5", eta_ms=int((WALL_S + 60) * 1000))
    worker.finish("t1")
    cluster.leave("d")
    cluster.crash("e", vanish=True)
    cluster.run(1.5)
    return cluster


def asker(cluster: Cluster) -> Client:
    return next(program for program in cluster.programs.values() if isinstance(program, Client))


def test_the_report_has_its_fields(busy: Cluster) -> None:
    report = status(asker(busy))
    check(report, REPORT)
    check(report["results"], {"count": int, "bytes": int, "evicted": int})
    check(report["counters"], {"delivered": int, "finished": int, "redelivered": int})
    for rows, shape in ((report["nodes"], NODE), (report["workers"], WORKER), (report["queues"], QUEUE)):
        assert rows
        for row in rows:
            check(row, shape)


def test_the_report_says_who_is_there_and_what_they_are(busy: Cluster) -> None:
    report = status(asker(busy))
    assert (report["coordinator"], report["deputies"], report["dispatching"]) == ("a", ["b"], True)
    states = {node["name"]: (node["state"], node["role"]) for node in report["nodes"]}
    assert states == {
        "a": ("alive", "coordinator"),
        "b": ("alive", "deputy"),
        "c": ("alive", "member"),
        "d": ("away", "member"),
        "e": ("lost", "member"),
    }


def test_r14_a_silent_node_whose_machine_sleeps_is_away_unless_its_host_refuses() -> None:
    cluster = Cluster("abc")
    cluster.until(cluster.agreed, 10.0)
    for name in "bc":
        cluster[name].me.sleeps = True
        cluster.turn(cluster.nodes[name], cluster[name].membership.announce_me, 0)
    cluster.run(1.0)
    leader = cluster.client("a")
    cluster.crash("b", vanish=True)
    cluster.crash("c")
    cluster.run(3.0)
    assert {node["name"]: node["state"] for node in status(leader)["nodes"]} == {"a": "alive", "b": "away", "c": "lost"}


def test_r14_a_node_that_slept_says_so_of_its_machine_from_then_on() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed, 10.0)
    cluster.pause("b", 10.0)
    cluster.run(1.0)
    assert not cluster["b"].me.sleeps, "that was short"
    cluster.pause("b", 90.0)
    cluster.run(3.0)
    assert cluster["a"].membership.members["b"].sleeps
    cluster.crash("b")
    cluster.start("b")
    cluster.run(3.0)
    assert cluster["b"].me.sleeps
    assert cluster["a"].membership.members["b"].sleeps


def test_r23_the_report_says_how_far_clocks_are_apart(busy: Cluster) -> None:
    busy.nodes["b"].skew_s, busy.nodes["c"].skew_s = 3.5, -0.25
    busy.run(1)
    skews = {node["name"]: node["skew_ms"] for node in status(asker(busy))["nodes"]}
    assert skews == {"a": 0, "b": 3500, "c": -250, "d": None, "e": None}
    lines = [line for line in busy["a"].news if "clock" in line]
    assert lines == ["the clock of b is 3.5 s ahead of this machine's; set both by NTP"]


def test_the_report_counts_work(busy: Cluster) -> None:
    report = status(asker(busy))
    queues = {queue["name"]: queue for queue in report["queues"]}
    figures = {name: queues["q"][name] for name in ("ready", "delayed", "unsettled", "consumers", "waiting_for")}
    assert figures == {"ready": 2, "delayed": 1, "unsettled": 1, "consumers": 1, "waiting_for": ["odd"]}
    assert queues["r"]["consumers"] == 1, "a queue that has only consumers is listed"
    assert report["results"]["count"] == 1
    assert report["counters"] == {"delivered": 2, "finished": 1, "redelivered": 0}
    assert [(worker["node"], worker["active"]) for worker in report["workers"]] == [("b", 1)]


def test_a_coordinator_without_authority_says_that_it_does_not_dispatch() -> None:
    cluster = Cluster("a")
    cluster.start("b")
    cluster.until(cluster.agreed)
    cluster.crash("b", vanish=True)
    cluster.run(3)
    client = cluster.client("a")
    client.submit("t1")
    report = status(client)
    assert (report["dispatching"], report["under_replicated"]) == (False, 1)


def test_a_declared_queue_is_listed_with_its_arguments_also_when_it_is_empty() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    client.change(queue("kept", max_length=5), queue("plain"), queue("passing", durable=False))
    client.submit("t", queue="undeclared")
    rows = {row["name"]: row["declared"] for row in json.loads(client.ask("status").body)["queues"]}
    assert rows == {"kept": {"max_length": 5}, "plain": {}, "passing": {"durable": False}, "undeclared": None}
