"""`mesh publish`, `mesh get`, `mesh consume`, and programs with plain messages while nodes come and go."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import START_S, start_node
from tests.machines import MESH, Machine, Process
from tests.polling import poll_until

CONSUME = """\
import sys
import mesh

with mesh.connect() as connection, connection.consume("work", prefetch=10) as consumer:
    print("ready", flush=True)
    for message in consumer:
        print("got", message.body, flush=True)
        message.ack()
        if message.body == "end":
            break
print("left", flush=True)
"""
HOLD = """\
import threading
import mesh

with mesh.connect() as connection:
    message = connection.get("work", block=True)
    print("holds", message.body, flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def ready(machine: Machine, node: Process) -> Machine:
    """A machine with a node."""
    return machine


def waiting(machine: Machine, queue: str) -> int:
    rows = json.loads(machine.mesh("queue", "list", "--json").stdout)
    return next((row["ready"] for row in rows if row["name"] == queue), 0)


def test_what_was_published_is_printed_and_gone(ready: Machine) -> None:
    published = json.loads(ready.mesh("publish", "mail", "one", "two", "--json").stdout)
    assert (len(published["ids"]), published["copies"], published["unroutable"]) == (2, 1, 0)
    assert ready.mesh("get", "mail").stdout == "one\n"
    row = json.loads(ready.mesh("get", "mail", "--json").stdout)
    assert (row["id"], row["body"], row["queue"], row["attempt"]) == (published["ids"][1], "two", "mail", 1)
    empty = ready.mesh("get", "mail", check=False)
    assert (empty.returncode, empty.stdout) == (3, "")
    assert "has no message ready" in empty.stderr


def test_what_is_not_acknowledged_stays(ready: Machine) -> None:
    ready.mesh("publish", "mail", "one")
    assert ready.mesh("get", "mail", "--no-ack").stdout == "one\n"
    poll_until(lambda: waiting(ready, "mail") == 1, 5, "it is back")
    assert json.loads(ready.mesh("get", "mail", "--json").stdout)["attempt"] == 2


def test_what_is_said_of_a_message_and_values_arrive(ready: Machine) -> None:
    said = ("--header", "n=1", "--header", "lang=en", "--priority", "3", "--correlation-id", "c", "--reply-to", "answers")
    ready.mesh("publish", "mail", "--value", '{"a": [1, null]}', *said)
    row = json.loads(ready.mesh("get", "mail", "--json").stdout)
    assert row["body"] == {"a": [1, None]}
    assert (row["headers"], row["priority"], row["correlation_id"], row["reply_to"]) == ({"n": 1, "lang": "en"}, 3, "c", "answers")


def test_every_line_of_stdin_is_a_message(ready: Machine) -> None:
    ready.run("sh", "-c", "printf 'a\\nb\\n' | \"$0\" publish lines", MESH)
    ready.run("sh", "-c", "printf 'a\\nb\\377' | \"$0\" publish whole --whole", MESH)
    assert ready.mesh("consume", "lines", "--count", "2").stdout == "a\nb\n"
    assert json.loads(ready.mesh("get", "whole", "--json").stdout)["base64"] == "YQpi/w=="


def test_consume_prints_what_comes_until_it_is_told_to_stop(ready: Machine) -> None:
    consumer = ready.mesh_spawn("consume", "mail", "news", "--json")
    ready.mesh("publish", "mail", "one")
    ready.mesh("publish", "news", "two")
    consumer.wait_for('"two"', START_S)
    consumer.signal(signal.SIGINT)
    consumer.wait(START_S)
    assert {json.loads(line)["body"] for line in consumer.output().splitlines() if line.startswith("{")} == {"one", "two"}
    assert ready.mesh("consume", "mail", "--timeout", "0.2").stdout == ""


def test_a_misspelt_or_impossible_option_says_what_to_do(ready: Machine) -> None:
    for arguments, text in (
        (("publish", "q", "x", "--header", "noequals"), "NAME=VALUE"),
        (("publish", "q", "--value", "{"), "needs JSON"),
        (("publish", "q", "x", "--whole"), "--whole is for stdin"),
        (("publish", "k", "x", "-x", "none", "--mandatory"), "none"),
    ):
        refused = ready.mesh(*arguments, check=False)
        assert refused.returncode in (1, 2), refused
        assert text in refused.stderr
        assert len(refused.stderr.splitlines()) <= 4


def test_a_consumer_lives_on_when_its_node_is_killed_and_comes_back(ready: Machine, node: Process) -> None:
    program = Path(ready.work / "consume.py")
    program.write_text(CONSUME, encoding="utf-8")
    consumer = ready.python_spawn("consume.py")
    consumer.wait_for("ready", START_S)
    ready.mesh("publish", "work", "--value", '"before"')
    consumer.wait_for("got before", START_S)
    node.kill()
    start_node(ready)
    ready.mesh("publish", "work", "--value", '"after"', '"end"')
    consumer.wait_for("left", START_S)
    assert [line for line in consumer.output().splitlines() if line == "got after"] == ["got after"]


def test_what_a_killed_consumer_held_comes_to_the_next_one(ready: Machine) -> None:
    program = Path(ready.work / "hold.py")
    program.write_text(HOLD, encoding="utf-8")
    ready.mesh("publish", "work", "--value", '"precious"')
    holder = ready.python_spawn("hold.py")
    holder.wait_for("holds precious", START_S)
    holder.kill()
    row = json.loads(ready.mesh("get", "work", "--wait", "25", "--json", timeout_s=40).stdout)
    assert (row["body"], row["attempt"]) == ("precious", 2)


def test_messages_and_acknowledgements_survive_a_restart(ready: Machine, node: Process) -> None:
    ready.mesh("publish", "work", *(str(number) for number in range(5)))
    assert ready.mesh("consume", "work", "--count", "2", "--prefetch", "1").stdout == "0\n1\n"
    poll_until(lambda: waiting(ready, "work") == 3, 5, "three are left")
    ready.mesh("down")
    node.wait(START_S)
    start_node(ready)
    assert ready.mesh("consume", "work", "--count", "3").stdout == "2\n3\n4\n"
