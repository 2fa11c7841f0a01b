"""`mesh forget` with real processes on loopback."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Machines, start_node
from tests.polling import poll_until

pytestmark = pytest.mark.acceptance


def test_a_node_that_died_is_lost_until_it_is_forgotten_and_a_member_again_when_it_comes_back(machines: Machines) -> None:
    first, second = machines("first"), machines("second")
    start_node(first, "--name", "first")
    secret = first.mesh("secret").stdout.strip()
    door = first.status()["nodes"][0]["address"]

    def state() -> str:
        return {row["name"]: row["state"] for row in first.status()["nodes"]}.get("second", "")

    node = start_node(second, "--name", "second", "--join", door, secret=secret)
    poll_until(lambda: state() == "alive", 10, "the second node is alive")
    assert first.mesh("forget", "second", check=False).returncode == 2, "it is alive"
    assert first.mesh("forget", "nobody", check=False).returncode == 3
    node.kill()
    poll_until(lambda: state() == "lost", 10, "the second node is lost")
    assert "no longer counts" in first.mesh("forget", "second").stdout
    poll_until(lambda: state() == "away", 10, "the second node is forgotten")
    start_node(second, "--name", "second")
    poll_until(lambda: state() == "alive", 10, "the second node is back")
