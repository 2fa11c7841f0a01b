"""What waits in a queue is shown and moved without a consumer, also from the disk; the way of a message is explained."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import pytest

from mesh.wire.entries import LOST_AND_FOUND, DeadLetter, Message
from mesh.wire.messages import Answer
from tests.unit.core.cluster import Cluster
from tests.unit.core.declaring import bind, exchange, held, publish, queue
from tests.unit.core.programs import Client

IDS = [f"t{number:03d}" for number in range(30)]
FEW_BYTES = 5 * 900
"""A window of some five messages."""


def found(answer: Answer) -> Any:
    assert answer.error == ""
    return json.loads(answer.body)


def ask(client: Client, what: str, **argument: Any) -> Any:
    return found(client.ask(what, json.dumps(argument)))


def pages(client: Client, name: str, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: Any = ["", 0]
    while after is not None:
        page = ask(client, "messages", queue=name, count=count, after=after)
        assert len(page["messages"]) <= count
        rows += page["messages"]
        after = page["next"]
    return rows


def filled(window_bytes: int = 1 << 20) -> tuple[Cluster, Client]:
    cluster = Cluster("a", window_bytes=window_bytes)
    client = cluster.client("a")
    for id in IDS:
        client.submit(id, body=id.encode())
    return cluster, client


# -- showing --------------------


def test_peek_shows_what_is_next_the_higher_priority_first_and_leaves_it() -> None:
    cluster, client = filled()
    client.submit("urgent", priority=9)
    rows = ask(client, "messages", queue="q", count=3)["messages"]
    assert [row["id"] for row in rows] == ["urgent", "t000", "t001"]
    assert rows[0]["properties"]["priority"] == 9
    assert base64.b64decode(rows[1]["body"]) == b"t000"
    assert len(held(cluster, "a")) == len(IDS) + 1


@pytest.mark.parametrize("window_bytes", [0, FEW_BYTES, 1 << 20])
def test_pages_have_each_message_once_with_its_body_wherever_it_is(window_bytes: int) -> None:
    _, client = filled(window_bytes)
    client.submit("elsewhere", queue="other")
    rows = pages(client, "q", 7)
    assert sorted(row["id"] for row in rows) == IDS
    assert all(base64.b64decode(row["body"]) == row["id"].encode() for row in rows)


def test_peek_goes_on_on_the_disk_when_memory_has_too_few() -> None:
    _, client = filled(FEW_BYTES)
    rows = ask(client, "messages", queue="q", count=20)["messages"]
    assert [row["id"] for row in rows] == IDS[:20]


def test_a_large_body_is_had_piece_by_piece() -> None:
    cluster = Cluster("ab", max_body_bytes=1 << 20)
    cluster.until(cluster.agreed, 10.0)
    client, body = cluster.client("b"), bytes(range(256)) * 1000
    client.submit_large("t1", body)
    cluster.run(1.0)
    (row,) = ask(client, "messages", queue="q")["messages"]
    chunks = row["chunks"]
    assert (row["body"], chunks["size"], chunks["digest"]) == (None, len(body), zlib.crc32(body))
    parts = [ask(client, "chunk", body=chunks["body"], index=index)["data"] for index in range(chunks["count"])]
    assert b"".join(base64.b64decode(part) for part in parts) == body
    for index, id in ((chunks["count"], chunks["body"]), (0, "00"), (0, "no digits")):
        assert client.ask("chunk", json.dumps({"body": id, "index": index})).error


def test_what_a_worker_holds_is_not_shown() -> None:
    cluster, client = filled()
    worker = cluster.worker("a", slots=1, capacity=2)
    assert len(worker.held) == 2
    assert [row["id"] for row in pages(client, "q", 100)] == IDS[2:]


def test_a_queue_that_is_not_there_has_nothing() -> None:
    _, client = filled()
    assert pages(client, "nowhere", 5) == []


# -- moving --------------------


@pytest.mark.parametrize("window_bytes", [0, FEW_BYTES, 1 << 20])
def test_moved_messages_run_once_from_the_other_queue_in_their_order(window_bytes: int) -> None:
    cluster, client = filled(window_bytes)
    assert ask(client, "move", queue="q", to="other", count=10) == {"moved": 10, "more": True}
    assert ask(client, "move", queue="q", to="other", count=1000) == {"moved": 20, "more": False}
    assert ask(client, "move", queue="q", to="other", count=1000) == {"moved": 0, "more": False}
    assert pages(client, "q", 100) == []
    worker = cluster.worker("a", queues=["other"], slots=2, capacity=3)
    while worker.held:
        worker.finish()
    assert [delivery.id for delivery in worker.deliveries] == IDS
    assert [delivery.body for delivery in worker.deliveries] == [id.encode() for id in IDS]
    assert sorted(client.results()) == IDS


def test_what_a_worker_holds_is_not_moved() -> None:
    cluster, client = filled()
    worker = cluster.worker("a", slots=1, capacity=2)
    assert ask(client, "move", queue="q", to="other", count=1000)["moved"] == len(IDS) - 2
    while worker.held:
        worker.finish()
    assert [delivery.id for delivery in worker.deliveries] == IDS[:2]


def test_a_moved_message_belongs_to_its_new_queue_when_that_is_declared() -> None:
    cluster, client = filled()
    found(client.change(queue("kept")))
    ask(client, "move", queue="q", to="kept", count=1)
    properties = cluster["a"].broker.records["t000"].message.properties
    assert properties is not None
    assert properties.declared
    ask(client, "move", queue="kept", to="free", count=1)
    properties = cluster["a"].broker.records["t000"].message.properties
    assert properties is not None
    assert not properties.declared


@pytest.mark.parametrize("window_bytes", [0, 1 << 20])
def test_what_has_a_countdown_is_shown_and_keeps_it_when_it_is_moved(window_bytes: int) -> None:
    cluster, client = filled(window_bytes)
    eta_ms = cluster["a"].wall_ms + 60_000
    client.submit("later", eta_ms=eta_ms)
    assert {row["id"]: row["eta_ms"] for row in pages(client, "q", 7)} == dict.fromkeys(IDS, 0) | {"later": eta_ms}
    assert ask(client, "move", queue="q", to="other", count=1000)["moved"] == len(IDS) + 1
    queue = cluster["a"].broker.queues["other"]
    assert (queue.ready, queue.delayed) == (len(IDS), 1)


def test_what_is_in_lost_and_found_can_be_moved_to_a_queue() -> None:
    cluster, client = filled()
    cluster["a"].replica.write(DeadLetter(Message("lost", "gone", "work", b""), "why", 0, held_in=LOST_AND_FOUND))
    assert ask(client, "move", queue=LOST_AND_FOUND, to="other", count=5) == {"moved": 1, "more": False}
    assert held(cluster, "a")["lost"] == "other"
    assert cluster["a"].broker.dead_letters.count(LOST_AND_FOUND) == 0


@pytest.mark.parametrize(
    ("what", "argument"),
    [
        ("move", {"queue": "q", "to": "q"}),
        ("move", {"queue": "q", "to": "lost+found"}),
        ("move", {"queue": "q", "to": ""}),
        ("move", {"queue": "q", "to": "other", "count": 0}),
        ("messages", {"queue": "q", "count": 1001}),
        ("messages", {"queue": "q", "afterwards": 1}),
        ("messages", {}),
        ("route", {"headers": {"a": [1]}}),
    ],
)
def test_a_question_that_is_not_possible_is_refused(what: str, argument: dict[str, Any]) -> None:
    _, client = filled()
    assert client.ask(what, json.dumps(argument)).error.startswith("invalid-topology: ")
    assert len(pages(client, "q", 100)) == len(IDS)


# -- explaining --------------------


def test_a_route_is_explained_step_by_step_to_the_queues_and_who_runs_the_task_there() -> None:
    cluster = Cluster("a")
    client = cluster.client("a")
    found(client.change(exchange("x", alternate="y"), exchange("y", "fanout"), queue("q"), queue("spare")))
    found(client.change(bind("x", "q", "k"), bind("y", "spare")))
    cluster.worker("a", queues=["q"], tasks=["work"])
    publish(client, "waits", exchange="x", key="other", task="work")
    straight = ask(client, "route", exchange="x", routing_key="k", task="work")
    assert [step["exchange"] for step in straight["steps"]] == ["x"]
    (to,) = straight["queues"]
    assert (to["name"], to["declared"], [one["runs_it"] for one in to["consumers"]]) == ("q", True, [True])
    around = ask(client, "route", exchange="x", routing_key="other", task="work")
    assert [(step["exchange"], step["alternate"]) for step in around["steps"]] == [("x", "y"), ("y", "")]
    assert [(one["name"], one["waiting"], one["consumers"]) for one in around["queues"]] == [("spare", 1, [])]


def test_a_route_to_nowhere_says_why() -> None:
    client = Cluster("a").client("a")
    nowhere = ask(client, "route", exchange="x", routing_key="k")
    assert nowhere["queues"] == []
    assert "no exchange 'x'" in nowhere["refusal"]


def test_a_queue_by_name_needs_no_exchange() -> None:
    client = Cluster("a").client("a")
    by_name = ask(client, "route", queue="q")
    assert (by_name["steps"], [one["name"] for one in by_name["queues"]]) == ([], ["q"])
