"""What a task's message says beyond its arguments and its way: how it shall run, and its place in a workflow.

Nodes pass a Call on to who runs the task, and read a Flow. A workflow is submitted as messages that wait for each other (decision 120): a
step names the one task that it waits for, and a *gather*, which is no task, collects the values of those that name it.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from mesh.wire.contents import Chunks, Failure


class Call(msgspec.Struct, array_like=True, gc=False):
    """How a task shall run, as its publisher or its application says; each field's default is "nothing is said"."""

    root: str = ""
    """Id of the first task of the workflow or of the tree of tasks; empty: it is the first itself."""
    parent: str = ""
    """Id of the task that submitted it, or that it follows."""
    retries: int = 0
    """How often it has asked to be run again."""
    turn: int = 0
    """How often its message was written anew at its own wish, by retry or replacement: the higher one stands."""
    soft_limit_ms: int = 0
    """Running time after which SoftTimeLimitExceeded is raised in it, 0 for none."""
    hard_limit_ms: int = 0
    """Running time after which it is ended from outside, 0 for none."""
    ignore_result: bool = False
    """Nobody wants its value."""
    acks_early: bool = False
    """It is never delivered twice: it ends when it is handed out (at most once)."""
    track_started: bool = False
    """Say when it begins."""
    shadow: str = ""
    """A name for display instead of the task's own."""
    origin: str = ""
    """``pid@host`` of the program that submitted it."""
    group: str = ""
    """Id of the group that it is a member of."""
    group_index: int = -1
    unique: str = ""
    """Of the live tasks with this key there is one: others that are submitted get its result."""
    unique_ms: int = 0
    """The key is kept for so long from its submission, 0: as long as the task is live."""
    stamps: dict[str, str] = {}
    """Marks for revoking by header, and for display."""
    failure: Failure | None = None
    """Why it asked last to be run again."""


class When(IntEnum):
    """For which end of its predecessor a step waits."""

    SUCCESS = 0
    FAILURE = 1
    """It is an error callback: it is dropped when the predecessor succeeds, and when that was skipped."""


class Flow(msgspec.Struct, array_like=True, gc=False):
    """The place of a message in a workflow."""

    after: str = ""
    """Id of the task or gather that has to end first; empty: it may run at once."""
    when: int = When.SUCCESS
    takes_value: bool = True
    """The value of ``after`` goes before its own arguments; False for an immutable signature, which waits only."""
    gathers: int = -1
    """It is no task: it ends with the list of so many values, or fails with the first that fails; -1 for a task."""
    into: str = ""
    """Id of the gather that its value is for."""
    place: int = 0
    """Index of its value in that list."""


class Input(msgspec.Struct, array_like=True, gc=False):
    """How the task ended that a delivered step has waited for."""

    id: str
    body: bytes = b""
    """Its value; empty when the step does not take it, or ``chunks`` says where it is."""
    chunks: Chunks | None = None
    failure: Failure | None = None
    """For an error callback."""
    task: str = ""


class TaskState(msgspec.Struct, array_like=True, gc=False):
    """Where a task is that has not ended: not replicated, said again by its worker to a new coordinator."""

    id: str
    state: str
    """A name of Status, or the task's own."""
    meta: bytes = b""
    """A body (mesh/wire/bodies.py): what was said with it."""
    at_ms: int = 0
    """Wall clock of the worker."""


class States(msgspec.Struct, array_like=True, tag=36):
    """States of running tasks: from a worker to the coordinator, from there to the programs that watch them."""

    worker: str
    states: list[TaskState]


class Cancel(msgspec.Struct, array_like=True, tag=37):
    """These tasks were revoked: what has not begun is given up; what runs is ended by ``signal`` when there is one."""

    worker: str
    ids: list[str]
    signal: str = ""
    """A signal's name, ``SIGTERM``; empty: what runs goes on."""
