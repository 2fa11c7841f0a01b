"""`mesh demo` tells the truth and leaves nothing behind."""

from __future__ import annotations

import re
import signal
import tempfile
from pathlib import Path

from mesh.cli.demo_report import standard_library

from tests.acceptance.conftest import START_S
from tests.machines import MESH, Machine, every_pid, variables_of


def leftovers(folder: Path) -> list[object]:
    """What the demo left in a folder for temporary files, and processes with homes there."""
    homes = str(folder).encode()
    return [
        *folder.glob("mesh-demo-*"),
        *(pid for pid in every_pid() if any(v.startswith(b"MESH_HOME=" + homes) for v in variables_of(pid))),
    ]


def test_the_demo_loses_nothing_when_its_coordinator_is_killed_and_cleans_up(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        done = machine.mesh("demo", env={"TMPDIR": folder}, timeout_s=90)
        figures = dict(re.findall(r"^(files submitted|finished|lost|run twice) +(\d+)$", done.stdout, re.MULTILINE))
        assert figures["files submitted"] == figures["finished"] == str(len(standard_library()))
        assert figures["lost"] == "0"
        assert "has taken over from" in done.stdout
        assert re.search(r"^seconds without dispatch +\d+\.\d+$", done.stdout, re.MULTILINE)
        assert leftovers(Path(folder)) == []


def test_the_demo_cleans_up_when_it_is_interrupted(machine: Machine) -> None:
    with tempfile.TemporaryDirectory(prefix="demo-") as folder:
        demo = machine.spawn(MESH, "demo", env={"TMPDIR": folder}, name="demo")
        demo.wait_for("two workers", START_S)
        demo.signal(signal.SIGINT)
        assert demo.wait(START_S) == 130
        assert leftovers(Path(folder)) == []
