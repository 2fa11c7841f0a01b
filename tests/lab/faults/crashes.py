"""Processes that die: nodes, workers, slots, all at once, at the worst moment, and by the task itself."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.lab.faults import evidence
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, Round, Stage, children, kill_all, let_pass
from tests.lab.history import History
from tests.polling import poll_until

MAX_DELIVERIES = 5
RESUME_S = 2.0
POISON = """
import sys
from tasks import poison
number = int(sys.argv[1])
result = poison.apply_async((number,), task_id=f"task-{number}")
print(type(result.get(timeout=60, propagate=False)).__name__)
"""


def coordinator_killed(stage: Stage, sizes: Sizes) -> Row:
    """1: SIGKILL to the coordinator, with tasks running on all hosts."""
    row = Row("1", "coordinator killed under load")
    victim = stage.coordinator()
    act = stage.begin()
    act.strike(lambda: stage.fleet.kill_node(victim))
    row.pauses_s.append(act.resume_s())
    act.heal(lambda: stage.restart(victim))
    row = act.end(row)
    row.require(row.pauses_s[-1] <= RESUME_S, f"work goes on within {RESUME_S:g} s")
    row.require(row.duplicated == 0, "what runs is not begun again")
    return row


def _held(stage: Stage, act: Round) -> set[int]:
    """What the worker whose processes are killed ran then."""
    return evidence.running_at(History([stage.lab[stage.names[-1]]]), act.struck_at_s)


def slot_killed(stage: Stage, sizes: Sizes) -> Row:
    """3: SIGKILL to a slot in the middle of its task."""
    row = Row("3 (slot)", "slot killed in mid-task")
    name = stage.names[-1]
    return _worker_fault(stage, row, lambda: kill_all(children(stage.workers[name].pid)))  # beginning may have started it anew


def worker_killed(stage: Stage, sizes: Sizes) -> Row:
    """3: SIGKILL to a worker and its slots in the middle of their tasks."""
    row = Row("3 (worker)", "worker killed in mid-task")
    name = stage.names[-1]

    def blow() -> None:
        parent = stage.workers[name]
        slots = children(parent.pid)
        parent.kill()
        kill_all(slots)

    row = _worker_fault(stage, row, blow)
    stage.employ(name)
    return row


def _worker_fault(stage: Stage, row: Row, blow: Callable[[], object]) -> Row:
    act = stage.begin(seconds=0.05)
    act.strike(blow)
    row.pauses_s.append(act.resume_s())
    held = _held(stage, act)
    row = act.end(row)
    again = evidence.begun_again(act.history(), act.running, act.struck_at_s)
    starts = act.history().starts
    once = all(times == 1 or (number in held and times == 2) for number, times in starts.items())
    row.require(once, "only what it held runs again, and that once")
    if again:
        row.notes.append(f"what it ran began again within {max(again.values()) - act.struck_at_s:.1f} s")
    return row


def random_nodes_killed(stage: Stage, sizes: Sizes) -> Row:
    """4: a random node killed every two seconds, and started again."""
    row = Row("4", f"a random node killed every 2 s for {sizes.killing_s:g} s")
    act = stage.begin()
    act.strike(lambda: None)
    kills = 0
    while time.time() - act.struck_at_s < sizes.killing_s:
        next_s = time.time() + 2
        name = stage.random.choice(stage.names)
        stage.fleet.kill_node(name)
        stage.restart(name)
        kills += 1
        let_pass(next_s - time.time())
    act.heal(lambda: None)
    row.pauses_s.append(act.history().longest_pause_s(act.struck_at_s, time.time()))
    rate = act.starts_since(act.struck_at_s) / (time.time() - act.struck_at_s)
    row.notes.append(f"{kills} kills, {rate:.0f} starts/s meanwhile")
    return act.end(row)


def all_nodes_killed(stage: Stage, sizes: Sizes) -> Row:
    """5: all nodes killed at once; all return."""
    row = Row("5", "all nodes killed at once, all return")
    act = stage.begin()

    def blow() -> None:
        for name in stage.names:
            stage.fleet.kill_node(name)

    act.strike(blow)
    for name in stage.names:
        stage.restart(name)
    act.heal(lambda: None)
    row.pauses_s.append(act.resume_s())
    row.notes.append("the pause includes starting three processes, one after the other")
    return act.end(row)


def killed_between_commit_and_confirm(stage: Stage, sizes: Sizes) -> Row:
    """22: the coordinator's process ends after the commit that holds a publish, and before anybody hears of it."""
    row = Row("22", "coordinator dies between commit and confirm, client retries")
    armed = "die-after-commit"
    for name in stage.names:  # whoever coordinates in the end can be armed
        stage.fleet.nodes.pop(name).terminate()
        stage.restart(name, injected=True, env={"LAB_DIE_AFTER_COMMIT": armed})
    victim = stage.coordinator()
    act = stage.begin(publishers=[victim])
    node = stage.fleet.nodes.pop(victim)
    act.strike((stage.lab[victim].work / armed).touch)
    poll_until(lambda: not node.running, CALM_S, "the node has died right after a commit")
    row.pauses_s.append(act.resume_s())
    act.heal(lambda: stage.restart(victim))
    row = act.end(row)
    row.require(row.duplicated == 0, "one run for one id")
    row.notes.append("SIGKILL right after the fsync of the publisher's own node, by a patched commit")
    return row


def poison(stage: Stage, sizes: Sizes) -> Row:
    """24: a task that kills its slot each time."""
    row = Row("24", "poison task that kills its slot (os.abort)")
    act = stage.begin()
    number = stage.next_number
    stage.next_number += 1
    act.strike(lambda: None)
    ended = stage.lab[stage.names[0]].python("-c", POISON, str(number)).strip()
    row.pauses_s.append(act.resume_s())
    letters = [letter for letter in stage.ask("queue", "dead-letters", "default") if letter["id"] == f"task-{number}"]
    begun = act.history().starts[number]
    attempts = len(letters[0]["attempts"]) if letters else 0
    row = act.end(row)
    row.duplicated -= 1  # the poison itself, which is to be tried again
    row.notes.append(f"begun {begun} times, then {ended}; {len(letters)} dead letter with {attempts} attempts")
    expected = (MAX_DELIVERIES, "DeliveriesExhausted", 1, MAX_DELIVERIES)
    row.require((begun, ended, len(letters), attempts) == expected, "a dead letter after max_deliveries, with all attempts")
    return row
