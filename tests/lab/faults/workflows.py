"""23: chains and chords while a coordinator dies, and across a split: every step runs, and bodies run once, with every value."""

from __future__ import annotations

import time

from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, ROUND_NUMBERS, Round, Stage
from tests.lab.history import WRONG
from tests.polling import poll_until

NUMBERS, BODY = 10, 5
"""A workflow has ten numbers; which of them is the body of a workflow's chord (tests/lab/workflows.py)."""
WORKFLOWS_MIN = 10


def across_a_killed_coordinator(stage: Stage, sizes: Sizes) -> Row:
    """23 across 1: SIGKILL to the coordinator."""
    row = Row("23 (1)", "chords and chains while the coordinator is killed")
    victim = stage.coordinator()
    act, first = _begin(stage, stage.names[-1])
    act.strike(lambda: stage.fleet.kill_node(victim))
    row.pauses_s.append(act.resume_s())
    act.heal(lambda: stage.restart(victim))
    return _judge(act, first, act.end(row))


def across_a_split(stage: Stage, sizes: Sizes) -> Row:
    """23 across 11: the coordinator alone against two, for less than takeover_patience_s."""
    row = Row("23 (11)", f"chords and chains in a split 2/1 for {sizes.split_s:g} s")
    minority = stage.coordinator()
    majority = [name for name in stage.names if name != minority]
    act, first = _begin(stage, majority[0])
    act.strike(lambda: stage.lab.split([minority], majority))
    act.go_on(sizes.split_s)
    row.pauses_s.append(stage.fleet.history([stage.lab[name] for name in majority]).longest_pause_s(act.struck_at_s, time.time()))
    act.heal(stage.lab.heal)
    return _judge(act, first, act.end(row))


def _begin(stage: Stage, name: str) -> tuple[Round, int]:
    act = stage.begin(publishers=[name])
    first = stage.next_number
    stage.next_number += ROUND_NUMBERS
    process = stage.lab[name].python_spawn("workflows.py", str(first))
    act.publishers.append((stage.lab[name], process))
    process.wait_for("begins", CALM_S)
    poll_until(lambda: sum(number >= first for number in act.history().finishes) >= WORKFLOWS_MIN, CALM_S, "workflows are under way")
    return act, first


def _judge(act: Round, first: int, row: Row) -> Row:
    history = act.history()
    bodies = [number for number in history.starts if number >= first and (number - first) % NUMBERS == BODY]
    twice = sum(history.starts[number] > 1 for number in bodies)
    wrong = [event.number for event in history.events if event.what == WRONG and event.number >= first]
    row.require(len(bodies) >= WORKFLOWS_MIN, f"{WORKFLOWS_MIN} workflows at least have come to their body")
    row.require(twice == 0, "the body of a chord runs once")
    row.require(not wrong, f"each step gets the values that it waits for; {wrong[:5]} did not")
    row.notes.append(f"{len(bodies)} bodies, {twice} of them twice")
    return row
