"""Every block of the documents that can be run, run in the order of its page on machines on loopback; each output is as it is shown."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mesh.client.options import read_file
from tests import documents, repository
from tests.acceptance.conftest import Machines, start_worker
from tests.documents import Block, Command, Page
from tests.machines import MESH, Machine, Process
from tests.polling import poll_until

PAGES = [page for page in documents.pages() if page.runs]
BANNER_S = 15.0
SECRET = re.compile(r"\b[a-z2-7]{32}\b")
ALARM_FIELDS = {"node", "kind", "text", "blocks"}
"""Of what a mesh that is well has none of; tests/unit/core/test_alarms.py holds them."""
LOBBY = "192.168.1.5:7117"
"""The first node's lobby, as the pages have it."""


class Story:
    """One page being followed: its machines, by the names in the prompts, and what was saved into their work folders."""

    def __init__(self, machines: Machines) -> None:
        self._make = machines
        self._machines: dict[str, Machine] = {}
        self._files: dict[str, str] = {}
        self._stay: list[Process] = []

    def machine(self, name: str) -> Machine:
        """The machine of a prompt, made at its first use; its commands keep to loopback."""
        if name not in self._machines:
            machine = self._machines[name] = self._make(name)
            folder = machine.folder / "bin"
            folder.mkdir()
            self._command(folder / "python", f'exec "{sys.executable}" "$@"')
            self._command(folder / "mesh", f'if [ "$1" = up ]; then shift; set -- up --no-mdns "$@"; fi; exec "{MESH}" "$@"')
            machine.environment |= {"MESH_INTERFACE": "127.0.0.1", "MESH_NODE_NAME": name, "PYTHONDONTWRITEBYTECODE": "1"}
            machine.environment["PATH"] = f"{folder}:{machine.environment['PATH']}"
            if len(self._machines) > 1:
                machine.environment["MESH_SEEDS"] = self._lobby()
            for file, text in self._files.items():
                (machine.work / file).write_text(text, encoding="utf-8")
        return self._machines[name]

    @staticmethod
    def _command(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        path.chmod(0o755)

    def _lobby(self) -> str:
        first = next(iter(self._machines.values()))
        host, _, door = first.status()["nodes"][0]["address"].rpartition(":")
        return f"{host}:{int(door) - 1}"

    def save(self, name: str, text: str) -> None:
        """A file that every machine has."""
        self._files[name] = text
        for machine in self._machines.values():
            (machine.work / name).write_text(text, encoding="utf-8")

    def make_ready(self) -> None:
        """A node and a worker of tasks.py, for pages that begin where another one ends."""
        self.follow(Command("server", "mesh up -d", ["..."]))
        self.follow(Command("server", "mesh worker -A tasks -c 1", ["..."]))

    def follow(self, command: Command) -> None:
        """Run one command and compare what it prints."""
        machine = self.machine(command.machine)
        text = self._real(command.text)
        if command.stays:
            worker = machine.spawn("sh", "-c", f"exec env {text}", name="worker")
            worker.wait_for("slots ", BANNER_S)
            poll_until(
                lambda: documents.fits(worker.output(), [*command.expected, "..."]), 2.0, f"as shown: {command.text}\n{worker.output()}"
            )
            return
        done = machine.run("sh", "-c", f"{text} 2>&1", check=False)
        assert documents.fits(done.stdout, command.expected), f"{command.text}\n--- printed\n{done.stdout}--- shown\n" + "\n".join(
            command.expected
        )
        fails = any(line.startswith("mesh: ") for line in command.expected)
        assert (done.returncode != 0) is fails, f"{command.text}: exit code {done.returncode}\n{done.stdout}"

    def _real(self, text: str) -> str:
        """The command with this run's secret and address in place of the page's."""
        if SECRET.search(text):
            text = SECRET.sub(self.machine("server").mesh("secret").stdout.strip(), text)
        return text.replace(LOBBY, self._lobby()) if LOBBY in text else text

    def run_program(self, block: Block) -> None:
        """A Python block without a name is a program."""
        self.machine("server").python("-c", block.text, env={"PYTHONPATH": str(repository.ROOT)})


@pytest.fixture
def story(machines: Machines) -> Story:
    return Story(machines)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.path) for page in PAGES])
def test_what_a_page_shows_is_what_happens(page: Page, story: Story) -> None:
    for block in page.blocks:
        for name in block.notes.get("with", "").split():
            story.save(Path(name).name, repository.text(Path(name)))
        if "ready" in block.notes:
            story.make_ready()
        if "not run" in block.notes:
            continue
        if block.language == "python":
            named = re.match(r"# (\w+\.py)\n", block.text)
            if named:
                story.save(named[1], block.text)
            else:
                story.run_program(block)
        elif block.language == "toml":
            story.save("config.toml", block.text)
            read_file(story.machine("server").work / "config.toml")
        elif block.language == "console":
            for command in documents.commands(block):
                story.follow(command)


def test_the_page_of_status_has_every_field_and_no_other(machine: Machine, node: Process) -> None:
    machine.put(Path(__file__).with_name("tasks.py"))
    start_worker(machine, "tasks", "-c", "1")
    machine.mesh_spawn("consume", "mail")
    poll_until(lambda: machine.status()["consumers"], 10, "a consumer of plain messages")
    status = machine.status()
    said = {"": set(status)}
    said |= {key: set(status[key][0]) for key in ("nodes", "workers", "consumers", "queues")}
    said |= {key: set(status[key]) for key in ("results", "counters")}
    said["alarms"] = ALARM_FIELDS
    assert documents.fields_by_heading(Path("docs/reference/status.md")) == said
