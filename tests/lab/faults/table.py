"""All faults, in the order in which they are injected: those after which the mesh is as before share a stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.lab.faults import crashes
from tests.lab.faults.row import Row
from tests.lab.faults.sizes import Sizes
from tests.lab.faults.stage import Stage

THREE = ("server", "laptop", "third")


@dataclass(frozen=True)
class Fault:
    """How to inject one, and into which mesh."""

    number: int
    inject: Callable[[Stage, Sizes], Row]
    hosts: tuple[str, ...] = THREE
    settings: Mapping[str, str] = field(default_factory=dict)
    own_stage: bool = False
    """It leaves a mesh that is no longer as before."""
    long_only: bool = False

    @property
    def name(self) -> str:
        """For tests and messages."""
        return f"{self.number}-{getattr(self.inject, '__name__', '') or self.inject.func.__name__}"


FAULTS = [
    Fault(1, crashes.coordinator_killed),
    Fault(3, crashes.slot_killed),
    Fault(3, crashes.worker_killed),
    Fault(4, crashes.random_nodes_killed),
    Fault(5, crashes.all_nodes_killed),
    Fault(22, crashes.killed_between_commit_and_confirm),
    Fault(24, crashes.poison),
]
