"""Writes the pages of docs/reference that say what the code says: ``python docs/generate_reference.py``; ``--check`` only compares."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from enum import IntEnum
from typing import Any

from generated import DOCS, attribute_docs, row, run, table

from mesh import config, errors
from mesh.core import states
from mesh.wire.entries import Status
from mesh.wire.extensions import DEPTH_MAX, EXTENSIONS

REFERENCE = DOCS / "reference"

SETTINGS = """# Settings

Generated from `mesh/config.py` by `docs/generate_reference.py`.

A value comes from, in falling order: a keyword, the environment (`MESH_` and the name in capitals, for example `MESH_COPIES=1`),
`config.toml` in `MESH_HOME/<mesh>/` and then in `MESH_HOME/` (an embedded node reads none), the default. Times are in seconds, sizes in
bytes. A value out of range, or a key in a file that does not exist, is refused when the program starts.

Those marked **mesh** are settled for all nodes at once by `mesh config set NAME VALUE`. Such a value is kept by every node, counts within a
moment on all that are reachable and on the others when they come back, survives restarts, and wins over what a node was started with;
`mesh config set NAME --default` takes it back. `mesh config show` prints them. A queue may have its own `max_deliveries`:
`mesh queue set QUEUE max_deliveries VALUE`. The other settings are each node's own: give all nodes of a mesh the same ones.

Names, addresses, ports and log levels are options of the commands: see [cli.md](cli.md).

"""

SETTINGS_END = """
`authority_timeout_s` has to be below `heartbeat_timeout_s`, and `heartbeat_timeout_s` at least twice `heartbeat_interval_s`.
R15 is one of the [rules](../rules.md).
"""

ERRORS = """# Errors

Generated from `mesh/errors.py` by `docs/generate_reference.py`.

Every error that mesh raises is a `mesh.errors.MeshError`; those that a program meets are also in `mesh`. `fault` says whose it is,
`retry` whether the same call may succeed later without any change by the caller, and the last column is the exit code of the commands.
A task's own exception reaches the caller as itself when it is a builtin or registered with `app.register_error`, and as `TaskError`
otherwise.

"""

BODIES = """# Bodies: what may be an argument or a result

Generated from `mesh/wire/extensions.py` by `docs/generate_reference.py`.

What arrives equals what was sent, in type too, or the call raises `NotEncodable` with the path to the value that can't travel. Only
exact types travel: a subclass (a named tuple, an `IntEnum`, an `OrderedDict`) would arrive as something else and is refused. One object
that is in two places arrives as two equal ones. There is no pickle.

`None`, `bool`, `int` within 64 bits, `float`, `str`, `bytes`, `list` and `dict` are MessagePack's own types. The others are MessagePack
extension types:

"""

BODIES_END = f"""
Containers may lie in one another {DEPTH_MAX} deep. A body, be it the arguments of a call or a result, has at most `max_body_bytes`
([settings](settings.md)); for more, store the data elsewhere and send where it is.

The first byte of a body names the serializer: 0 for MessagePack as above, 1 for JSON in UTF-8. Workers and clients read both; the
library sends MessagePack. The body of a call is `[[positional arguments], {{keyword arguments}}]`, that of a result the value alone.
MessagePack's timestamp (-1) is read as a `datetime` in UTC and never sent.
"""

STATES = """# State machines

Generated from `mesh/core/states.py` by `docs/generate_reference.py`.

