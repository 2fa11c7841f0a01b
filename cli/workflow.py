"""`mesh workflow`: the tree of what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options
from mesh.errors import NotFound

if TYPE_CHECKING:
    from rich.tree import Tree

STYLES = {"SUCCESS": "green", "FAILURE": "red", "REVOKED": "red", "DEAD": "red", "SKIPPED": "dim", "STARTED": "cyan", "UNKNOWN": "yellow"}
MEMBERS_MAX = 20
"""Of one group that are drawn; the rest is counted."""
Step = dict[str, Any]


@click.group(epilog=output.example("mesh workflow show 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10"))
def workflow() -> None:
    """Show workflows."""


@workflow.command(
    epilog=output.example(
        "mesh workflow show 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10",
        "mesh workflow show 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10 --dot | dot -Tsvg > workflow.svg",
    )
)
@click.argument("task_id", metavar="ID")
@click.option("--dot", "as_dot", is_flag=True, help="Print it for Graphviz.")
@mesh_option
@output.json_option
def show(task_id: str, as_dot: bool, mesh: str | None, as_json: bool) -> int:
    """Draw the workflow of a task with its states: each end, and below it what it waits for.

    ID is any step of it. Exit code 3 when the mesh does not know it.
    """
    with attached(Options({"mesh": mesh})) as questions:
        found = questions.query("workflow", task_id)
    if as_json:
        output.print_json(found)
        return 0 if found["steps"] else NotFound.exit_code
    if not found["steps"]:
        raise NotFound(f"the mesh does not know a task {task_id}; results are kept for result_expires_s (a day by default)")
    steps = {step["id"]: step for step in found["steps"]}
    if as_dot:
        click.echo("\n".join(_dot(steps)))
    else:
        for tree in _trees(steps, task_id):
            output.console().print(tree)
    if found["more"]:
        click.echo("There are more steps than are shown.", err=True)
    return 0


def _trees(steps: dict[str, Step], asked: str) -> Iterator[Tree]:
    """One for each end of the workflow."""
    from rich.tree import Tree

    waited_for = {other for step in steps.values() for other in (step["after"],) if other}
    members: dict[str, list[Step]] = {}
    for step in steps.values():
        if step["into"]:
            members.setdefault(step["into"], []).append(step)
    drawn: set[str] = set()
    for step in steps.values():
        if step["id"] not in waited_for and not step["into"]:
            tree = Tree(_line(step, asked))
            _branch(tree, step, steps, members, drawn, asked)
            yield tree


def _branch(root: Tree, end: Step, steps: dict[str, Step], members: dict[str, list[Step]], drawn: set[str], asked: str) -> None:
    """Below each step what it waits for, once; the stack is of our own, as chains may be longer than Python calls."""
    waiting = [(root, end)]
    while waiting:
        tree, step = waiting.pop()
        before = [steps[step["after"]]] if step["after"] in steps else []
        group = sorted(members.get(step["id"], []), key=lambda member: int(member["place"]))
        for other in (*before, *group[:MEMBERS_MAX]):
            above = other["id"] in drawn
            branch = tree.add(_line(other, asked) + (" (drawn above)" if above else ""))
            drawn.add(other["id"])
            if not above:
                waiting.append((branch, other))
        if len(group) > MEMBERS_MAX:
            tree.add(f"... {len(group) - MEMBERS_MAX} more: {_counts(group[MEMBERS_MAX:])}")


def _counts(group: Iterable[Step]) -> str:
    states = [step["state"] for step in group]
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))


def _line(step: Step, asked: str) -> str:
    from rich.markup import escape

    state = step["state"]
    style = STYLES.get(state, "default")
    error = f" {escape(step['error'])}" if step["error"] and state != "SKIPPED" else ""
    mark = " <-" if step["id"] == asked else ""
    return f"{escape(_name(step))} [{style}]{state}[/]{error}{mark}"


def _name(step: Step) -> str:
    if step["gathers"] is not None:
        there = step["gathers"] - step["lacks"] if step["state"] == "WAITING" else step["gathers"]
        return f"group of {step['gathers']} ({there} there) [{step['id']}]"
    callback = "on failure: " if step["on"] == "failure" else ""
    return f"{callback}{step['task'] or 'unknown'}[{step['id']}]"


def _dot(steps: dict[str, Step]) -> Iterator[str]:
    """Graphviz's language."""
    yield "digraph workflow {"
    yield "  node [shape=box];"
    for step in steps.values():
        label = f"{_name(step)}\\n{step['state']}".replace('"', '\\"')
        yield f'  "{step["id"]}" [label="{label}"];'
    for step in steps.values():
        for other, style in ((step["after"], "dashed" if step["on"] == "failure" else "solid"), (step["parent"], "dotted")):
            if other and not (other == step["after"] and style == "dotted"):
                yield f'  "{other}" -> "{step["id"]}" [style={style}];'
        if step["into"]:
            yield f'  "{step["id"]}" -> "{step["into"]}";'
    yield "}"
