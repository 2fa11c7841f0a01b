"""The network: splits, one-way and partial cuts, a link that flaps, loss, and a follower behind a slow line."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from benchmarks.harness import percentile
from tests.lab.faults import evidence
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import CALM_S, SLOTS, Round, Stage
from tests.polling import poll_until

HALF_CYCLE_S = 2.0
PATIENCE_S = 3.0
CONFIRM_S = 1.2
"""A follower that leaves a batch unanswered for a second does not count (R15)."""
LEASE_S = 2.0
"""Generous: by then whoever lost its majority has stopped to dispatch."""
STOOD_STILL = f"the side of one began nothing from {LEASE_S:g} s on"
SLOW_LINE = ("root", "tbf", "rate", "256kbit", "burst", "4kb", "latency", "400ms")


def short_split(stage: Stage, sizes: Sizes) -> Row:
    """11: the coordinator alone against two, both sides publish, for less than takeover_patience_s."""
    row = Row("11 (short)", f"split 2/1 for {sizes.split_s:g} s, below patience, both publish")
    row = _split(stage, row, sizes.split_s)
    row.require(row.duplicated == 0, "nothing runs twice in a split shorter than patience")
    return row


def long_split(stage: Stage, sizes: Sizes) -> Row:
    """11: the same for longer than takeover_patience_s."""
    lasts_s = PATIENCE_S + sizes.split_s
    return _split(stage, Row("11 (long)", f"split 2/1 for {lasts_s:g} s, patience {PATIENCE_S:g} s, both publish"), lasts_s)


def strict_split(stage: Stage, sizes: Sizes) -> Row:
    """12: longer than patience with partition=strict; the minority must not start anything.

    After the patience the majority takes the worker on the other side for lost, and tries again what that held.
    """
    lasts_s = PATIENCE_S + sizes.split_s
    row = Row("12", f"the same with partition=strict, {lasts_s:g} s")
    said = stage.lab[stage.names[0]].mesh("config", "set", "partition", "strict", check=False)
    if said.returncode:
        row.not_run = f"`mesh config set partition strict` says: {said.stderr.strip()}"
        return row
    row = _split(stage, row, lasts_s)
    row.require(row.notes[-1] == STOOD_STILL, "the minority begins nothing")
    row.require(row.duplicated <= SLOTS, "nothing runs twice but what the worker that was cut off held")
    return row


def _split(stage: Stage, row: Row, lasts_s: float) -> Row:
    minority = stage.coordinator()
    majority = [name for name in stage.names if name != minority]
    act = stage.begin(publishers=[minority, majority[0]])
    act.strike(lambda: stage.lab.split([minority], majority))
    act.go_on(lasts_s)
    healed_at_s = time.time()
    row.pauses_s.append(_pause_on(stage, majority, act.struck_at_s))
    alone = evidence.starts_on(stage.lab[minority], act.struck_at_s + LEASE_S, healed_at_s)
    act.heal(stage.lab.heal)
    row.notes.append(f"the side of one began {alone} tasks from {LEASE_S:g} s on" if alone else STOOD_STILL)
    return act.end(row)


def _pause_on(stage: Stage, hosts: list[str], since_s: float) -> float:
    return stage.fleet.history([stage.lab[name] for name in hosts]).longest_pause_s(since_s, time.time())


def two_nodes(stage: Stage, sizes: Sizes) -> Row:
    """13: two nodes, the coordinator's cable pulled for less than patience, then for more."""
    row = Row("13", f"two nodes, link down for {PATIENCE_S / 2:g} s, then {PATIENCE_S * 2:g} s; patience {PATIENCE_S:g} s")
    first = _unplugged(stage, PATIENCE_S / 2)
    second = _unplugged(stage, PATIENCE_S * 2)
    row.notes.append(f"begun twice: {first.duplicated} after the short cut, {second.duplicated} after the long one")
    for one in (first, second):
        row.tasks += one.tasks
        row.lost += one.lost
        row.duplicated += one.duplicated
        row.running += one.running
        row.repeated += one.repeated
        row.elections += one.elections
        row.seconds += one.seconds
        row.pauses_s += one.pauses_s
        row.converged_s += one.converged_s
        row.rivals_s += one.rivals_s
        row.broken += one.broken
    row.require(first.duplicated == 0, "nothing runs twice in a cut shorter than patience")
    return row


def _unplugged(stage: Stage, lasts_s: float) -> Row:
    row = Row("13", "")
    gone = stage.coordinator()
    (left,) = (name for name in stage.names if name != gone)
    act = stage.begin(publishers=[left])
    act.strike(lambda: stage.lab.link_down(gone))
    act.go_on(lasts_s)
    act.heal(lambda: stage.lab.link_up(gone))
    poll_until(lambda: evidence.starts_on(stage.lab[left], act.healed_at_s, time.time()) > 0, CALM_S, "the side that stayed goes on")
    row.pauses_s.append(_pause_on(stage, [left], act.struck_at_s))
    return act.end(row)


