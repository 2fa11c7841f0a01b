"""The command ``mesh``: the table of commands, and the one place where an error becomes a line and an exit code.

Commands are imported when they are called, so that ``mesh --help`` and short commands start fast; the table carries each one's
summary for that reason (a test compares it with the command's own help).
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from mesh.errors import MeshError

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("mesh.cli.node:up", "Start this machine's node: found a mesh or join one."),
    "down": ("mesh.cli.node:down", "Stop this machine's node and wait until it is gone."),
    "worker": ("mesh.cli.worker:worker", "Run tasks of an application."),
    "call": ("mesh.cli.task:call", "Send a task and print its result."),
    "result": ("mesh.cli.task:result", "Print the state and result of a task."),
    "publish": ("mesh.cli.messages:publish", "Publish messages, and wait until they are confirmed."),
    "get": ("mesh.cli.messages:get", "Print messages that wait in QUEUE, each on a line."),
    "consume": ("mesh.cli.messages:consume", "Print the messages of queues as they come, each on a line, until it is interrupted."),
    "status": ("mesh.cli.status:status", "Show nodes, workers and queues."),
    "control": ("mesh.cli.control:control", "Have workers consume other queues, and end tasks."),
    "queue": ("mesh.cli.queue:queue", "Show, declare and change queues, and decide about tasks that kept losing their worker."),
    "exchange": ("mesh.cli.exchange:exchange", "Show, declare and delete exchanges."),
    "binding": ("mesh.cli.binding:binding", "Show, declare and delete bindings."),
    "topology": ("mesh.cli.topology:topology", "Keep exchanges, queues and bindings in a file."),
    "route": ("mesh.cli.route:route", "Explain which way a task goes."),
    "why": ("mesh.cli.why:why", "Say where a task is, why it does not run, and what has happened so far."),
    "workflow": ("mesh.cli.workflow:workflow", "Show workflows."),
    "config": ("mesh.cli.config:config", "Show or change the settings that all nodes share."),
    "forget": ("mesh.cli.forget:forget", "No longer count a node that is gone."),
    "secret": ("mesh.cli.secret:secret", "Print what another machine needs to join."),
    "identity": ("mesh.cli.identity:identity", "Show or replace this machine's key."),
    "doctor": ("mesh.cli.doctor:doctor", "Check this machine, its node and its network."),
    "demo": ("mesh.cli.demo:demo", "Show a whole mesh on this machine, and kill its coordinator."),
}
"""Name of a command -> where it is (``module:attribute``) and its summary. A group of commands is one line here as well."""


class LazyGroup(click.Group):
    """A group whose commands are imported on use (click's documentation, "Lazily loading subcommands")."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: the way a newcomer needs them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now; None when there is none."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``mesh --help``, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="\b\nExample:\n  mesh up -d\n  mesh worker -A tasks\n\n"
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not let in or not found. MESH_DEBUG=1 shows tracebacks.",
)
@click.version_option(package_name="mesh", message="mesh %(version)s")
def cli() -> None:
    """A task queue without a broker: every machine runs a node, nodes find each other."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are one line on stderr, unless ``MESH_DEBUG`` asks for the traceback."""
    try:
        code = cli.main(args=arguments, prog_name="mesh", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:  # a group alone
        click.echo(error.format_message())
        return 0
    except click.ClickException as error:
        return _complain(_usage_line(error), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return 130  # as shells say it: ended by signal 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `mesh status | head`: silence the flush at exit
        return 0
    except MeshError as error:
        _debug()
        return _complain(str(error), error.exit_code)
    except Exception as error:
        _debug()
        return _complain(f"this is a bug in mesh: {type(error).__name__}: {error}; MESH_DEBUG=1 shows where", 1)


def _usage_line(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    text = error.format_message().rstrip(".").replace("\n", " ")
    text = text[:1].lower() + text[1:]
    return f"{text}; see `{context.command_path} --help`" if context is not None else text


def _complain(text: str, exit_code: int) -> int:
    click.echo(f"mesh: {' '.join(text.split())}", err=True)
    return exit_code


def _debug() -> None:
    if os.environ.get("MESH_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
