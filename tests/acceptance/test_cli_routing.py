"""Routing as its users meet it: real nodes and workers, the commands, a file of topology, an application with routes."""

from __future__ import annotations

import base64
import json

import pytest

from tests.acceptance.conftest import start_node, start_worker
from tests.machines import Machine
from tests.polling import poll_until

APP = """
from mesh import Mesh, Queue

app = Mesh("proj")
app.conf.task_default_queue = "default"
app.conf.task_queues = (Queue("default", routing_key="task.#"), Queue("feed_tasks", routing_key="feed.#"))
app.conf.task_default_exchange = "tasks"
app.conf.task_default_exchange_type = "topic"
app.conf.task_default_routing_key = "task.default"
app.conf.task_routes = {"proj.import_feed": {"queue": "feed_tasks", "routing_key": "feed.import"}}


@app.task(name="proj.import_feed")
def import_feed(url):
    return f"read {url}"


@app.task(name="proj.other")
def other(x):
    return x * 2
"""
TOPOLOGY = """
[[exchanges]]
name = "pdf"
type = "direct"
alternate = "unrouted"

[[exchanges]]
name = "unrouted"
type = "fanout"

[[queues]]
name = "pdfs"
max_length = 100

[[queues]]
name = "rest"

[[bindings]]
source = "pdf"
destination = "pdfs"
routing_key = "pdfprocess"

[[bindings]]
source = "unrouted"
destination = "rest"
"""
DEADLINE_S = 20.0


@pytest.fixture
def server(machine: Machine) -> Machine:
    """A machine with a node."""
    (machine.work / "proj.py").write_text(APP)
    (machine.work / "topology.toml").write_text(TOPOLOGY)
    start_node(machine)
    return machine


