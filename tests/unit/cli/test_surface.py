"""What every command has, and what mistakes get: one line and an exit code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest
from mesh.cli import main
from mesh.cli.main import COMMANDS, cli, run

from mesh.errors import NotAllowed


def commands() -> Iterator[tuple[str, click.Command]]:
    def walk(path: str, command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
        yield path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                child = command.get_command(context, name)
                assert child is not None
                yield from walk(f"{path} {name}", child, click.Context(child, info_name=name, parent=context))

    return walk("mesh", cli, click.Context(cli, info_name="mesh"))


EVERY = dict(commands())


@pytest.mark.parametrize("path", EVERY)
def test_every_command_has_help_with_an_example(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path.split()[1:], "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example:\n" in text
    assert f"  {path}" in text or f" {path}" in text.split("Example:")[1]


@pytest.mark.parametrize("path", EVERY)
def test_every_option_says_what_it_does(path: str) -> None:
    silent = [option.name for option in EVERY[path].params if isinstance(option, click.Option) and not option.help]
    assert silent == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_summary_in_the_table_is_the_commands_own(name: str) -> None:
    assert EVERY[f"mesh {name}"].get_short_help_str(limit=200) == COMMANDS[name][1].rstrip(".") or (
        EVERY[f"mesh {name}"].get_short_help_str(limit=200) == COMMANDS[name][1]
    )


def test_help_does_not_import_the_commands() -> None:
    code = (
        "import sys; from mesh.cli.main import run; run(['--help']); "
        "print([name for name in sorted(sys.modules) if name == 'mesh.cli' or name.startswith('mesh.cli.')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    assert out.splitlines()[-1] == "['mesh.cli', 'mesh.cli.main']"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "fly"),
        (["up", "--wings"], "--wings"),
        (["up", "--port", "http"], "--port"),
        (["up", "--log-level", "loud"], "--log-level"),
        (["up", "--mesh", "a/b"], "--mesh"),
        (["up", "--join", "server:http"], "--join"),
        (["up", "--interface", "eth0"], "--interface"),
        (["worker"], "-A"),
        (["worker", "-A", "tasks", "-Q", ","], "-Q"),
        (["call"], "TASK"),
        (["call", "add", "--kwarg", "x"], "--kwarg"),
        (["result"], "ID"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.count("\n") == 1
    assert seen.err.startswith("mesh: ")
    assert words.lower() in seen.err.lower()


def failing(error: Exception) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "exit_code", "line"),
    [
        (NotAllowed("no; do X"), 3, "mesh: no; do X\n"),
        (RuntimeError("odd\nthing"), 1, "mesh: this is a bug in mesh: RuntimeError: odd thing; MESH_DEBUG=1 shows where\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_an_error_is_one_line_and_its_own_exit_code(
    error: Exception, exit_code: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "cli", failing(error))
    monkeypatch.delenv("MESH_DEBUG", raising=False)
    assert run([]) == exit_code
    assert capsys.readouterr().err.lstrip("\n") == line


def test_mesh_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(main, "cli", failing(NotAllowed("no")))
    monkeypatch.setenv("MESH_DEBUG", "1")
    assert run([]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mesh ")
