"""`mesh demo`: a mesh of three nodes and two workers on this machine does real work while its coordinator is killed."""

from __future__ import annotations

import json
import os
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from mesh.cli import output
from mesh.cli.demo_report import Account, Survey, account, standard_library
from mesh.cli.demo_stage import Stage

from mesh.errors import MeshError

if TYPE_CHECKING:
    from mesh.result import AsyncResult

NODES = ("ash", "birch", "cedar")
WORKERS = {"worker-1": "birch", "worker-2": "cedar"}
CLIENT_NODE = "cedar"
TASKS = "mesh.cli.demo_tasks"
FIND_EACH_OTHER_S = 5.0
RESULT_TIMEOUT_S = 30.0


@click.command(epilog=output.example("mesh demo"))
def demo() -> int:
    """Show a whole mesh on this machine, and kill its coordinator.

    Three nodes and two workers are started as processes, on loopback and with state in a temporary folder. The workers analyse
    every source file of Python's standard library; half-way the coordinator gets kill -9. All is removed at the end. Exit code 1
    if a result was lost.
    """
    files = standard_library()
    with Stage() as stage:
        _raise_the_mesh(stage)
        survey, account = _work(stage, files)
    _tell(survey, account)
    return 1 if account.lost else 0


def _raise_the_mesh(stage: Stage) -> None:
    from mesh.cli.demo_tasks import QUEUE

    first, *others = NODES
    began = time.monotonic()
    stage.start_node(first)
    stage.wait(f"node {first}", lambda: bool(_status(stage, first).get("coordinator")))
    click.echo(f"{first}$ mesh up   founded a mesh")
    secret = stage.command(first, "secret")
    for name in others:
        stage.start_node(name, secret=secret)
    _wait_for_members(stage, others, secret)
    for name in others:
        click.echo(f"{name}$ MESH_SECRET=... mesh up   joined it")
    for worker, node in WORKERS.items():
        stage.start_worker(worker, node, TASKS, QUEUE)
    stage.wait("both workers", lambda: len(_status(stage, first).get("workers", [])) == len(WORKERS))
    for worker, node in WORKERS.items():
        click.echo(f"{node}$ mesh worker -A {TASKS}   {worker}")
    click.echo(f"three nodes, two workers, {time.monotonic() - began:.1f} s\n")


def _wait_for_members(stage: Stage, others: list[str], secret: str) -> None:
    first = NODES[0]

    def complete() -> bool:
        nodes = _status(stage, first).get("nodes", [])
        return len([node for node in nodes if node["state"] == "alive"]) == len(NODES)

    try:
        stage.wait("the nodes to find each other", complete, FIND_EACH_OTHER_S)
    except MeshError:
        click.echo("no multicast on loopback here: the nodes are told where to join", err=True)
        seed = next(node["address"] for node in _status(stage, first)["nodes"] if node["name"] == first)
        for name in others:
            stage.stop(name)
            stage.start_node(name, secret=secret, seeds=(seed,))
        stage.wait("the nodes to find each other", complete)


def _status(stage: Stage, node: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(stage.command(node, "status", "--json"))
    except MeshError:
        return {}
    return answer


def _work(stage: Stage, files: list[Path]) -> tuple[Survey, Account]:
    os.environ["MESH_HOME"] = str(stage.folder / CLIENT_NODE)
    from mesh.cli.demo_tasks import analyse, app

    starts = stage.folder / "starts"
    with app:
        results = app.submit_many([analyse.s(str(path), str(starts)) for path in files])
        survey = Survey()
        finished, killed_at = _gather(stage, files, results, survey)
    return survey, account(len(files), finished, starts.read_text(encoding="utf-8"), killed_at)


def _gather(stage: Stage, files: list[Path], results: list[AsyncResult[Any]], survey: Survey) -> tuple[int, float | None]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    root = Path(sysconfig.get_path("stdlib"))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    finished, killed_at, coordinator = 0, None, ""
    with Progress(*columns, console=output.console()) as progress:
        bar = progress.add_task("files analysed", total=len(files))
        for path, result in zip(files, results, strict=True):
            try:
                survey.add(path.relative_to(root), result.get(timeout=RESULT_TIMEOUT_S))
            except MeshError as error:
                progress.console.print(f"{path}: {error}", markup=False)
                continue
            finished += 1
            progress.advance(bar)
            if killed_at is None and finished >= len(files) // 2:
                coordinator = _status(stage, CLIENT_NODE).get("coordinator") or ""
            if coordinator and killed_at is None:
                killed_at = time.time()
                progress.console.print(f"kill -9 {stage.kill(coordinator)}   # {coordinator}, the coordinator")
    if killed_at is not None:
        survivor = next(name for name in NODES if name != coordinator)
        click.echo(f"{_status(stage, survivor)['coordinator']} has taken over from {coordinator}")
    return finished, killed_at


def _tell(survey: Survey, account: Account) -> None:
    console = output.console()
    columns = ("package", "files", "lines", "functions", "longest function")
    console.print(output.table("\nThe biggest parts of the standard library", columns, survey.rows()))
    console.print(f"most imported: {survey.most_imported()}\n")
    console.print(f"files submitted          {account.submitted:6}")
    console.print(f"finished                 {account.finished:6}")
    console.print(f"lost                     {account.lost:6}")
    console.print(f"run twice                {account.twice:6}")
    console.print(f"seconds without dispatch {account.pause_s:6.2f}")
