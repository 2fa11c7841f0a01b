"""A state directory that is put back from a copy of earlier (R18), and a publish that is repeated late (R8)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.unit.core.cluster import Cluster


def settled(names: str = "abc") -> Cluster:
    """A mesh at rest: the first node coordinates."""
    cluster = Cluster(names[0])
    cluster.start(*names[1:])
    cluster.until(cluster.agreed)
    cluster.run(0.5)
    return cluster


def live(cluster: Cluster, name: str) -> dict[str, Any]:
    """The live dots of each journal that a node holds."""
    return {head.hex(): journal.ranges() for head, journal in cluster[name].replica.journals.items() if journal.count}


@pytest.mark.parametrize("stale", ["a", "b", "c"])
def test_r18_a_stale_disk_is_harmless_to_others_and_refetches(stale: str) -> None:
    cluster = settled()
    holder = {"a": "b", "b": "c", "c": "a"}[stale]
    client, worker = cluster.client(stale), cluster.worker(holder, slots=9)
    client.submit("t1", "t2")
    cluster.run(0.5)
    backup = copy.deepcopy(cluster.nodes[stale].disk)
    worker.finish("t1", "t2")
    cluster.run(0.5)
    client.submit("t3")
    cluster.run(0.5)
    cluster.crash(stale)
    cluster.until(cluster.agreed)
    cluster.nodes[stale].disk = backup
    cluster.start(stale)
    cluster.until(cluster.agreed)
    cluster.run(2)
    assert [delivery.id for delivery in worker.deliveries] == ["t1", "t2", "t3"], "nothing that was done runs again"
    worker.finish("t3")
    cluster.run(1)
    assert not cluster[cluster.coordinator].broker.records
    assert not cluster[cluster.coordinator].replica.forks
    leader, deputy = cluster.coordinator, cluster[cluster.coordinator].replication.deputies[0]
    assert live(cluster, leader) == live(cluster, deputy)
    mine = {name: dots for name, dots in live(cluster, stale).items() if name in live(cluster, leader)}
    assert live(cluster, stale) == mine, "it holds nothing that the others have settled"


def test_r18_what_only_the_stale_disk_lacks_comes_back_from_the_others() -> None:
    cluster = settled()
    backup = copy.deepcopy(cluster.nodes["a"].disk)
    cluster.client("a").submit("t1")
    cluster.run(0.5)
    cluster.crash("a")
    cluster.until(cluster.agreed)
    cluster.nodes["a"].disk = backup
    cluster.start("a")
    cluster.until(cluster.agreed)
    worker = cluster.worker("a")
    cluster.until(lambda: "t1" in worker.held)


def test_r18_a_stale_copy_alone_in_the_world_runs_again_what_it_believes_live() -> None:
    cluster = settled("a")
    client, worker = cluster.client("a"), cluster.worker("a")
    client.submit("t1")
    cluster.run(0.5)
    backup = copy.deepcopy(cluster.nodes["a"].disk)
    worker.finish("t1")
    cluster.run(0.5)
    cluster.crash("a")
    cluster.nodes["a"].disk = backup
    cluster.start("a")
    again = cluster.worker("a")
    cluster.until(lambda: "t1" in again.held)


@pytest.mark.parametrize("takeover", [False, True])
def test_r8_a_publish_that_is_repeated_ten_minutes_later_runs_once(takeover: bool) -> None:
    cluster = settled()
    client, worker = cluster.client("c"), cluster.worker("b")
    client.submit("t1")
    cluster.run(0.5)
    worker.finish("t1")
    cluster.run(0.5)
    for node in cluster.running():
        node.skew_s += 600
    cluster.run(1)
    if takeover:
        cluster.crash("a")
        cluster.until(cluster.agreed)
    again = cluster.client("b")
    again.submit("t1")
    cluster.until(lambda: again.confirm(1) and "t1" in again.results())
    assert [delivery.id for delivery in worker.deliveries] == ["t1"]


def test_r22_of_two_values_that_were_set_apart_the_one_of_the_higher_term_stands_whatever_the_clocks_say() -> None:
    cluster = settled()
    cluster.nodes["c"].skew_s = 86_400
    cluster.split("ab", "c")
    cluster.run(2)
    assert cluster["c"].election.term > cluster["a"].election.term
    for name, value in (("a", "7"), ("c", "3")):
        cluster.turn(cluster.nodes[name], cluster[name].policies.set, "max_deliveries", value, cluster[name].election.term)
    cluster.heal()
    cluster.until(cluster.agreed)
    cluster.run(2)
    assert {cluster[name].settings.max_deliveries for name in "abc"} == {3}
