"""All faults, in the order in which they are injected: those after which the mesh is as before share a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.faults import backlog, crashes, cuts, damage, disks, pauses, power, workflows
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import Stage
from tests.lab.hosts import Lab
from tests.lab.mounts import PowerDisk, small

THREE = ("server", "laptop", "third")


@dataclass(frozen=True)
class Fault:
    """How to inject one, and into which mesh."""

    number: int
    inject: Callable[[Stage, Sizes], Row]
    hosts: tuple[str, ...] = THREE
    settings: Mapping[str, str] = field(default_factory=dict)
    leaves_other_mesh: bool = False
    """What it leaves is no longer as before: nothing else is injected into that."""
    disk: Callable[[Path], PowerDisk | None] | None = None
    """Makes the disk on which a host keeps its state; None for a folder like any other."""
    long_only: bool = False
    times: int = 1
    """How often a pass of the long form injects it."""

    @property
    def name(self) -> str:
        """For tests and messages."""
        return f"{self.number}-{self.inject.__name__}"


PATIENCE = {"MESH_TAKEOVER_PATIENCE_S": f"{cuts.PATIENCE_S:g}"}
FAULTS = [
    Fault(1, crashes.coordinator_killed, times=15),
    Fault(2, pauses.coordinator_paused_1_s, times=5),
    Fault(2, pauses.coordinator_paused_5_s, times=3),
    Fault(2, pauses.coordinator_paused_30_s, long_only=True),
    Fault(3, crashes.slot_killed, times=5),
    Fault(3, crashes.worker_killed, times=5),
    Fault(4, crashes.random_nodes_killed),
    Fault(5, crashes.all_nodes_killed, times=5),
    Fault(9, disks.stale_disk, times=3),
    Fault(10, damage.cloned_directory, times=3),
    Fault(11, cuts.short_split, times=5),
    Fault(14, cuts.one_way),
    Fault(14, cuts.partial),
    Fault(15, cuts.flapping),
    Fault(16, cuts.loss_of_a_tenth, long_only=True),
    Fault(16, cuts.loss_of_a_third),
    Fault(17, cuts.slow_follower),
    Fault(18, pauses.starved),
    Fault(20, damage.torn_tail, times=3),
    Fault(20, damage.flipped_bits, times=3),
    Fault(22, crashes.killed_between_commit_and_confirm, times=5),
    Fault(23, workflows.across_a_killed_coordinator, times=5),
    Fault(23, workflows.across_a_split, times=3),
    Fault(24, crashes.poison),
    Fault(25, backlog.backlog, settings=backlog.SETTINGS),
    Fault(7, disks.disk_wiped, leaves_other_mesh=True),
    Fault(8, disks.alone_then_wiped, leaves_other_mesh=True),
    Fault(21, pauses.clock_an_hour_off, leaves_other_mesh=True),
    Fault(21, pauses.clock_a_year_off, leaves_other_mesh=True),
    Fault(11, cuts.long_split, settings=PATIENCE, long_only=True, times=3),
    Fault(12, cuts.strict_split, settings=PATIENCE, leaves_other_mesh=True),
    Fault(5, power.power_cut, disk=PowerDisk, times=3),
    Fault(6, power.power_cut_without_fsync, disk=PowerDisk),
    Fault(19, damage.full_disk, disk=small, times=3),
    Fault(13, cuts.two_nodes, hosts=THREE[:2], settings=PATIENCE),
]


class Stages:
    """The present stage: given again as long as its mesh is as it was, else built anew."""

    def __init__(self, on_new: Callable[[Lab], None] = lambda _: None) -> None:
        self._on_new = on_new
        self._lab: Lab | None = None
        self._stage: Stage | None = None
        self._kind: object = None

    def inject(self, fault: Fault, sizes: Sizes) -> Row:
        """Inject a fault into a mesh that suits it; after an error the next one gets another mesh."""
        kind = (fault.hosts, dict(fault.settings), fault.disk)
        if self._stage is None or self._kind != kind or fault.leaves_other_mesh:
            self.close()
            self._lab = Lab(fault.hosts)
            self._on_new(self._lab)
            self._stage, self._kind = Stage(self._lab, fault.settings, disk=fault.disk), kind
        stage, self._stage = self._stage, None
        row = fault.inject(stage, sizes)
        if not fault.leaves_other_mesh:
            self._stage = stage
        return row

    def logs(self) -> str:
        """What the processes of the present lab have printed."""
        return self._lab.logs() if self._lab is not None else ""

    def close(self) -> None:
        """End the present lab."""
        lab, self._lab, self._stage = self._lab, None, None
        if lab is not None:
            lab.close()
