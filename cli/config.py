"""`mesh config`: the settings that all nodes of a mesh share."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import click
from mesh.cli import output
from mesh.cli.attach import attached, mesh_option

from mesh.client.options import Options
from mesh.conf import Row
from mesh.config import mesh_wide, unit
from mesh.errors import UsageError
from mesh.worker.loader import load

COLUMNS = ("setting", "value", "unit", "default", "set by")
ORIGINS = {"mesh": "mesh config", "node": "the node's start", "default": ""}
"""Where a value comes from, for people; empty for the default."""


class SettingsCommand(click.Command):
    """A command whose help lists settings, from the tables in mesh/config.py."""

    def settings(self) -> dict[str, dataclasses.Field[Any]]:
        """Those that it lists."""
        return mesh_wide()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, then the settings."""
        super().format_options(ctx, formatter)
        with formatter.section("Settings"):
            formatter.write_dl([(name, described(item)) for name, item in self.settings().items()])


def described(item: dataclasses.Field[Any]) -> str:
    """A setting's unit or choices, its default and its effect, for `--help`."""
    kind = " | ".join(item.metadata["choices"]) or unit(item.name) or ("text" if item.metadata["text"] else "number")
    return f"{kind}, default {shown(item.default)}: {item.metadata['effect']}".replace("`", "")


def shown(value: Any) -> str:
    """A value for people: 10 instead of 10.0."""
    return f"{value:.15g}" if isinstance(value, float) else "none" if value is None else str(value)


@click.group(epilog=output.example("mesh config show", "mesh config set durability safe"))
def config() -> None:
    """Show or change the settings that all nodes share.

    A value counts on every node within a moment, stays over restarts, and wins over what a node was started with.
    """


@config.command(epilog=output.example("mesh config show", "mesh config show --json"), cls=SettingsCommand)
@mesh_option
@output.json_option
def show(mesh: str | None, as_json: bool) -> None:
    """Print the settings of the mesh, and those of single queues.

    Without a coordinator: as the node that is asked knows them.
    """
    with attached(Options({"mesh": mesh})) as questions:
        rows: dict[str, dict[str, Any]] = questions.query("config")
    rows = {name: row | {"unit": unit(name)} for name, row in rows.items()}
    if as_json:
        output.print_json(rows)
        return
    cells = [
        (name, shown(row["value"]), row["unit"], shown(row["default"]), ORIGINS.get(row["origin"], row["origin"]))
        for name, row in rows.items()
    ]
    output.console().print(output.table("Settings of the mesh", COLUMNS, cells))


@config.command(
    "set",
    cls=SettingsCommand,
    epilog=output.example("mesh config set durability safe", "mesh config set takeover_patience_s 30", "mesh config set copies --default"),
)
@click.argument("key")
@click.argument("value", required=False)
@click.option("--default", "to_default", is_flag=True, help="Go back to the default.")
@mesh_option
def set_(key: str, value: str | None, to_default: bool, mesh: str | None) -> None:
    """Change a setting on all nodes.

    An empty VALUE goes back to the default, as --default does. Exit code 2 for an unknown KEY or a VALUE out of range; nothing is
    changed then.
    """
    change(mesh, key, value, to_default)


def change(mesh: str | None, key: str, value: str | None, to_default: bool) -> None:
    """Ask the mesh for one change and print what it is now. Raises UsageError, and what the mesh says."""
    if to_default == (value is not None):
        raise UsageError(f"give a value for {key}, or --default to go back to the default")
    with attached(Options({"mesh": mesh})) as questions:
        row = questions.query("config-set", f"{key}={value or ''}")[key]
    if row["value"] is None:
        click.echo(f"{key}: as declared, else the mesh's value")
    else:
        click.echo(f"{key} = {shown(row['value'])}{'' if value else ' (default)'}")


@config.command(epilog=output.example("mesh config check -A tasks", "mesh config check -A proj.app --json"))
@click.option("-A", "--app", "name", metavar="APP", required=True, help="The application: module, module:attribute, package or file.py.")
@output.json_option
def check(name: str, as_json: bool) -> None:
    """Print the settings of an application, each with its origin.

    The origin is app.conf, the module or file that it was read from, an environment variable, this machine's config.toml, or default.
    Settings of Celery that were set and have no effect are listed with the reason. Needs no mesh. Exit code 2 for an unknown name or
    a value that is not possible.
    """
    app: Any = load(name)
    rows: list[Row] = app.conf.rows()
    if as_json:
        output.print_json({row.name: {"value": _plain(row.value), "origin": row.origin, "note": row.note} for row in rows})
        return
    cells = [(row.name, _text(row.value), row.origin, row.note) for row in rows]
    output.console().print(output.table(f"Settings of {name}", ("setting", "value", "origin", "what it does"), cells))


def _plain(value: Any) -> Any:
    """A value as JSON has it: what is no plain data is its text."""
    return json.loads(json.dumps(dict(value) if isinstance(value, Mapping) else value, default=str))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(_plain(value), ensure_ascii=False)
