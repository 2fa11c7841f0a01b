"""`mesh call` and `mesh result`: tasks from a shell."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import mesh_option

from mesh.app import Mesh
from mesh.client.options import Options
from mesh.errors import MeshError, NotFound, ResultRemoved, ResultTimeout, UnknownTask, UsageError
from mesh.result import AsyncResult
from mesh.routes import overlaid
from mesh.signature import given
from mesh.task import Task
from mesh.worker.loader import Application, load


class _Call(click.Command):
    """Takes negative numbers as arguments, but no misspelt option: that would go to the task as a text."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before = args[: args.index("--")] if "--" in args else list(args)
        rest = super().parse_args(ctx, args)
        for text in ctx.params.get("args") or ():
            if text.startswith("-") and text in before and not isinstance(read_value(text), (int, float)):
                raise click.NoSuchOption(text, ctx=ctx)
        return rest


@click.command(
    cls=_Call,
    epilog=output.example(
        "mesh call tasks.add 2 2",
        "mesh call tasks.add 2 2 -A tasks -Q laptop",
        "mesh call feeds.load --exchange tasks --routing-key feed.import",
        "mesh call tasks.greet Ada --kwarg 'tags=[\"new\"]' --timeout 5 --json",
        "mesh call tasks.report --no-wait",
    ),
    context_settings={"ignore_unknown_options": True},
)
@click.argument("task")
@click.argument("args", nargs=-1)
@click.option("-A", "--app", metavar="APP", help="Check the call in this application, and use its routes and the task's own.")
@click.option("-Q", "--queue", metavar="QUEUE", help="Send it there.  [default: as the application says with -A, else default]")
@click.option("--exchange", metavar="NAME", help="Publish it to this exchange.")
@click.option("--routing-key", metavar="KEY", help="What the exchange looks at.")
@click.option("--header", "headers", metavar="NAME=VALUE", multiple=True, help="For a headers exchange; may be repeated.")
@click.option("--priority", type=click.IntRange(0, 255), metavar="N", help="0 to 255, higher ones run first.")
@click.option("--expires", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="Not begun by then, it does not run.")
@click.option("--kwarg", "kwargs", metavar="NAME=VALUE", multiple=True, help="A keyword argument; may be repeated.")
@click.option("--no-wait", is_flag=True, help="Print the task's id as soon as the mesh has it.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for the result.  [default: for ever]")
@mesh_option
@output.json_option
def call(
    task: str,
    args: tuple[str, ...],
    app: str | None,
    queue: str | None,
    exchange: str | None,
    routing_key: str | None,
    headers: tuple[str, ...],
    priority: int | None,
    expires: float | None,
    kwargs: tuple[str, ...],
    no_wait: bool,
    timeout: float | None,
    mesh: str | None,
    as_json: bool,
) -> int:
    """Send a task and print its result.

    Each argument is read as JSON, and is text when it is none: 2, true, null, '[1, 2]', hello. After -- everything is an argument.
    Exit code 1 when the task failed.
    """
    values = [read_value(text) for text in args]
    named = dict(read_pair(text) for text in kwargs)
    way = {"queue": queue, "exchange": exchange, "routing_key": routing_key, "headers": read_headers(headers)}
    options = given({**way, "priority": priority, "expires": expires})
    with _application(mesh) as application:
        if app is not None:
            loaded = load(app)
            options = overlaid(_own_task(loaded, app, task, values, named).options, options)
            application.conf.update(loaded.conf.changed)
        sent = application.send_task(task, values, named, **options)
        if no_wait:
            _print_id(sent.id, as_json)
            return 0
        try:
            sent.get(timeout=timeout, propagate=False)
        except ResultTimeout:
            raise ResultTimeout(f"{task} has no result after {timeout:g} s and goes on; ask again with: mesh result {sent.id}") from None
        return _tell(sent, as_json)


@click.command(
    epilog=output.example("mesh result 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10", "mesh result 0198c5a1-7e5c-7b1e-a5f0-2f6d3f1f9a10 --json")
)
@click.argument("task_id", metavar="ID")
@mesh_option
@output.json_option
def result(task_id: str, mesh: str | None, as_json: bool) -> int:
    """Print the state and result of a task.

    Exit code 1 when the task failed, 3 when the mesh does not know the id.
    """
    with _application(mesh) as application:
        found = application.AsyncResult(task_id)
        state = found.state
        if state == "UNKNOWN" and not as_json:
            raise NotFound(f"the mesh does not know a task {task_id}; results are kept for result_expires_s (a day by default)")
        code = _tell(found, as_json, heading=True)
        return NotFound.exit_code if state == "UNKNOWN" else code


def _application(mesh: str | None) -> Mesh:
    options = Options({"mesh": mesh})
    return Mesh("mesh", mesh=options.mesh, home=options.home.root, seeds=options["join"])


def _own_task(loaded: Application, app: str, name: str, args: list[Any], kwargs: dict[str, Any]) -> Task[..., Any]:
    tasks = loaded.tasks
    task = tasks.get(name)
    if not isinstance(task, Task):
        raise UnknownTask(f"{app} has no task {name!r}; it has {', '.join(sorted(tasks)) or 'none'}")
    try:
        task.check_arguments(args, kwargs)
    except TypeError as error:
        raise UsageError(str(error)) from None
    return task


def _print_id(task_id: str, as_json: bool) -> None:
    if as_json:
        output.print_json({"id": task_id, "state": "PENDING"})
    else:
        click.echo(task_id)


def _tell(found: AsyncResult[Any], as_json: bool, *, heading: bool = False) -> int:
    state = found.state
    value = found.result
    if as_json:
        answer: dict[str, Any] = {"id": found.id, "state": state}
        if isinstance(value, Exception):
            answer["error"] = {
                "type": type_of(value),
                "message": str(value),
                "traceback": found.traceback,
                "node": found.node,
                "worker": found.worker,
            }
        elif state == "SUCCESS":
            answer["result"] = value
        output.print_json(answer)
        return int(isinstance(value, Exception))
    if isinstance(value, Exception):
        if heading and found.traceback:
            click.echo(found.traceback.rstrip(), err=True)
        if isinstance(value, ResultRemoved):
            raise value
        more = "" if heading or not found.traceback else f"; its traceback: mesh result {found.id}"
        where = f" (worker {found.worker} on node {found.node})" if found.worker else ""
        raise MeshError(f"the task failed: {type_of(value)}: {value}{where}{more}")
    if heading:
        click.echo(state, err=state == "SUCCESS")
    if state == "SUCCESS":
        click.echo(shown(value))
    return 0


def type_of(error: Exception) -> str:
    """The name of an exception's type as it was raised remotely."""
    return getattr(error, "type_name", "") or type(error).__qualname__


def read_value(text: str) -> Any:
    """An argument from the command line: JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_headers(texts: Sequence[str]) -> dict[str, Any] | None:
    """Headers from the command line, None when there are none. Raises UsageError."""
    headers = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise UsageError(f"--header needs NAME=VALUE, not {text!r}")
        headers[name] = read_value(value)
    return headers or None


def read_pair(text: str) -> tuple[str, Any]:
    """A ``NAME=VALUE`` from the command line. Raises UsageError."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise UsageError(f"--kwarg needs NAME=VALUE, not {text!r}")
    return name, read_value(value)


def shown(value: Any) -> str:
    """A result for people: texts as they are, the rest as JSON where JSON has it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)
