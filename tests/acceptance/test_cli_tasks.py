"""`mesh call`, `mesh result` and `mesh status` beyond the plain case."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.acceptance.conftest import START_S, start_worker
from tests.machines import Machine, Process
from tests.polling import poll_until

TASKS = Path(__file__).with_name("tasks.py")


@pytest.fixture
def ready(machine: Machine, node: Process) -> Machine:
    """A machine with a node and a worker of tasks.py."""
    machine.put(TASKS)
    start_worker(machine, "tasks", "-c", "1")
    return machine


def test_json_tells_result_or_error(ready: Machine) -> None:
    done = json.loads(ready.mesh("call", "tasks.add", "2", "2", "--json").stdout)
    assert (done["state"], done["result"]) == ("SUCCESS", 4)
    failed = ready.mesh("call", "tasks.fail", "oh", "--json", check=False)
    assert failed.returncode == 1
    told = json.loads(failed.stdout)
    assert told["state"] == "FAILURE"
    assert (told["error"]["type"], told["error"]["message"]) == ("ValueError", "oh")
    again = ready.mesh("result", told["id"], "--json", check=False)
    assert (again.returncode, json.loads(again.stdout)["error"]) == (1, told["error"])


def test_a_negative_number_is_an_argument_and_a_misspelt_option_is_not(ready: Machine) -> None:
    assert ready.mesh("call", "tasks.add", "-1", "2").stdout.strip() == "1"
    wrong = ready.mesh("call", "tasks.add", "1", "2", "--quue", "x", check=False)
    assert wrong.returncode == 2
    assert "--quue" in wrong.stderr
    assert ready.mesh("call", "tasks.echo", "--", "--flag").stdout.strip() == "--flag"


def test_the_applications_tasks_are_checked_before_anything_is_sent(ready: Machine) -> None:
    assert ready.mesh("call", "tasks.add", "2", "2", "-A", "tasks").stdout.strip() == "4"
    for arguments, words in ((("tasks.nope",), "tasks.add"), (("tasks.add", "1"), "missing")):
        refused = ready.mesh("call", *arguments, "-A", "tasks", check=False)
        assert refused.returncode == 2, refused
        assert words in refused.stderr
    missing = ready.mesh("call", "tasks.add", "1", "2", "-A", "no_such_module", check=False)
    assert missing.returncode == 2
    assert "no_such_module" in missing.stderr


def test_a_call_that_takes_too_long_goes_on_and_says_how_to_ask_again(machine: Machine, node: Process) -> None:
    late = machine.mesh("call", "tasks.add", "1", "2", "--timeout", "0.2", check=False)
    assert late.returncode == 1
    assert "mesh result " in late.stderr


def test_an_unknown_id_as_json_is_not_found_as_well(ready: Machine) -> None:
    unknown = ready.mesh("result", "no-such-id", "--json", check=False)
    assert unknown.returncode == 3
    assert json.loads(unknown.stdout) == {"id": "no-such-id", "state": "UNKNOWN"}


def test_without_a_mesh_every_question_is_not_found(machine: Machine) -> None:
    quick = {"MESH_DISCOVERY_TIMEOUT_S": "0.5"}
    for command in (("status",), ("call", "add"), ("result", "x"), ("worker", "-A", "tasks")):
        machine.put(TASKS)
        lost = machine.mesh(*command, env=quick, check=False)
        assert lost.returncode == 3, (command, lost)
        assert "mesh up" in lost.stderr, (command, lost)
        assert "Traceback" not in lost.stderr


def test_watch_shows_changes_until_it_is_stopped(ready: Machine) -> None:
    watching = ready.mesh_spawn("status", "--watch", "--json")
    poll_until(lambda: watching.output().count('"coordinator"') >= 2, START_S, "the second look")
    watching.signal(signal.SIGINT)
    assert watching.wait(5) == 0


def test_a_workers_banner_says_what_it_runs(ready: Machine) -> None:
    ready.processes[-1].wait_for("slots", START_S)
    banner = ready.processes[-1].output()
    for word in ("default", "tasks.add", "coordinator", "1 (process)"):
        assert word in banner
