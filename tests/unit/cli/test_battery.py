"""Which machines sleep."""

from __future__ import annotations

from pathlib import Path

import pytest
from mesh.cli.battery import has_battery


@pytest.mark.parametrize(
    ("supplies", "sleeps"),
    [
        ({}, False),
        ({"AC": {"type": "Mains"}}, False),
        ({"AC": {"type": "Mains"}, "BAT0": {"type": "Battery"}}, True),
        ({"BAT0": {"type": "Battery", "scope": "System"}}, True),
        ({"hidpp_battery_0": {"type": "Battery", "scope": "Device"}}, False),
        ({"odd": {}}, False),
    ],
)
def test_a_machine_with_a_battery_of_its_own_sleeps(tmp_path: Path, supplies: dict[str, dict[str, str]], sleeps: bool) -> None:
    for name, files in supplies.items():
        (tmp_path / name).mkdir()
        for file, text in files.items():
            (tmp_path / name / file).write_text(f"{text}\n")
    assert has_battery(tmp_path) is sleeps


def test_where_the_system_does_not_tell_it_does_not_sleep(tmp_path: Path) -> None:
    assert has_battery(tmp_path / "nowhere") is False
