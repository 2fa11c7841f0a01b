"""The commands on one machine, as a user types them: what they print, what they return, what they leave behind."""

from __future__ import annotations

import json
import signal
import stat
from pathlib import Path

import pytest

from tests.acceptance.conftest import LOOPBACK, START_S, Machines, start_node, start_worker
from tests.machines import Machine, Process
from tests.polling import poll_until

TASKS = Path(__file__).with_name("tasks.py")


@pytest.fixture
def ready(machine: Machine, node: Process) -> Machine:
    """A machine with a node and a worker of tasks.py."""
    machine.put(TASKS)
    start_worker(machine, "tasks", "-c", "2")
    return machine


def test_one_node_alone_is_a_full_system(machine: Machine, node: Process) -> None:
    status = machine.status()
    assert [one["pid"] for one in status["nodes"]] == [node.pid]
    assert status["coordinator"] == status["nodes"][0]["name"]
    assert status["deputies"] == status["workers"] == []


def test_up_prints_the_mesh_and_how_to_add_a_machine(machine: Machine, node: Process) -> None:
    node.wait_for("MESH_SECRET", START_S)
    assert machine.mesh("secret").stdout.strip() not in node.output(), "the secret belongs in no log"
    assert "default" in node.output()


def test_a_second_up_says_that_it_is_up_already(machine: Machine, node: Process) -> None:
    again = machine.mesh("up", *LOOPBACK, check=False)
    assert "already up" in again.stdout + again.stderr
    assert str(node.pid) in again.stdout + again.stderr


def test_down_stops_the_node_and_waits_for_it(machine: Machine, node: Process) -> None:
    machine.mesh("down")
    assert node.wait(5) == 0
    assert machine.mesh("status", check=False, timeout_s=15).returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_node_leaves_politely_on_a_signal(machine: Machine, node: Process, number: int) -> None:
    node.signal(number)
    assert node.wait(5) == 0
    assert "Traceback" not in node.output()


def test_a_detached_node_answers_when_the_command_returns(machine: Machine) -> None:
    machine.mesh("up", "-d", *LOOPBACK)
    (one,) = machine.status()["nodes"]
    machine.mesh("down")
    assert one["pid"] not in machine.strays()


def test_nothing_listens_beyond_loopback(machine: Machine, node: Process) -> None:
    assert machine.status()["nodes"][0]["address"].startswith("127.0.0.1:")
    if Path("/proc/net/tcp").exists():
        assert listening_hosts(node.pid) == {"0100007F"}


def listening_hosts(pid: int) -> set[str]:
    """Addresses (as /proc writes them) that a process listens at."""
    links = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in links}


