"""`mesh status`: nodes, workers and queues, as the coordinator sees them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click
from mesh.cli import output
from mesh.cli.attach import Questions, attached, mesh_option

from mesh.canvas.builtin import without_builtin
from mesh.client.options import Options

if TYPE_CHECKING:
    from rich.console import Group

WATCH_PAUSE_S = 1.0
SKEW_MAX_MS = 2000
"""Clocks further apart are warned of: a countdown may be late by as much (R23)."""


@click.command(epilog=output.example("mesh status", "mesh status --json", "mesh status --watch"))
@mesh_option
@output.json_option
@click.option("--watch", is_flag=True, help="Show it again every second until Ctrl-C.")
def status(mesh: str | None, as_json: bool, watch: bool) -> None:
    """Show nodes, workers and queues.

    Asks the node on this machine, or one that is found when there is none. The keys of --json are the columns of the tables.
    """
    with attached(Options({"mesh": mesh})) as questions:
        show = _show_json if as_json else _show_tables
        try:
            show(questions, watch)
        except KeyboardInterrupt:
            if not watch:
                raise


def _asked(questions: Questions) -> dict[str, Any]:
    """What a node answers, without the tasks that every worker has."""
    state: dict[str, Any] = questions.query("status")
    for worker in state.get("workers", ()):
        worker["tasks"] = without_builtin(worker["tasks"])
    return state


def _show_json(questions: Questions, watch: bool) -> None:
    output.print_json(_asked(questions))
    while watch:
        time.sleep(WATCH_PAUSE_S)
        output.print_json(_asked(questions))


def _show_tables(questions: Questions, watch: bool) -> None:
    if not watch:
        output.console().print(draw(_asked(questions)))
        return
    from rich.live import Live

    with Live(draw(_asked(questions)), console=output.console(), auto_refresh=False) as live:
        while True:
            time.sleep(WATCH_PAUSE_S)
            live.update(draw(_asked(questions)), refresh=True)


def draw(state: dict[str, Any]) -> Group:
    """The tables of `mesh status` from what a node answered."""
    from rich.console import Group
    from rich.markup import escape

    parts: list[Any] = [escape(headline(state)), ""]
    for title, key, columns in TABLES:
        rows = [[_cell(row, column) for column in columns] for row in state.get(key, [])]
        if rows:
            parts.append(output.table(title, columns, rows))
        elif key not in SHOWN_WHEN_THERE:
            parts.append(f"no {title.lower()}{NONE_YET.get(key, '')}\n")
    parts += [escape(line) for line in notes(state)]
    if state.get("under_replicated"):
        parts.append(f"{state['under_replicated']} messages and results have fewer copies than wanted; `mesh doctor` says why")
    parts += [f"the clock of {escape(name)} is {text}; set it by NTP" for name, text in wrong_clocks(state)]
    return Group(*parts)


def notes(state: dict[str, Any]) -> list[str]:
    """What is over a limit, and what went because of one."""
    found = []
    for alarm in state.get("alarms", []):
        whose = "all publishers" if alarm["blocks"] == "mesh" else f"the publishers on {alarm['node']}"
        found.append(f"{whose} wait for {alarm['kind']} on {alarm['node']}: {alarm['text']}")
    for queue in state.get("queues", []):
        if queue.get("publishers_waiting"):
            found.append(f"{queue['publishers_waiting']} publishes wait for room in the queue {queue['name']} ({limits(queue)})")
        if queue.get("waiting_for_targets"):
            targets = ", ".join(queue["waiting_for_targets"])
            found.append(f"the queue {queue['name']} holds tasks for {targets}, and no worker there can run them")
        if queue.get("dropped"):
            found.append(f"{queue['dropped']} tasks of the queue {queue['name']} were dropped ({limits(queue)}, {queue['overflow']})")
    evicted = state.get("results", {}).get("evicted")
    if evicted:
        found.append(f"{evicted} results were removed before their time: max_results_bytes is reached")
    return found


def limits(queue: dict[str, Any]) -> str:
    """A queue's limits, for people."""
    return " and ".join(f"{name} = {queue[name]}" for name in ("max_length", "max_bytes") if queue[name])


QUEUES = ("Queues", "queues", ("name", "ready", "delayed", "unsettled", "consumers", "waiting_for", "dead_letters"))
TABLES = [
    ("Nodes", "nodes", ("name", "role", "state", "address", "pid", "version", "skew_ms")),
    ("Workers", "workers", ("name", "node", "queues", "tasks", "slots", "active")),
    ("Consumers", "consumers", ("name", "node", "queues", "prefetch", "unsettled")),
    QUEUES,
]
SHOWN_WHEN_THERE = ("consumers",)
NONE_YET = {"workers": "; start one: mesh worker -A APP"}


def _cell(row: dict[str, Any], column: str) -> Any:
    """What a column shows of a row; beside the state of a node stands for how long it has been so."""
    absent_s = row.get("absent_s")
    if column == "state" and absent_s is not None:
        since = next(
            f"{absent_s // seconds} {unit}" for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)) if absent_s >= seconds
        )
        return f"{'forgotten' if row.get('forgotten') else row['state']} ({since})"
    return row.get(column)


def wrong_clocks(state: dict[str, Any]) -> list[tuple[str, str]]:
    """(node, how far it is off) for nodes whose wall clock differs from that of the node that answered by more than is harmless (R23)."""
    nodes = [(node["name"], node.get("skew_ms") or 0) for node in state.get("nodes", [])]
    return [
        (name, f"{abs(skew_ms) / 1000:.1f} s {'ahead of' if skew_ms > 0 else 'behind'} the coordinator's")
        for name, skew_ms in nodes
        if abs(skew_ms) > SKEW_MAX_MS
    ]


def headline(state: dict[str, Any]) -> str:
    """One line: which mesh, who coordinates, who holds the second copy."""
    coordinator = state.get("coordinator") or "none yet (an election is under way or most nodes are away)"
    deputies = ", ".join(state.get("deputies") or []) or "none"
    return f"mesh {state['mesh']} ({state['id']}) · coordinator {coordinator} · deputies {deputies} · term {state['term']}"
