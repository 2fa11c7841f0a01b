"""What a slot knows of a task before it runs: read once, as most tasks have nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from mesh.running import HOOKS, Running
from mesh.wire.working import Delivery

NO_OPTIONS: Mapping[str, Any] = {}


class Runnable(Protocol):
    """What a slot needs of a task; one that is a Running has more."""

    @property
    def run(self) -> Callable[..., Any]:
        """The function."""

    @property
    def is_async(self) -> bool:
        """Whether it was declared with ``async def``."""


class Plan:
    """How one task is run."""

    __slots__ = ("has_hooks", "is_async", "name", "own_limits_ms", "run", "running", "task", "tracks_start")

    def __init__(self, name: str, task: Runnable) -> None:
        self.name = name
        self.task = task
        self.run = task.run
        self.is_async = task.is_async
        self.running = task if isinstance(task, Running) else None
        options: Mapping[str, Any] = getattr(task, "options", NO_OPTIONS)
        self.own_limits_ms = limits_of(options)
        self.tracks_start = bool(options.get("track_started"))
        self.has_hooks = self.running is not None and any(
            hook in vars(task) or getattr(type(task), hook) is not getattr(Running, hook) for hook in HOOKS
        )

    def limits_ms(self, delivery: Delivery) -> tuple[int, int]:
        """(soft, hard) limit of the running time: the call's, or else the task's; 0 for none."""
        call = delivery.call
        if call is None:
            return self.own_limits_ms
        return call.soft_limit_ms or self.own_limits_ms[0], call.hard_limit_ms or self.own_limits_ms[1]


def limits_of(options: Mapping[str, Any]) -> tuple[int, int]:
    """(soft, hard) limit in milliseconds that the options of a task name, 0 for none."""
    return int((options.get("soft_time_limit") or 0) * 1000), int((options.get("time_limit") or 0) * 1000)


class Plans:
    """The plans of an application's tasks. A task that was registered anew gets another one."""

    def __init__(self, tasks: Mapping[str, Runnable]) -> None:
        self.tasks = tasks
        self._plans: dict[str, Plan] = {}

    def get(self, name: str) -> Plan | None:
        """How to run a task; None for one that there is not."""
        task = self.tasks.get(name)
        plan = self._plans.get(name)
        if plan is None or plan.task is not task:
            if task is None:
                return None
            plan = self._plans[name] = Plan(name, task)
        return plan


def hard_limits_ms(tasks: Mapping[str, Runnable]) -> dict[str, int]:
    """The hard limits that tasks have of themselves, by name."""
    limits = {name: limits_of(getattr(task, "options", NO_OPTIONS))[1] for name, task in tasks.items()}
    return {name: limit_ms for name, limit_ms in limits.items() if limit_ms}