def test_the_state_directory_is_for_its_user_alone(machine: Machine, node: Process) -> None:
    open_to_others = [path for path in [machine.home, *machine.home.rglob("*")] if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    assert [path for path in open_to_others if not path.is_symlink() and path.is_dir()] == []
    secrets = [path for path in machine.home.rglob("*") if path.is_file() and machine.mesh("secret").stdout.strip() in _text(path)]
    assert secrets
    assert not set(secrets) & set(open_to_others)


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8", errors="replace")


def test_call_prints_the_result(ready: Machine) -> None:
    assert ready.mesh("call", "tasks.add", "2", "2").stdout.strip() == "4"
    assert ready.mesh("call", "tasks.greet", "Ada", "--kwarg", "greeting=good morning").stdout.strip() == "good morning Ada"
    assert ready.mesh("call", "tasks.echo", '{"a": [1, 2.5, null]}').stdout.strip() == '{"a": [1, 2.5, null]}'


def test_a_result_can_be_fetched_by_id_from_another_process(ready: Machine) -> None:
    id = ready.mesh("call", "tasks.add", "20", "22", "--no-wait").stdout.split()[-1]
    poll_until(lambda: "42" in ready.mesh("result", id).stdout, 10, "the result is there")


def test_a_failing_task_fails_the_call_with_one_line(ready: Machine) -> None:
    failed = ready.mesh("call", "tasks.fail", "no such luck", check=False)
    assert failed.returncode == 1
    assert "ValueError" in failed.stderr
    assert "no such luck" in failed.stderr


def test_an_unknown_id_is_not_found(ready: Machine) -> None:
    unknown = ready.mesh("result", "00000000-0000-7000-8000-000000000000", check=False)
    assert unknown.returncode == 3, unknown


def test_status_shows_workers_and_queues(ready: Machine) -> None:
    (worker,) = ready.status()["workers"]
    assert worker["queues"] == ["default"]
    assert worker["slots"] == 2
    assert set(worker["tasks"]) == {"tasks.add", "tasks.greet", "tasks.nap", "tasks.fail", "tasks.echo"}


def test_work_waits_for_a_worker_and_runs_when_it_comes(machine: Machine, node: Process) -> None:
    machine.put(TASKS)
    id = machine.mesh("call", "tasks.add", "1", "2", "--no-wait").stdout.split()[-1]
    waiting = {queue["name"]: queue["ready"] for queue in machine.status()["queues"]}
    assert waiting["default"] == 1
    start_worker(machine, "tasks")
    poll_until(lambda: "3" in machine.mesh("result", id).stdout, 10, "the result is there")


def test_confirmed_work_survives_kill_9_of_the_only_node(machine: Machine, node: Process) -> None:
    machine.put(TASKS)
    machine.mesh("call", "tasks.add", "1", "2", "--no-wait")
    node.kill()
    start_node(machine)
    waiting = {queue["name"]: queue["ready"] for queue in machine.status()["queues"]}
    assert waiting["default"] == 1


def test_a_worker_drains_on_ctrl_c(ready: Machine) -> None:
    worker = ready.processes[-1]
    id = ready.mesh("call", "tasks.nap", "1", "--no-wait").stdout.split()[-1]
    poll_until(lambda: ready.status()["workers"][0]["active"], 10, "the task runs")
    worker.signal(signal.SIGINT)
    assert worker.wait(10) == 0
    assert "1" in ready.mesh("result", id).stdout


def test_an_application_that_can_not_be_imported_is_one_line(machine: Machine, node: Process) -> None:
    (machine.work / "broken.py").write_text("import no_such_module\n")
    failed = machine.mesh("worker", "-A", "broken", check=False)
    assert failed.returncode == 2, failed
    assert "no_such_module" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_taken_port_is_named_when_it_was_asked_for(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    start_node(first)
    port = first.status()["nodes"][0]["address"].rpartition(":")[2]
    refused = second.mesh("up", *LOOPBACK, "--port", port, check=False)
    assert refused.returncode == 1, refused
    assert port in refused.stderr


@pytest.mark.parametrize("detach", [[], ["-d"]])
def test_a_log_that_can_not_be_written_is_named(machine: Machine, detach: list[str]) -> None:
    refused = machine.mesh("up", *LOOPBACK, *detach, "--logfile", "no_such_folder/node.log", check=False)
    assert refused.returncode == 2, refused
    assert refused.stderr == "mesh: can't write the log to no_such_folder/node.log: No such file or directory; give another --logfile\n"


def test_an_address_of_another_machine_is_named(machine: Machine) -> None:
    refused = machine.mesh("up", "--found", "--no-mdns", "--interface", "192.0.2.1", check=False)
    assert refused.returncode == 1, refused
    assert refused.stderr == "mesh: this machine has no address 192.0.2.1; name one of its own: mesh up --interface ADDR\n"


def test_a_worker_is_named_on_one_line(machine: Machine) -> None:
    refused = machine.mesh("worker", "-A", "tasks", "-n", "two\nlines", check=False)
    assert refused.returncode == 2, refused
    assert "a name of at most 255 characters on one line, not 'two\\nlines'" in refused.stderr


def test_a_second_node_joins_with_secret_and_address(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    start_node(first, "--name", "first")
    address = first.status()["nodes"][0]["address"]
    start_node(second, "--name", "second", "--join", address, secret=first.mesh("secret").stdout.strip())
    status = first.status_when("the second is in", 10, nodes=2)
    assert {one["name"] for one in status["nodes"]} == {"first", "second"}


def test_status_as_json_has_the_documented_keys(ready: Machine) -> None:
    status = json.loads(ready.mesh("status", "--json").stdout)
    assert {"mesh", "id", "coordinator", "deputies", "term", "nodes", "workers", "queues", "under_replicated"} <= set(status)
    assert {"name", "id", "address", "state", "role", "pid", "version"} <= set(status["nodes"][0])
    assert {"name", "node", "queues", "tasks", "slots", "active"} <= set(status["workers"][0])
    assert {"name", "ready", "delayed", "unsettled", "consumers"} <= set(status["queues"][0])