A transition that is not in these pictures is a bug, and raises. [Architecture](../architecture.md) has the parts that they belong to.
"""

STATES_END = """
A message with a countdown begins as `DELAYED`. `SETTLED` has no way out: the record is forgotten and its entry removed. A message whose
worker was lost is settled and written anew with one more attempt, so it is a new record and not an arrow.
"""

PLAIN = {
    "PENDING": "It waits: in its queue, for its time, or for another task.",
    "RECEIVED": "It is with a worker.",
    "STARTED": "It has begun, as it has said itself.",
    "RETRY": "It waits to be run again.",
    "SUCCESS": "It has returned.",
    "FAILURE": "It has raised, was dropped, or was lost too often.",
    "REVOKED": "It was revoked, or expired.",
    "UNKNOWN": "The mesh has never seen it, or has forgotten it.",
    "ASKED_AGAIN": "It asks to be run again.",
    "RETURNED": "It returned.",
    "PRE_VOTES_WON": "A majority of the reachable nodes would vote for it.",
    "VOTES_WON": "A majority of the reachable nodes voted for it in its new term.",
    "RECONCILED": "Every reachable member has reported, or `reconcile_timeout_s` is over.",
    "DELAYED": "Its countdown is not over.",
    "READY": "It waits for a worker with room.",
    "LEASED": "A worker holds it, running or about to run.",
    "SETTLED": "It is over.",
    "DUE": "Its countdown is over.",
    "DELIVERED": "It was given to a worker, or a worker says that it holds it.",
}
"""What the code takes for granted about names that explain themselves there."""


def settings() -> str:
    """Every setting with its default, its range and what it does."""
    text = SETTINGS + table("name", "for", "default", "unit", "range", "effect")
    for item in dataclasses.fields(config.Settings):
        show = _bytes if item.name.endswith("_bytes") else _number
        low, high = item.metadata["low"], item.metadata["high"]
        limits = f"from {show(low)}" if high is None else f"{show(low)} to {show(high)}"
        default = show(item.default)
        if item.metadata["choices"]:
            limits, default = " or ".join(f"`{choice}`" for choice in item.metadata["choices"]), f"`{default}`"
        whose = "**mesh**" if item.metadata["mesh_wide"] else "node"
        text += row(f"`{item.name}`", whose, default, _unit(item.name), limits, item.metadata["effect"])
    return text + SETTINGS_END


def _unit(name: str) -> str:
    """The unit, unless the value is shown with one already."""
    unit = config.unit(name)
    return "" if unit == "bytes" else unit


def _bytes(value: int | None) -> str:
    if value is None:
        return ""
    for power, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if value % (1 << power) == 0:
            return f"{value >> power} {unit}"
    return str(value)


def _number(value: float | str | None) -> str:
    if not isinstance(value, (int, float)):
        return value or ""
    return f"{value:,.0f}" if value == int(value) else f"{value:g}"


def all_errors() -> str:
    """Every error with whose fault it is and whether trying again can help."""
    text = ERRORS + table("error", "is a", "fault", "retry", "exit code", "meaning")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.MeshError):
            bases = ", ".join(f"`{base.__name__}`" for base in kind.__bases__)
            meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").replace("``", "`").split())
            meaning = re.sub(r"\(rule (R\d+)\)", r"([rule \1](../rules.md))", meaning)
            text += row(f"`{name}`", bases, kind.fault.value, "yes" if kind.retry else "", kind.exit_code, meaning)
    return text


def bodies() -> str:
    """What may be an argument or a result."""
    text = BODIES + table("code", "type", "sent by", "payload")
    for code, item in EXTENSIONS.items():
        senders = ", ".join(f"`{kind.__qualname__}`" for kind in item.sent_as)
        text += row(code, f"`{item.kind.__qualname__}`", senders, item.meaning)
    return text + BODIES_END


def state_machines() -> str:
    """The tables of the core's state machines as pictures."""
    text = STATES + _machine("A node in the election", states.Role.FOLLOWER, states.ROLE_TRANSITIONS, states.RoleEvent)
    text += _machine("A live message at the coordinator", states.RecordState.READY, states.RECORD_TRANSITIONS, states.RecordEvent)
    text += _machine("A task, as people see it", Status.PENDING, states.TASK_TRANSITIONS, states.TaskEvent)
    return text + STATES_END


def _machine(title: str, start: IntEnum, machine: Any, events: type[IntEnum]) -> str:
    head = f"\n## {title}\n\n{inspect.cleandoc(type(start).__doc__ or '')}\n\n"
    return head + _picture(machine, start) + "\n" + _explained("state", type(start)) + "\n" + _explained("event", events)


def _picture(machine: Any, start: IntEnum) -> str:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {start.name}"]
    for state, transitions in machine.items():
        lines += [f"    {state.name} --> {after.name}: {event.name}" for event, after in transitions.items()]
        if not transitions:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```", ""])


def _explained(what: str, kind: type[IntEnum]) -> str:
    docs = attribute_docs(sys.modules[kind.__module__])[kind.__name__]
    return table(what, "meaning") + "".join(row(f"`{one.name}`", docs[one.name] if one.name in docs else PLAIN[one.name]) for one in kind)


PAGES = {
    REFERENCE / "settings.md": settings,
    REFERENCE / "errors.md": all_errors,
    REFERENCE / "bodies.md": bodies,
    REFERENCE / "states.md": state_machines,
}

if __name__ == "__main__":
    sys.exit(run("generate_reference.py", PAGES))
