"""Memory and disks over their limit, and a node with too much under way: whose publishers wait, and when they are let in."""

from __future__ import annotations

import pytest

from mesh.core.cluster.alarms import DISK, MEMORY
from mesh.wire.messages import Go, Held
from tests.unit.core.cluster import Cluster
from tests.unit.core.test_limits import error, follow, submit, waiting


@pytest.mark.parametrize(("code", "word"), [(DISK, "disk-low:"), (MEMORY, "busy:")])
def test_an_alarm_holds_publishers_and_lets_them_in_in_order_when_it_is_over(code: str, word: str) -> None:
    cluster = Cluster("a")
    first, second = cluster.client("a"), cluster.client("a")
    cluster.turn(cluster.nodes["a"], cluster["a"].alarms.set, code, "too little")
    submit(first, "1")
    submit(second, "2")
    assert first.got(Held)[0].why == f"{word} too little"
    assert waiting(cluster) == 0
    cluster.turn(cluster.nodes["a"], cluster["a"].alarms.set, code, "")
    cluster.calm()
    gone = [sent.receiver for sent in cluster.sent if isinstance(sent.message, Go)]
    assert gone == [first.name, second.name]
    assert first.copies(follow(first, first.got(Go)[0], "1")) == 1


def test_at_the_deadline_of_an_alarm_the_publisher_is_told_why() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    cluster.turn(cluster.nodes["a"], cluster["a"].alarms.set, MEMORY, "too little")
    number = submit(client, "1", deadline_ms=500)
    cluster.run(0.6)
    assert error(client, number) == "busy: too little"


def test_an_alarm_of_the_coordinator_holds_the_publishers_of_all_nodes() -> None:
    cluster = Cluster("abc")
    cluster.until(cluster.agreed)
    client = cluster.client("c")
    leader = cluster.coordinator
    cluster.turn(cluster.nodes[leader], cluster[leader].alarms.set, MEMORY, "too little")
    cluster.run(0.4)
    submit(client, "1")
    assert client.got(Held)[0].why == f"busy: on node {leader}: too little"
    assert cluster["c"].news == [f"publishers wait: busy: on node {leader}: too little"]
    cluster.turn(cluster.nodes[leader], cluster[leader].alarms.set, MEMORY, "")
    cluster.run(0.4)
    assert len(client.got(Go)) == 1
    assert cluster["c"].news[1:] == ["publishers are let in again"]


def test_a_deputy_with_an_alarm_is_replaced_and_nobody_waits() -> None:
    cluster = Cluster("abc")
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    (deputy,) = cluster[leader].replication.deputies
    cluster.turn(cluster.nodes[deputy], cluster[deputy].alarms.set, MEMORY, "too little")
    cluster.run(1)
    assert cluster[leader].replication.deputies != [deputy]
    client = cluster.client(leader)
    assert client.copies(submit(client, "1")) == 2


def test_where_no_other_deputy_is_its_alarm_holds_everybody() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    cluster.turn(cluster.nodes["b"], cluster["b"].alarms.set, MEMORY, "too little")
    cluster.run(0.4)
    submit(client, "1")
    assert client.got(Held)[0].why == "busy: on node b: too little"


def test_a_lost_node_with_an_alarm_holds_nobody() -> None:
    cluster = Cluster("ab")
    cluster.until(cluster.agreed)
    client = cluster.client("a")
    cluster.turn(cluster.nodes["b"], cluster["b"].alarms.set, MEMORY, "too little")
    cluster.run(0.4)
    submit(client, "1", deadline_ms=60_000)
    cluster.crash("b")
    cluster.run(1.5)
    assert len(client.got(Go)) == 1


def test_over_max_accepted_bytes_a_publisher_that_waits_is_let_in_when_there_is_room() -> None:
    cluster = Cluster("a", max_accepted_bytes=1 << 20)
    client = cluster.client("a")
    cluster.stall_disk("a")
    half = bytes(600_000)
    client.submit("t1", body=half)
    number = submit(client, "t2", body=half)
    assert "max_accepted_bytes" in client.got(Held)[0].why
    cluster.resume_disk("a")
    cluster.run(0.1)
    assert [go.number for go in client.got(Go)] == [number]
    assert client.copies(follow(client, client.got(Go)[0], "t2", body=half)) == 1


def test_status_shows_whose_alarm_it_is_and_whom_it_blocks() -> None:
    cluster = Cluster("abc")
    cluster.until(cluster.agreed)
    leader = cluster.coordinator
    (member,) = {"a", "b", "c"} - {leader, *cluster[leader].replication.deputies}
    cluster.turn(cluster.nodes[leader], cluster[leader].alarms.set, MEMORY, "too little")
    cluster.turn(cluster.nodes[member], cluster[member].alarms.set, DISK, "too full")
    cluster.run(0.4)
    rows = {row["node"]: row for row in cluster[leader].alarms.report()}
    assert rows == {
        leader: {"node": leader, "kind": "memory", "text": "too little", "blocks": "mesh"},
        member: {"node": member, "kind": "disk", "text": "too full", "blocks": "node"},
    }
