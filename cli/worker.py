"""`mesh worker`: run tasks of an application."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import mesh_option
from mesh.cli.log import log_options, start_logging

from mesh.canvas.builtin import without_builtin
from mesh.client.find import NodeFinder
from mesh.client.link import Link
from mesh.client.options import Options, one_line
from mesh.errors import AppNotFound
from mesh.worker.parent import Worker
from mesh.worker.spec import WorkerInfo, WorkerSpec


def _queues(_: click.Context, __: click.Parameter, text: str | None) -> list[str]:
    if text is None:
        return []
    queues = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not queues:
        raise click.BadParameter("name at least one queue, several with commas between")
    return queues


def _name(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        return None if text is None else one_line(text)
    except ValueError as error:
        raise click.BadParameter(f"must be {error}, not {text!r}") from None


@click.command(
    epilog=output.example(
        "mesh worker -A tasks",
        "mesh worker -A shop.tasks:app -Q mail,default -c 4",
        "mesh worker -A crawl.py --pool async -c 100 -n crawler",
    )
)
@click.option("-A", "--app", required=True, metavar="APP", help="The application: module, module:attr, package or file.py.")
@click.option("-Q", "--queues", callback=_queues, metavar="A,B", help="Queues to consume.  [default: the application's, as a rule default]")
@click.option("-c", "--concurrency", type=click.IntRange(1, 10_000), metavar="N", help="Tasks at once.  [default: one for each core]")
@click.option(
    "--pool",
    type=click.Choice(["process", "thread", "async"]),
    default="process",
    show_default=True,
    help="Where tasks run; async is for `async def`.",
)
@click.option("-n", "--name", callback=_name, metavar="NAME", help="This worker's name.  [default: host and process id]")
@mesh_option
@log_options
def worker(
    app: str,
    queues: list[str],
    concurrency: int | None,
    pool: str,
    name: str | None,
    mesh: str | None,
    log_level: str | None,
    logfile: Path | None,
) -> int:
    """Run tasks of an application.

    Attaches to this machine's node, or to one that is found when there is none. Ctrl-C once finishes what runs and leaves; twice
    stops at once and gives the rest back.
    """
    options = Options({"mesh": mesh, "log_level": log_level})
    start_logging(options["log_level"], logfile)
    chosen: dict[str, Any] = {} if concurrency is None else {"concurrency": concurrency}
    spec = WorkerSpec(app=app, queues=queues, pool=pool, name=name, **chosen)
    settings = options.settings()
    link = Link(NodeFinder(options.mesh, options.home.root, options["join"], settings), "worker", spec.display_name, settings)
    loaded: list[WorkerInfo] = []

    def ready(info: WorkerInfo) -> None:
        loaded.append(info)
        _banner(info)

    runner = Worker(link, spec, settings, logging.getLogger("mesh.worker"), on_ready=ready)
    code = runner.run()
    return code if loaded or code == 0 else AppNotFound.exit_code  # the worker has logged why in one line


def _banner(info: WorkerInfo) -> None:
    click.echo(f"worker       {info.name}")
    click.echo(f"mesh         {info.mesh}, node {info.node}, coordinator {info.coordinator or 'none yet'}")
    click.echo(f"app          {info.app}")
    click.echo(f"queues       {', '.join(info.queues)}")
    click.echo(f"tasks        {', '.join(sorted(without_builtin(info.tasks))) or 'none: the application has no tasks'}")
    click.echo(f"slots        {info.slots} ({info.pool})")
