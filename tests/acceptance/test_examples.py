"""The examples, started as their first lines say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import repository
from tests.acceptance.conftest import start_node, start_worker
from tests.machines import Machine, Process

EXAMPLES = repository.ROOT / "examples"
SAID = {
    "quickstart.py": ["2 + 2 = 4", "state SUCCESS", "here   4"],
    "async_tasks.py": ["squares [0, 1, 4, 9]", "side by side"],
    "errors.py": [
        "builtin: ZeroDivisionError('division by zero') raised by embedded",
        "registered: OutOfStock('tea')",
        "other: __main__.Private: secret",
        "its last line: Private: secret",
        "not yet; the task goes on: slept",
        "nothing was sent: args[0]['lock']",
        "nothing was sent: divide() missing a required argument: 'y'",
    ],
    "messages.py": ["unroutable 1", "{'title': 'a new disk'} feed.tech.disks", "0 tech", "1 tech", "2 tech"],
    "routing.py": [
        "imported a feed",
        "read a.pdf",
        "19 5",
        "refused: the exchange 'documents' has no queue for the routing key 'print'",
    ],
    "workflows.py": [
        "chain  message",
        "group  [6, 5, 5]",
        "chord  all: ['message', 6, 's: 5']",
        "header ['message', 6, 's: 5'] from 10 words",
        "data   as data: [['left', 'right'], ['up', 'down']]",
        "failed ValueError(\"not ['one', 'two']\")",
    ],
    "submit_many.py": ["1000 accepted", "sum of squares 332833500"],
}


def test_no_example_is_forgotten() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_an_example_runs_by_itself(name: str, machine: Machine) -> None:
    printed = machine.python(str(EXAMPLES / name)).splitlines()
    assert [line for line in printed if not line.startswith("task ")] == SAID[name]


def test_the_quickstart_uses_the_mesh_when_it_does_not_embed_one(machine: Machine, node: Process) -> None:
    text = (EXAMPLES / "quickstart.py").read_text(encoding="utf-8")
    program = Path(machine.work / "quickstart.py")
    program.write_text(text.replace(", embedded=True", ""), encoding="utf-8")
    start_worker(machine, "quickstart.py", "-c", "1")
    assert "2 + 2 = 4" in machine.python("quickstart.py")


def test_two_machines_each_do_their_part(machines: object) -> None:
    server, laptop = machines("server"), machines("laptop")  # type: ignore[operator]
    for one in (server, laptop):
        one.put(*(EXAMPLES / "two_machines").glob("*.py"))
    start_node(server, "--name", "server")
    host, _, door = server.status()["nodes"][0]["address"].rpartition(":")
    secret = server.mesh("secret").stdout.strip()
    start_node(laptop, "--name", "laptop", "--join", f"{host}:{int(door) - 1}", secret=secret)
    start_worker(laptop, "tasks", "-Q", "laptop_task", "-c", "2")
    assert server.python("script.py").strip() == "2 + 2 = 4 worked out on laptop"
