"""The power of all hosts goes at once: with fsync nothing that was confirmed is lost; without it the judge of all rows has to notice."""

from __future__ import annotations

from tests.lab.faults import evidence
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, Round, Stage, children, kill_all
from tests.polling import poll_until

WITHOUT_FSYNC = {"LAB_NO_FSYNC": "1"}


def power_cut(stage: Stage, sizes: Sizes) -> Row:
    """5: nodes, workers, and all that no disk has been made to keep."""
    row = Row("5 (power)", "power of all hosts cut at once, all return")
    act = stage.begin()
    act.strike(lambda: _cut(stage))
    act.heal(lambda: _return(stage))
    row.pauses_s.append(act.resume_s())
    row.notes.append("the pause includes mounting three disks, and starting three nodes and three workers one after the other")
    return act.end(row)


def power_cut_without_fsync(stage: Stage, sizes: Sizes) -> Row:
    """6: the negative control. Nodes that do not sync lose what they have confirmed."""
    row = Row("6", "the same with fsync off in all nodes (negative control)")
    for name in stage.names:
        stage.fleet.nodes.pop(name).terminate()
        stage.restart(name, injected=True, env=WITHOUT_FSYNC)
    act = stage.begin()
    act.strike(lambda: _cut(stage))
    act.heal(lambda: _return(stage))
    row.pauses_s.append(act.resume_s())
    row = act.end(row, destroyed=lambda known: _gone(act, known))
    row.require(row.lost > 0, "without fsync something is lost, and this lab sees it")
    row.notes.append(f"{row.lost} lost, as it has to be: the lab would notice a node that does not sync")
    return row


def _cut(stage: Stage) -> None:
    for disk in stage.disks.values():
        assert disk is not None, "a stage without disks of its own"
        disk.cut()
    for name in stage.names:
        worker = stage.workers[name]
        slots = children(worker.pid)
        stage.fleet.kill_node(name)
        worker.kill()
        kill_all(slots)


def _return(stage: Stage) -> None:
    for name, disk in stage.disks.items():
        assert disk is not None
        disk.restore()
        stage.restart(name)
    stage.employ(*stage.names)


def _gone(act: Round, known: evidence.Published) -> set[int]:
    """What was confirmed before the cut and has not run when nothing is left to run."""
    poll_until(act.all_is_settled, CALM_S, "nothing is left to run")
    before = {number for number, (at_s, _) in known.confirms.items() if at_s <= act.healed_at_s}
    return before - set(act.history().finishes)
