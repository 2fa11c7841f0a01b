"""A workflow whose coordinator dies at each of its turns: no step is lost, none is settled twice, bodies run with all values (I8, I9)."""

from __future__ import annotations

import pytest

from mesh.wire.bodies import decode, encode
from mesh.wire.calls import Flow
from mesh.wire.entries import Message, Result
from mesh.wire.frames import decode_entry
from mesh.wire.messages import Submit
from tests.unit.core.cluster import Cluster, Node

STEPS: dict[str, Flow | None] = {
    "last": Flow(after="body"),
    "body": Flow(after="outer"),
    "outer": Flow(gathers=2),
    "inner": Flow(gathers=2, into="outer", place=1),
    "x": Flow(after="first", into="outer", place=0),
    "y": Flow(after="first", into="inner", place=0),
    "z": Flow(after="first", into="inner", place=1),
    "first": None,
}
VALUES = {"first": None, "x": "first", "y": "first", "z": "first", "body": ["x", ["y", "z"]], "last": "body"}
"""What each task gets."""
FURTHEST = 400


class Run:
    """Three nodes; the client and the worker are attached to one that does not lead, as long as that is so."""

    def __init__(self, crash_at: int, *, commit_lands: bool) -> None:
        self.cluster = Cluster()
        for name in "abc":
            self.cluster.start(name)
        self.cluster.until(self.cluster.agreed)
        self.leader = self.cluster.coordinator
        home = next(name for name in "abc" if name != self.leader)
        self.client, self.worker = self.cluster.client(home), self.cluster.worker(home, slots=4)
        self.crash_at, self.commit_lands = crash_at, commit_lands
        self.turns = 0
        self.given: dict[str, list[object]] = {}
        self.cluster.on_turn = self._on_turn

    def _on_turn(self, node: Node) -> None:
        if node.name == self.leader:
            self.turns += 1
            if self.turns == self.crash_at:
                self.cluster.crash(self.leader, commit_lands=self.commit_lands)

    def go(self) -> None:
        messages = [Message(id, "q", "" if flow and flow.gathers >= 0 else "work", b"", flow=flow) for id, flow in STEPS.items()]
        self.client.send(Submit(1, messages))
        seen = 0
        while "last" not in self.given or self.worker.held or self.worker.outbox:
            self.cluster.run(0.1)
            assert self.cluster.now < 30, f"it stands still after {sorted(self.given)}"
            for delivery in self.worker.deliveries[seen:]:
                self.given.setdefault(delivery.id, []).append(decode(delivery.input.body) if delivery.input is not None else None)
            seen = len(self.worker.deliveries)
            for id in list(self.worker.held):
                self.worker.finish(id, body=encode(id))
        self.cluster.run(2.0)

    def results(self) -> list[str]:
        """Of the coordinator's disk."""
        blobs = self.cluster.nodes[self.cluster.coordinator].disk.entries.values()
        entries = [decode_entry(blob) for blob in blobs]
        assert not [entry for entry in entries if isinstance(entry, Message)], "nothing waits any more"
        return sorted(entry.id for entry in entries if isinstance(entry, Result))


@pytest.mark.parametrize("commit_lands", [False, True])
def test_a_coordinator_that_dies_at_any_turn_of_a_workflow_loses_and_doubles_no_step(commit_lands: bool) -> None:
    crash_at, reached = 0, True
    while reached:
        crash_at += 1
        run = Run(crash_at, commit_lands=commit_lands)
        run.go()
        reached = run.turns == crash_at
        assert run.results() == sorted(STEPS), f"each step has one result, when it dies at turn {crash_at}"
        assert {id: values[0] for id, values in run.given.items()} == VALUES
        assert {id: len(values) for id, values in run.given.items()} == dict.fromkeys(VALUES, 1), "no worker died"
        assert crash_at < FURTHEST
    assert crash_at > 50, "it died at each turn of the workflow"