def rows(machine: Machine, *arguments: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(machine.mesh(*arguments, "--json").stdout)
    return found


def waiting(machine: Machine, queue: str) -> list[object]:
    """The ids that wait in a queue."""
    return [row["id"] for row in rows(machine, "queue", "peek", queue)]


def test_an_applications_routes_lead_to_the_workers_of_its_queues(server: Machine) -> None:
    start_worker(server, "proj", "-Q", "feed_tasks")
    explained = server.mesh("route", "explain", "proj.import_feed", "-A", "proj").stdout
    assert "published to the exchange tasks (topic) with the routing key 'feed.import'" in explained
    assert "-> queue feed_tasks (bound with feed.#)" in explained
    assert server.mesh("call", "proj.import_feed", "x", "-A", "proj").stdout.strip() == "read x"
    sent = server.mesh("call", "proj.other", "4", "-A", "proj", "--no-wait").stdout.strip()
    assert waiting(server, "default") == [sent]
    start_worker(server, "proj")
    done = poll_until(lambda: server.mesh("result", sent, check=False), DEADLINE_S, "the result", pause_s=0.2)
    assert done.stdout.strip() == "8"


def test_a_topology_is_applied_once_and_shows_what_it_changes(server: Machine) -> None:
    dry = server.mesh("topology", "apply", "topology.toml", "--dry-run").stdout
    assert "+ exchange pdf (type=direct, alternate=unrouted)" in dry
    assert [row["name"] for row in rows(server, "exchange", "list") if str(row["name"]).startswith("pdf")] == []
    refused = server.mesh("topology", "apply", "topology.toml", check=False)
    assert (refused.returncode, "--yes" in refused.stderr) == (2, True)
    assert "applied 6 changes" in server.mesh("topology", "apply", "topology.toml", "--yes").stdout
    assert "nothing to do" in server.mesh("topology", "apply", "topology.toml", "--yes").stdout
    server.mesh("topology", "export", "again.toml")
    assert "nothing to do" in server.mesh("topology", "apply", "again.toml").stdout
    (server.work / "topology.toml").write_text(TOPOLOGY.replace("max_length = 100", "max_length = 5"))
    other = server.mesh("topology", "apply", "topology.toml", "--yes", check=False)
    assert (other.returncode, "max_length = 100 in the mesh, 5 in the file" in other.stderr) == (2, True)


def test_pdfprocess_reaches_its_queue_and_what_nobody_wants_the_alternate_one(server: Machine) -> None:
    server.mesh("topology", "apply", "topology.toml", "--yes")
    pdf = server.mesh("call", "make", "1", "--exchange", "pdf", "--routing-key", "pdfprocess", "--no-wait").stdout.strip()
    rest = server.mesh("call", "make", "2", "--exchange", "pdf", "--routing-key", "other", "--no-wait").stdout.strip()
    assert (waiting(server, "pdfs"), waiting(server, "rest")) == ([pdf], [rest])
    lost = server.mesh("call", "make", "3", "--exchange", "amq.topic", "--routing-key", "k", check=False)
    assert (lost.returncode, "no queue for the routing key 'k'" in lost.stderr) == (1, True)


def test_messages_are_moved_exported_purged_and_imported(server: Machine) -> None:
    ids = [server.mesh("call", "make", str(number), "-Q", "a", "--no-wait").stdout.strip() for number in range(3)]
    assert "moved 1 message " in server.mesh("queue", "move", "a", "b", "-n", "1").stdout
    assert (waiting(server, "a"), waiting(server, "b")) == (ids[1:], ids[:1])
    server.mesh("queue", "export", "b", "b.jsonl")
    assert [json.loads(line)["id"] for line in (server.work / "b.jsonl").read_text().splitlines()] == ids[:1]
    assert "dropped 2 messages" in server.mesh("queue", "purge", "a").stdout
    server.mesh("queue", "import", "b.jsonl")
    assert waiting(server, "b") == ids[:1]
    server.mesh("queue", "import", "b.jsonl", "--queue", "c", "--new-ids")
    (again,) = waiting(server, "c")
    assert again not in ids
    assert "deleted the queue b with 1 message" in server.mesh("queue", "delete", "b").stdout


def test_large_bodies_are_exported_and_imported(server: Machine) -> None:
    body = base64.b64encode(bytes(range(256)) * 1200).decode()
    row = {"id": "large", "queue": "large", "task": "", "body": body, "properties": None}
    (server.work / "large.jsonl").write_text(json.dumps(row))
    server.mesh("queue", "import", "large.jsonl")
    assert "wrote 1 message of large" in server.mesh("queue", "export", "large", "again.jsonl").stderr
    (again,) = [json.loads(line) for line in (server.work / "again.jsonl").read_text().splitlines()]
    assert (again["id"], again["body"]) == ("large", body)


def test_a_call_that_nobody_begins_in_time_expires(server: Machine) -> None:
    late = server.mesh("call", "make", "1", "-Q", "nobody", "--expires", "0.2", "--timeout", str(DEADLINE_S), check=False)
    assert (late.returncode, "expire" in late.stdout + late.stderr) == (1, True)


def test_what_is_declared_otherwise_or_not_possible_is_one_line(server: Machine) -> None:
    server.mesh("queue", "declare", "feeds", "--argument", "x-max-priority=10")
    server.mesh("exchange", "declare", "tasks", "--type", "topic")
    server.mesh("binding", "declare", "tasks", "feeds", "-k", "feed.#")
    cases = {
        ("queue", "declare", "feeds", "--max-priority", "5"): (2, "max_priority = 10, not 5"),
        ("queue", "declare", "amq.mine"): (2, "reserved"),
        ("queue", "declare", "more", "--argument", "x-max-lenght=3"): (2, "did you mean 'x-max-length'?"),
        ("exchange", "declare", "tasks"): (2, "type = 'topic', not 'direct'"),
        ("exchange", "delete", "amq.topic"): (2, "always there"),
        ("exchange", "delete", "tasks", "--if-unused"): (2, "1 bindings lead from it"),
        ("binding", "declare", "tasks", "nowhere"): (3, "'nowhere' is not declared"),
        ("queue", "move", "feeds", "feeds", "--all"): (2, "name another queue"),
    }
    for arguments, (code, text) in cases.items():
        ended = server.mesh(*arguments, check=False)
        assert (ended.returncode, ended.stderr.count("\n"), text in ended.stderr) == (code, 1, True), (arguments, ended.stderr)
    assert server.mesh("binding", "delete", "tasks", "feeds", "-k", "feed.#").stdout.strip() == "unbound feeds from tasks"
    assert server.mesh("exchange", "delete", "tasks", "--if-unused").stdout.strip() == "deleted the exchange tasks"
