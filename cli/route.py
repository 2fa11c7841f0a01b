"""`mesh route`: which way a task goes."""

from __future__ import annotations

import json
from typing import Any

import click
from mesh.cli import declaring, output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options
from mesh.conf import Conf
from mesh.errors import UnknownTask, Unroutable
from mesh.routes import Router
from mesh.task import Task
from mesh.worker.loader import load

COLUMNS = ("queue", "declared", "waiting", "run it", "consume it without the task")


@click.group(epilog=output.example("mesh route explain feeds.load -A tasks"))
def route() -> None:
    """Explain which way a task goes."""


@route.command(
    epilog=output.example(
        "mesh route explain feeds.load -A tasks",
        "mesh route explain feeds.load --exchange tasks --routing-key feed.import",
        "mesh route explain reports.make --exchange reports --header format=pdf --json",
    )
)
@click.argument("task")
@click.option("-A", "--app", metavar="APP", help="Use this application's routes and the task's own options.")
@click.option("-Q", "--queue", metavar="QUEUE", help="As if the call said queue=...")
@click.option("--exchange", metavar="NAME", help="As if the call said exchange=...")
@click.option("--routing-key", metavar="KEY", help="As if the call said routing_key=...")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="A header of the call; may be repeated.")
@mesh_option
@output.json_option
def explain(
    task: str,
    app: str | None,
    queue: str | None,
    exchange: str | None,
    routing_key: str | None,
    headers: tuple[str, ...],
    mesh: str | None,
    as_json: bool,
) -> int:
    """Print the way of TASK through exchanges and bindings to queues and their live consumers.

    Nothing is sent. Exit code 1 when no queue takes it.
    """
    conf, own = Conf(), dict[str, Any]()
    if app is not None:
        loaded = load(app)
        known = loaded.tasks.get(task)
        if not isinstance(known, Task):
            raise UnknownTask(f"{app} has no task {task!r}; it has {', '.join(sorted(loaded.tasks)) or 'none'}")
        own = dict(known.options)
        conf.update(loaded.conf.changed)
    said = declaring.named({"queue": queue, "exchange": exchange, "routing_key": routing_key})
    if headers:
        said["headers"] = declaring.pairs("--header", headers)
    way = Router(conf).way(task, own, said, (), {})
    asked: dict[str, Any] = {"task": task, "queue": way.queue}
    if way.properties is not None:
        asked |= {"exchange": way.properties.exchange, "routing_key": way.properties.routing_key, "headers": way.properties.headers}
    with attached(Options({"mesh": mesh})) as questions:
        found = questions.query("route", json.dumps(asked))
    if as_json:
        output.print_json({**asked, "target": way.properties.target if way.properties is not None else "", **found})
        return 0 if found["queues"] else Unroutable.exit_code
    _tell(asked, found)
    if not found["queues"]:
        raise Unroutable(found["refusal"] or f"no queue takes {task}: bind one, or give the exchange an alternate one")
    return 0


def _tell(asked: dict[str, Any], found: dict[str, Any]) -> None:
    if asked["queue"]:
        click.echo(f"{asked['task']} goes to the queue {asked['queue']} by its name")
    for step in found["steps"]:
        click.echo(_step(asked, step))
        for binding in step["matched"]:
            more = ", ".join(part for part in (binding["routing_key"], declaring.shown(binding["arguments"])) if part)
            click.echo(f"  -> {binding['kind']} {binding['destination']}{f' (bound with {more})' if more else ''}")
        if step["alternate"]:
            click.echo(f"  nothing matches -> alternate exchange {step['alternate']}")
        elif not step["matched"]:
            click.echo("  nothing matches" if step["type"] else "  there is no such exchange")
    if found["queues"]:
        rows = [
            (
                row["name"],
                "yes" if row["declared"] else "no",
                row["waiting"],
                [_where(one) for one in row["consumers"] if one["runs_it"]] or "nobody: it waits",
                [_where(one) for one in row["consumers"] if not one["runs_it"]],
            )
            for row in found["queues"]
        ]
        output.console().print(output.table("Queues", COLUMNS, rows))


def _step(asked: dict[str, Any], step: dict[str, Any]) -> str:
    kind = f" ({step['type']})" if step["type"] else ""
    name = f"exchange {step['exchange'] or '(default)'}{kind}"
    if step["came_from"] is not None:
        return f"{name}, from {step['came_from']}"
    said = [f"the routing key {asked['routing_key']!r}"] if asked.get("routing_key") else []
    if headers := declaring.shown(asked.get("headers") or {}):
        said.append(f"the headers {headers}")
    return f"{asked['task']} is published to the {name}{' with ' if said else ''}{' and '.join(said)}"


def _where(consumer: dict[str, Any]) -> str:
    return f"{consumer['worker']} on {consumer['node']}"