def one_way(stage: Stage, sizes: Sizes) -> Row:
    """14: what the coordinator sends no longer reaches one follower."""
    row = Row("14 (one way)", f"coordinator to one follower dropped for {sizes.one_way_s:g} s")
    return _apart(stage, row, stage.lab.cut_one_way, sizes.one_way_s)


def partial(stage: Stage, sizes: Sizes) -> Row:
    """14: the coordinator and one follower are cut, while the third sees both."""
    row = Row("14 (partial)", f"coordinator and one follower cut for {sizes.one_way_s:g} s, the third sees both")
    return _apart(stage, row, stage.lab.cut, sizes.one_way_s)


def _apart(stage: Stage, row: Row, cut: Callable[[str, str], None], lasts_s: float) -> Row:
    """Cut the coordinator from one follower; there may be one election, not more."""
    leader = stage.coordinator()
    follower = next(name for name in stage.names if name != leader)
    row = _lasting(stage, row, lambda: cut(leader, follower), lasts_s)
    row.require(row.elections <= 1, "no storm of elections")
    return row


def _lasting(stage: Stage, row: Row, blow: Callable[[], None], lasts_s: float) -> Row:
    act = stage.begin()
    act.strike(blow)
    act.go_on(lasts_s)
    row.pauses_s.append(act.history().longest_pause_s(act.struck_at_s, time.time()))
    begun = act.starts_since(act.struck_at_s)
    row.notes.append(f"{begun / lasts_s:.0f} starts/s meanwhile")
    act.heal(stage.lab.heal)
    row = act.end(row)
    row.notes.append(f"{row.elections * 60 / lasts_s:.0f} elections/min")
    row.require(row.duplicated == 0, "nothing runs twice")
    return row


def flapping(stage: Stage, sizes: Sizes) -> Row:
    """15: the coordinator's link is up and down for two seconds each."""
    row = Row("15", f"coordinator's link 2 s down, 2 s up, {sizes.cycles} times")
    host = stage.coordinator()
    act = stage.begin(publishers=[name for name in stage.names if name != host][:1])
    act.strike(lambda: _flap(stage, act, host, sizes.cycles))
    row.pauses_s.append(act.history().longest_pause_s(act.struck_at_s, time.time()))
    act.heal(lambda: stage.lab.link_up(host))
    row = act.end(row)
    row.notes.append(f"{row.elections / sizes.cycles:.1f} elections per cycle")
    row.require(row.elections <= 2 * sizes.cycles, "no storm of elections")
    row.require(row.duplicated == 0, "nothing runs twice in cuts shorter than patience")
    return row


def _flap(stage: Stage, act: Round, host: str, cycles: int) -> None:
    for cycle in range(cycles):
        stage.lab.link_down(host)
        act.go_on(HALF_CYCLE_S * (2 * cycle + 1))
        stage.lab.link_up(host)
        act.go_on(HALF_CYCLE_S * (2 * cycle + 2))


def loss_of_a_tenth(stage: Stage, sizes: Sizes) -> Row:
    """16: 10 % of the coordinator's frames are lost."""
    return _loss(stage, 10, sizes.loss_s)


def loss_of_a_third(stage: Stage, sizes: Sizes) -> Row:
    """16: 30 %."""
    return _loss(stage, 30, sizes.loss_s)


def _loss(stage: Stage, percent: int, lasts_s: float) -> Row:
    leader = stage.coordinator()
    row = Row(f"16 ({percent} %)", f"{percent} % of the coordinator's frames lost for {lasts_s:g} s")
    return _lasting(stage, row, lambda: stage.lab.loss(leader, percent), lasts_s)


def slow_follower(stage: Stage, sizes: Sizes) -> Row:
    """17: the line to one follower carries 256 kbit/s; the others' confirms must not wait for it."""
    row = Row("17", f"line to one follower at 256 kbit/s for {sizes.loss_s:g} s")
    leader = stage.coordinator()
    slow, quick = (name for name in stage.names if name != leader)
    port = stage.lab[slow].port
    tc = ["ip", "netns", "exec", stage.lab.switch, "tc", "qdisc"]
    act = stage.begin(publishers=[quick])
    act.strike(lambda: subprocess.run([*tc, "add", "dev", port, *SLOW_LINE], check=True, capture_output=True))
    act.go_on(sizes.loss_s)
    act.heal(lambda: subprocess.run([*tc, "del", "dev", port, "root"], check=True, capture_output=True))
    known = evidence.published([stage.lab[quick]])
    before = [at_s - known.attempts[n] for n, (at_s, _) in known.confirms.items() if known.attempts[n] < act.struck_at_s]
    during = [at_s - known.attempts[n] for n, (at_s, _) in known.confirms.items() if act.struck_at_s < known.attempts[n] < act.healed_at_s]
    row.notes.append(f"confirm p99 of another member {_ms(during)}, {_ms(before)} before")
    row.require(percentile(during, 99) <= CONFIRM_S, f"confirms of others take no longer than {CONFIRM_S:g} s")
    return act.end(row)


def _ms(waits_s: list[float]) -> str:
    return f"{1000 * percentile(waits_s, 99):.0f} ms" if waits_s else "none"
