"""Known bugs in the core (tests/simulation/planted.py): the simulation has to notice each of them, and nothing where there is none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from mesh.config import Settings
from tests.simulation import planted, run
from tests.simulation.faults import Fault
from tests.simulation.world import Load

SETTINGS = Settings(max_deliveries=1000, takeover_patience_s=3.0, result_expires_s=31_536_000)
PATIENT = replace(SETTINGS, takeover_patience_s=10.0)
IMPATIENT = replace(SETTINGS, takeover_patience_s=1.5)
THREE_COPIES = replace(IMPATIENT, copies=3)
SMALL_BATCHES = replace(SETTINGS, replicate_batch_bytes=1 << 12, link_window_bytes=1 << 16)
ROUTED = Load(topology=True)
EXPIRING = Load(expiring=True)
WORKFLOWS = Load(workflows=True)
FORGETFUL = replace(SETTINGS, result_expires_s=0.5)
FLEETING = Load(fleeting=True)
PLAIN = Load(plain=True)
SEEDS = 100
"""So many schedules, of those that ``make simulate`` runs, or of one kind with other dice, have to be enough."""


@dataclass(frozen=True)
class Case:
    """A schedule that gives a bug the occasion, and the invariant that it then breaks."""

    bug: str
    breaks: str
    faults: list[Fault] = field(default_factory=list)
    nodes: int = 3
    settings: Settings = field(default_factory=lambda: SETTINGS)
    gentle: bool = False
    load: Load = field(default_factory=Load)

    def plan(self, seed: int) -> run.Plan:
        """The schedule with one seed's dice; a seed's own one when none is given."""
        return run.Plan(seed, self.nodes, self.settings, self.load, self.faults, self.gentle) if self.faults else run.plan(seed)


def again(fault: Fault, *times_s: float) -> list[Fault]:
    """The same fault at these times."""
    return [replace(fault, at_s=time_s) for time_s in times_s]


CRASHES = again(Fault("crash", 0, 0.8, "coordinator"), 3.0, 5.0, 7.0, 9.0)
CUTS = again(Fault("isolate", 0, 1.3, "coordinator"), 3.0, 6.0, 9.0)
LOSSES = again(Fault("frame_loss", 0, 3.0, "coordinator", amount=0.5), 3.0, 8.0)
DYING_DISKS = [
    *again(Fault("slow_disk", 0, 2.0, "coordinator"), 3.5, 6.5, 9.5),
    *again(Fault("one_way", 0, 0.9, "coordinator", "deputy"), 4.0, 7.0, 10.0),
    *again(Fault("power_cut", 0, 0.3, "coordinator"), 4.8, 7.8, 10.8),
]
SLEEPING_WORKERS = [Fault("worker_pause", 3.0, 3.2, host) for host in ("n0", "n1", "n2")]
CASES = [
    Case("lazy_fsync", "I4"),
    Case("lazy_fsync", "R7"),
    Case("message_dies_with_its_consumer", "I20", CUTS, load=PLAIN),
    Case("lazy_fsync", "I1", [Fault("slow_disk", 2.0, 9.0, "n0"), *again(Fault("power_cut", 0, 0.3, "n0"), 4.0, 6.0, 8.0)], nodes=1),
    Case("copies_over_live_nodes", "R6"),
    Case("context_kept_when_entries_are_dropped", "I2"),
    Case("journal_reopened_after_restart", "I5"),
    Case("votes_not_kept", "R9"),
    Case("priorities_ignored", "I15"),
    Case("the_last_declaration_heard_stands", "I16", CUTS, load=ROUTED, settings=IMPATIENT),
    Case("deletion_forgotten_with_the_process", "I16", CRASHES, load=ROUTED),
    Case("expired_messages_handed_out", "I18", [Fault("worker_pause", 3.0, 5.0, host) for host in ("n0", "n1", "n2")], load=EXPIRING),
    Case("copies_named_by_who_makes_them", "I18", [Fault("isolate", 4.0, 6.0, "coordinator")], load=EXPIRING, settings=IMPATIENT),
    Case("dead_letter_settled_before_it_is_written", "I17", CRASHES, load=EXPIRING),
    Case("messages_of_deleted_queues_dropped", "I17", CUTS, load=ROUTED, settings=IMPATIENT),
    Case("expired_messages_handed_out", "I18", [Fault("worker_pause", 3.0, 5.0, host) for host in ("n0", "n1", "n2")], load=EXPIRING),
    Case("copies_named_by_who_makes_them", "I18", [Fault("isolate", 4.0, 6.0, "coordinator")], load=EXPIRING, settings=IMPATIENT),
    Case("dead_letter_settled_before_it_is_written", "I17", CRASHES, load=EXPIRING),
    Case("transient_messages_on_the_disk", "I19", CRASHES, load=FLEETING),
    Case("context_kept_of_what_is_not", "I19", CRASHES, load=FLEETING),
    Case("messages_of_deleted_queues_stay_in_them", "I3", CUTS, load=ROUTED, settings=IMPATIENT),
    Case("steps_run_before_what_they_wait_for", "I9", [Fault("crash", 4.0, 0.8, "coordinator")], load=WORKFLOWS),
    Case("gather_counts_what_it_hears", "I9", [Fault("crash", 4.0, 0.8, "coordinator")], load=WORKFLOWS),
    Case("results_that_are_waited_for_expire", "I3", CRASHES, load=WORKFLOWS, settings=FORGETFUL),
    Case("failure_ends_nothing", "I3", [Fault("crash", 4.0, 0.8, "coordinator")], load=WORKFLOWS),
    Case("values_forgotten_at_takeover", "I3", CRASHES, load=WORKFLOWS),
    Case("settlement_by_an_own_append_not_told", "I2"),
    Case("outcomes_of_unknown_ids_thrown_away", "I3"),
    Case("leases_outlive_their_messages", "I12"),
    Case("silent_step_down", "I3", [Fault("pause", 5.0, 0.8, "coordinator")]),
    Case("settlement_passed_on_early", "I3", DYING_DISKS),
    Case("authority_ignored", "I14", [Fault("isolate", 4.0, 2.0, "coordinator")], settings=PATIENT, gentle=True),
    Case("authority_ignored", "I7", [Fault("isolate", 4.0, 2.0, "coordinator")], settings=replace(SETTINGS, partition="strict")),
    Case("authority_regained_at_once", "I14", CUTS, nodes=2, settings=PATIENT, gentle=True),
    Case("soft_leases_not_told", "I14", CRASHES, settings=PATIENT, gentle=True),
    Case("leases_not_reported", "I14", CRASHES, settings=PATIENT, gentle=True),
    Case("offers_during_reconciliation_forgotten", "I14", CRASHES, settings=PATIENT, gentle=True),
    Case("dispatch_before_reconciliation", "I14", CUTS, nodes=2, settings=PATIENT, gentle=True),
    Case("delivery_does_not_wait_for_the_deputies", "I14", CUTS, settings=PATIENT, gentle=True),
    Case("delivery_does_not_wait_for_a_deputy_that_catches_up", "I14", LOSSES, settings=PATIENT, gentle=True),
    Case("delivery_leaves_without_a_deputy", "I14", LOSSES, settings=PATIENT, gentle=True),
    Case("outbox_cleared_with_what_there_is", "I14", LOSSES, settings=PATIENT, gentle=True),
    Case("reported_lease_gives_way_to_a_delivery_that_got_lost", "I14", LOSSES, settings=PATIENT, gentle=True),
    Case("delivery_crosses_an_offer", "I14", [Fault("lossy", 2.0, 10.0, amount=0.1)], settings=PATIENT, gentle=True),
    Case("end_of_a_worker_reordered_behind_its_return", "I3", [*SLEEPING_WORKERS, Fault("crash", 5.0, 0.3, "coordinator")]),
    Case("the_twin_of_a_node_that_is_heard_is_believed", "R3", [Fault("clone", 4.0, 3.0, "other")]),
    Case("skews_ignored", "I13", [Fault("clock_step", 2.0, 0.0, "coordinator", amount=5.0)]),
    Case(
        "limit_of_deliveries_exceeded",
        "I8",
        [Fault("crash", 4.0, 0.3)],
        settings=replace(SETTINGS, max_deliveries=5),
        load=Load(poison=0.1),
    ),
    Case("attempts_not_on_the_disk", "R24"),
    Case(
        "message_settled_elsewhere_stays_queued",
        "I6",
        [Fault("worker_crash", 4.0, 4.5, "deputy"), Fault("worker_crash", 4.0, 4.5, "other"), Fault("isolate", 4.01, 4.0)],
        settings=IMPATIENT,
        load=Load(delayed=0.5),
    ),
    Case(
        "dropped_before_another_is_complete",
        "I2",
        [
            Fault("power_cut_of_all", 3.9, 3.0, amount=0.3),
            Fault("split", 5.9, 3.0, "n2+n3"),
            Fault("isolate", 10.4, 0.3, "n1"),
            Fault("power_cut", 11.7, 3.0, "n3"),
        ],
        nodes=5,
        settings=SMALL_BATCHES,
    ),
    Case("stretch_without_live_entries_not_passed_on", "I2", [Fault("split", 10.0, 12.0, "n1+n4")], nodes=5),
    Case("settlement_told_to_the_writer_only", "I2", [Fault("isolate", 8.0, 6.0, "n3")], nodes=5, settings=THREE_COPIES),
    Case(
        "overlap_of_appends_not_merged",
        "I2",
        [
            Fault("power_cut", 6.2, 3.0, "n1"),
            Fault("crash", 7.5, 3.0, "coordinator"),
            Fault("power_cut_of_all", 9.8, 1.0),
            Fault("one_way", 10.1, 3.0, "n0", "n1"),
            Fault("slow_disk", 10.8, 6.0, "n4"),
        ],
        nodes=5,
        settings=SMALL_BATCHES,
    ),
]
INVARIANTS = {f"I{number}" for number in (*range(1, 10), *range(12, 21))} | {"R3", "R6", "R7", "R9", "R24"}


def broken(plan: run.Plan) -> set[str]:
    """The invariants that a run violates; what the calm misses breaks I2 or I3."""
    return {name for violation in run.failure(plan) for name in violation.partition(":")[0].split("/")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.bug}-{case.breaks}")
def test_a_planted_bug_is_caught(case: Case) -> None:
    with planted.BUGS[case.bug]():
        assert any(case.breaks in broken(case.plan(seed)) for seed in range(SEEDS))


@pytest.mark.parametrize("case", [case for case in CASES if case.faults], ids=lambda case: f"{case.bug}-{case.breaks}")
def test_the_same_schedule_without_the_bug_breaks_nothing(case: Case) -> None:
    assert [run.failure(case.plan(seed)) for seed in range(4)] == [[]] * 4


def test_every_bug_is_hunted_and_every_invariant_bites() -> None:
    assert {case.bug for case in CASES} == set(planted.BUGS)
    assert {case.breaks for case in CASES} == INVARIANTS
